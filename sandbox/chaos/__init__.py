"""Chaos: what banks do to those who read them, on purpose and repeatably.

Two kinds, which never mix. A *fault* breaks one answer on its way out: the books know nothing of it. An *event* is
something that really happens to the books, and every answer agrees with it afterwards.
"""
