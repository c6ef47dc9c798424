"""The sandbox bank: a bank that lives, so that everything else runs for real without one.

It is somebody else's system. It imports nothing of ours and is reached over HTTP only.
"""
