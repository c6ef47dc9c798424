"""Lets events happen: when they are asked for, and by themselves from the seed."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Final

import psycopg
from psycopg_pool import PoolTimeout

from sandbox import problems
from sandbox.chaos import books, events
from sandbox.chaos.dealer import Chaos
from sandbox.chaos.dice import event_dice
from sandbox.store import Pool

log = logging.getLogger(__name__)

_LOOK_EVERY_SECONDS: Final = 0.5

Changed = Callable[[set[str]], None]


async def let_happen(pool: Pool, chaos: Chaos, changed: Changed, event: books.Event, order: books.Order) -> Any:
    """Let this event happen now, with the dice of the next number. Returns what it was, as the client is told."""
    chaos.happened += 1
    accounts, told = await books.happen(pool, event, order, event_dice(chaos.seed, chaos.happened))
    chaos.events_done[event.name] += 1
    changed(accounts)
    return told


async def by_themselves(pool: Pool, chaos: Chaos, changed: Changed) -> None:
    """As many events a minute as are wanted, until cancelled. What the books have nothing for does not happen."""
    owed = 0.0
    while True:
        await asyncio.sleep(_LOOK_EVERY_SECONDS)
        owed = owed + chaos.events_per_minute / 60 * _LOOK_EVERY_SECONDS if chaos.events_per_minute else 0.0
        while owed >= 1:
            owed -= 1
            event = events.one_by_chance(event_dice(chaos.seed, chaos.happened + 1))
            try:
                await let_happen(pool, chaos, changed, event, books.Order(event=event.name))
            except problems.NothingToChange:
                pass
            except (psycopg.Error, PoolTimeout) as error:
                log.warning("%s did not happen: %s", event.name, error)
