"""How old an answer may be, and how long its caller waits for a younger one.

What is older than `max_age` is asked of the bank at once: ingest is told, which polls each feed at most once a second
however many ask. The caller waits for news about its accounts, holding no database connection, and is then answered or
told how old the mirror is. Ages are whole seconds, and what was confirmed since a request came is young enough for it.
"""

import asyncio
import json
import math
import re
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

from fastapi import Request

from kernel.errors import StaleData, ValidationFailed
from readapi.demand import Demand
from readapi.news import News
from readapi.reader import Reader, array_literal
from readapi.store import QUERIES, Answer
from readapi.values import MAX_AGE_SECONDS

# A question of the store or of the moments, with everything but its reader.
Ask = Callable[[Reader], Awaitable[Answer]]

# Seconds. A poll of a bank that answers takes less than the first; the second is what a client may ask for.
WAIT_SECONDS = 2
WAIT_SECONDS_MAX = 10
# Seconds between two looks: news comes feed by feed, and an answer needs more than one of them.
PAUSE_SECONDS = 0.05
# The same where any account is news, of which there may be hundreds a second for each who waits.
PAUSE_OF_ALL_SECONDS = 0.5
# Seconds between two looks while nothing is heard from the database.
DEAF_SECONDS = 0.5
# Seconds to come back in where nothing is going to be polled, and at most.
UNPOLLED_SECONDS = 60
# The same where a poll is due and does not come; and how long it has to be due: longer than a poll takes.
UNKEPT_SECONDS_MAX = 60
UNKEPT_AFTER_SECONDS = 10
RETRY_SECONDS_MAX = 3600

_WHOLE = re.compile(r"\d+", re.ASCII)


@dataclass(frozen=True, slots=True)
class Patience:
    """What a request says: the age that it bears and how long it waits, in seconds. `prefers`: it said how long."""

    age_seconds: int
    wait_seconds: int
    prefers: bool

    @property
    def applied(self) -> dict[str, str]:
        """The header that says how long it would have waited, to one that had asked for it."""
        return {"Preference-Applied": f"wait={self.wait_seconds}"} if self.prefers else {}


@dataclass(frozen=True, slots=True)
class _Behind:
    """Accounts with feeds that were not read lately enough, and in how many seconds the next of these is asked."""

    accounts: list[str]
    due_seconds: float | None

    @property
    def unkept_seconds(self) -> int | None:
        """For how long a poll has been due that has not come to its end; None where that is no sign of anything."""
        overdue = -math.inf if self.due_seconds is None else -self.due_seconds
        return int(overdue) if overdue > UNKEPT_AFTER_SECONDS else None


def patience_of(request: Request, *, settled: bool) -> Patience | None:
    """What the request says of age; None if any will do. Raises ValidationFailed for `max_age` at a settled moment."""
    asked = request.query_params.get("max_age")
    if settled:
        if asked is not None:
            raise ValidationFailed.at("max_age", "does not go with known_at: what was known then gets no newer")
        return None
    # The endpoint has checked that these are digits.
    ages = [] if asked is None else [int(asked)]
    ages += _max_ages(request.headers.getlist("cache-control"))
    if not ages:
        return None
    wait = _wait(request.headers.getlist("prefer"))
    return Patience(
        min(*ages, MAX_AGE_SECONDS), WAIT_SECONDS if wait is None else min(wait, WAIT_SECONDS_MAX), wait is not None
    )


async def young_answer(
    request: Request, reader: Reader, ask: Ask, patience: Patience, accounts: frozenset[str] | None
) -> tuple[Answer, bool]:
    """The answer, once it is young enough, and whether it was waited for. Raises StaleData, and what asking raises.

    `accounts` are those that it is made of; None: any.
    """
    news: News = request.app.state.news
    demand: Demand = request.app.state.demand
    clock = asyncio.get_running_loop().time
    began = clock()
    waited = False
    pause_seconds = PAUSE_OF_ALL_SECONDS if accounts is None else PAUSE_SECONDS
    deadline = began + patience.wait_seconds
    # From before the first question, so that nothing is missed between an answer and the wait for a better one.
    with news.watch(accounts) as watch:
        while True:
            watch.forget()
            answer = await ask(reader)
            if not answer.found or _is_young(answer, patience.age_seconds, clock() - began):
                return answer, waited
            behind = await _behind(request, reader, patience.age_seconds)
            left = deadline - clock()
            if not waited:
                # Once: a run that is under way when it is asked for again is followed by another one.
                demand.hasten(behind.accounts, patience.age_seconds)
            if left <= 0:
                raise _stale(answer, patience, behind)
            waited = True
            await watch.heard(left if news.trusted_until > clock() else min(left, DEAF_SECONDS))
            await asyncio.sleep(min(pause_seconds, max(0.0, deadline - clock())))


def _is_young(answer: Answer, age_seconds: int, elapsed_seconds: float) -> bool:
    return answer.age_seconds is not None and answer.age_seconds <= max(age_seconds, round(elapsed_seconds))


async def _behind(request: Request, reader: Reader, age_seconds: int) -> _Behind:
    account_id = account_asked(request)
    version = reader.version
    found = await reader.row(
        QUERIES["polls_behind"],
        {
            "account_ids": None if account_id is None else array_literal((account_id,)),
            "age_max_seconds": str(age_seconds),
        },
    )
    # The answer's own version stands: this was asked about it, and not for it.
    reader.version = version
    return _Behind(*found)


def account_asked(request: Request) -> str | None:
    """The one account that a request is about; None where it may be any."""
    return request.path_params.get("account_id") or request.query_params.get("account_id")


def _stale(answer: Answer, patience: Patience, behind: _Behind) -> StaleData:
    due = UNPOLLED_SECONDS if behind.due_seconds is None else math.ceil(behind.due_seconds)
    told = json.loads(answer.freshness)
    age = "was never confirmed" if answer.age_seconds is None else f"was confirmed {answer.age_seconds} s ago"
    detail = f"this {age}, and {patience.age_seconds} s are allowed"
    if (unkept := behind.unkept_seconds) is not None:
        # Asking again soon only adds to what is wrong. The older it is, the less likely it is to be mended just now.
        due = min(max(due, (answer.age_seconds or unkept) // 2, 1), UNKEPT_SECONDS_MAX)
        detail += (
            f"; the mirror is not being kept: a poll has been due for {unkept} s, ingest does not run or is behind"
        )
    return StaleData(
        detail,
        headers=patience.applied,
        retry_after_seconds=min(max(1, due), RETRY_SECONDS_MAX),
        verdict=told["verdict"],
        synced_at=told["synced_at"],
        age_seconds=answer.age_seconds,
        max_age=patience.age_seconds,
        reason=told["reason"],
        remedy=told["remedy"],
    )


# ── the headers ─────────────────────────────────────────────────────────────────────────────────────────────


def _max_ages(cache_control: Iterable[str]) -> list[int]:
    """The seconds of `Cache-Control: max-age` (RFC 9111, 5.2.1.1). What cannot be read is as if it were not there."""
    found = []
    for directive in ",".join(cache_control).split(","):
        name, _, value = directive.partition("=")
        if name.strip().lower() == "max-age" and (seconds := _seconds(value)) is not None:
            found.append(seconds)
    return found


def _wait(prefer: Iterable[str]) -> int | None:
    """The seconds of `Prefer: wait` (RFC 7240, 4.3); the first counts, and one that cannot be read is none."""
    for preference in ",".join(prefer).split(","):
        name, _, value = preference.partition(";")[0].partition("=")
        if name.strip().lower() == "wait":
            return _seconds(value)
    return None


def _seconds(value: str) -> int | None:
    text = value.strip().strip('"')
    # Ten digits are three centuries, and whoever sends more means any age.
    return int(text[:10]) if _WHOLE.fullmatch(text) else None
