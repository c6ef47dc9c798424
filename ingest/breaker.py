"""The breaker with a human gate: so much is suddenly missing that the bank is doubted, and not the mirror.

While one is open nothing of it is removed, and answers are partial and say why. It closes by itself when the bank
lists the rows again. Otherwise a person accepts that they are gone: then the next complete pass that still misses them
removes these rows, and no others. Nobody's silence removes anything.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, NamedTuple

from psycopg.rows import class_row

from ingest.decide import is_doubtful_listing, is_mass_disappearance
from ingest.store import QUERIES, Claim, fetch_row, run_query
from kernel.database import Connection, Pool

Decision = Literal["accepted", "declined"]
# Ids that a person is shown, to look up at the bank.
SAMPLE_MAX = 10


class Breaker(NamedTuple):
    """An open breaker. `accepted`: somebody said within the last 24 hours that what it holds is gone."""

    breaker_id: int
    held: int
    account_ids: list[str]
    accepted: bool


@dataclass(frozen=True, slots=True)
class BreakerState:
    """A breaker as a person is shown it. `sample` has a few of the missing ids; `expired`: accepted too long ago."""

    breaker_id: int
    connection_id: str
    account_id: str
    feed: str
    opened_at: datetime
    last_missed_at: datetime
    absent: int
    held: int
    sample: list[str]
    closed_at: datetime | None
    closed_because: str | None
    decision: Decision | None
    decided_at: datetime | None
    decided_by: str | None
    reason: str | None
    expired: bool


# ── in the transaction of a changeset ───────────────────────────────────────────────────────────────────────


async def find(connection: Connection, target: dict[str, Any]) -> Breaker | None:
    """The open breaker of a target."""
    async with connection.cursor(row_factory=class_row(Breaker)) as cursor:
        await cursor.execute(QUERIES["breaker_get"], target)
        return await cursor.fetchone()


async def hold(connection: Connection, scope: dict[str, Any], opened: Breaker | None, absent: int, held: int) -> None:
    """Put the transactions that a doubted pass did not show under a breaker.

    Beside an accepted one they are more than what was accepted: that one has done its work, and another is asked about.
    """
    if opened is not None and opened.accepted:
        await run_query(connection, "breaker_close", {"breaker_id": opened.breaker_id, "because": "let go"})
    sample = (await fetch_row(connection, "missing_sample", scope))["sample"]
    found = {**scope, "absent": absent, "held": held, "sample": sample, "account_ids": []}
    breaker_id = (await fetch_row(connection, "breaker_open", found))["breaker_id"]
    await run_query(connection, "missing_hold", {**scope, "breaker_id": breaker_id})
    await run_query(connection, "breaker_recount", {"breaker_id": breaker_id})


async def settle(connection: Connection, opened: Breaker) -> bool:
    """Close the breaker after a pass that is believed, if so little is left of it that nobody need be asked.

    What is left then is judged like everything else, from its first look on. True when it closed.
    """
    left = (await fetch_row(connection, "missing_left", {"breaker_id": opened.breaker_id}))["rows"]
    if left and (opened.accepted or is_mass_disappearance(left, opened.held)):
        return False
    because = "let go" if opened.accepted else "shown again"
    await run_query(connection, "breaker_close", {"breaker_id": opened.breaker_id, "because": because})
    await run_query(connection, "missing_free", {"breaker_id": opened.breaker_id})
    return True


async def gone_accounts(connection: Connection, claim: Claim) -> list[str]:
    """Accounts that may be absent from a listing, of accounts or of balances: somebody accepted that they are gone."""
    return list((await fetch_row(connection, "breakers_let_go", claim.key))["account_ids"])


async def judge_listed(
    connection: Connection, claim: Claim, absent_ids: list[str], held: int, *, doubted: bool
) -> None:
    """Open, keep or close the breaker of a listing, of accounts or of balances.

    It stays open, and asks, after its accounts have been absent for so long that they are stale themselves and the
    listing is no longer doubted for their sake.
    """
    opened = await find(connection, claim.key)
    if opened is not None and opened.accepted:
        # Were its accounts all that is absent, nothing would be doubted.
        await run_query(connection, "breaker_close", {"breaker_id": opened.breaker_id, "because": "let go"})
    if doubted:
        found = {
            **claim.key,
            "run_id": claim.run_id,
            "absent": len(absent_ids),
            "held": held,
            "sample": sorted(absent_ids)[:SAMPLE_MAX],
            "account_ids": sorted(absent_ids),
        }
        await run_query(connection, "breaker_open", found)
    elif opened is not None and not opened.accepted:
        left = len({*opened.account_ids} & {*absent_ids})
        if not is_doubtful_listing(left, left, opened.held):
            await run_query(connection, "breaker_close", {"breaker_id": opened.breaker_id, "because": "shown again"})


# ── what people do ──────────────────────────────────────────────────────────────────────────────────────────


async def breakers(pool: Pool, *, all_of_them: bool) -> list[BreakerState]:
    """The open breakers, newest first; then, if asked for, the closed ones."""
    async with pool.connection() as connection, connection.cursor(row_factory=class_row(BreakerState)) as cursor:
        await cursor.execute(QUERIES["breakers_list"], {"all": all_of_them})
        return await cursor.fetchall()


async def decide(pool: Pool, breaker_id: int, decision: Decision, *, by: str, reason: str) -> bool:
    """Record what somebody decided about an open breaker; the last word counts. False if it is not open."""
    async with pool.connection() as connection:
        decided = {"breaker_id": breaker_id, "decision": decision, "decided_by": by, "reason": reason}
        return await run_query(connection, "breaker_decide", decided) > 0
