"""The read API: ask, select, answer with its age.

It reaches the read model and nothing else, and changes nothing.
"""
