"""The few nouns that every process shares: money, settings, database pools, SQL files, errors, log.

No SQL, no business rule, and nothing of ours is imported from here: all other packages stand on this one.
"""
