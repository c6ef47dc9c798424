"""Chance that can be repeated: a pure function of the seed and of the number of the request or event.

Each number has dice of its own, so that what one request draws does not move what the next one meets.
"""

import random
from collections.abc import Sequence


def strike(seed: int, number: int, rate: float, names: Sequence[str]) -> tuple[list[str], random.Random]:
    """The faults to try on a request, in order; none at all for the share `1 - rate` of requests.

    The first that can be done to the answer is done: an empty page has no row to spoil, and meets another fault.
    The dice are for what is left open: which row, which cursor.
    """
    chance = random.Random(f"{seed}/{number}")  # noqa: S311  # Chance that can be repeated is the point.
    struck = chance.random() < rate
    order = sorted(names)
    chance.shuffle(order)
    return (order if struck else []), chance


def event_dice(seed: int, number: int) -> random.Random:
    """The dice of an event."""
    return random.Random(f"{seed}/event/{number}")  # noqa: S311  # As above.
