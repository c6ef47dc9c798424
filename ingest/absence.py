"""Absence is not removal: what a complete pass does not show is noted, and only a second one removes it.

A pass that begins notes what we hold and strikes out what it shows; what is left at its end was missed once. If that is
too much to be true, a breaker opens (see ingest.breaker) and nothing is removed. Runs inside the transaction of a
changeset, but for the noting ahead of a long pass.
"""

from typing import Any, NamedTuple

from ingest import breaker
from ingest.decide import ABSENCE_ROWS_MAX, Changeset, MassDisappearance, is_mass_disappearance
from ingest.store import QUERIES, Claim, fetch_row, hold_lease, run_query
from kernel.database import Connection, Pool

# What we hold is noted in steps of so many rows, about a second each, if there is more than one such step: each
# commits, so that a mirror of any size is through some day, however often the run is cut.
NOTE_ROWS = 100_000
_ALL_DAYS = {"first": "-infinity", "last": "infinity"}


class Absence(NamedTuple):
    """What became of rows that a pass did not show: now in `ended`, or waiting for a second look.

    `moved` says that a breaker opened or closed, which readers are told.
    """

    ended: int = 0
    waiting: int = 0
    doubt: MassDisappearance | None = None
    moved: bool = False


# ── as a pass begins ────────────────────────────────────────────────────────────────────────────────────────


async def note_ahead(pool: Pool, claim: Claim, *, in_sweep: bool = False) -> None:
    """Before a pass over everything: note what we hold, if that is more than the first changeset should do.

    A pass that was cut here goes on where it was. Raises FencedError.
    """
    async with pool.connection() as connection:
        await hold_lease(connection, claim)
        if not in_sweep:
            await run_query(connection, "sweep_void", claim.key)
        scope = {**claim.key, "rows": NOTE_ROWS + 1}
        if not (await fetch_row(connection, "held_exceeds", scope))["exceeds"]:
            return
        if await _noted_to(connection, claim) is None:
            await run_query(connection, "missing_forget", claim.key)
    finished = False
    while not finished:
        async with pool.connection() as connection:
            await connection.execute(QUERIES["stage_create"])
            await hold_lease(connection, claim)
            finished = await _note_step(connection, claim, await _noted_to(connection, claim), _ALL_DAYS)


async def note_missing(connection: Connection, claim: Claim, changes: Changeset) -> None:
    """As a pass begins, note what its first rows do not show, unless that was done ahead; then strike out what is shown
    after all.
    """
    if changes.begins:
        if not changes.is_sweep:
            await run_query(connection, "holds_forget_all", claim.key)
        if await _noted_to(connection, claim) is not None:
            await _save_noted(connection, claim, None)
        else:
            await run_query(connection, "missing_forget", claim.key)
            await _note_now(connection, claim, changes)
    await strike(connection, changes)


async def strike(connection: Connection, changes: Changeset) -> int:
    """What is shown is not missing. Returns how many notes that ended."""
    shown = {
        "refused_accounts": [row.account_id for row in changes.refused],
        "refused_ids": [row.transaction_id for row in changes.refused],
    }
    return await run_query(connection, "missing_strike", shown)


async def _note_now(connection: Connection, claim: Claim, changes: Changeset) -> None:
    scope = {**claim.key, **changes.scope, "run_id": claim.run_id}
    if changes.window is not None and not changes.shows_everything:
        await run_query(connection, "missing_note_window", scope)
        return
    noted: tuple[str, str] | None = None
    finished = False
    while not finished:
        finished, noted = await _note_rows(connection, claim, noted, changes.scope)


async def _note_step(connection: Connection, claim: Claim, after: tuple[str, str] | None, scope: Any) -> bool:
    finished, noted = await _note_rows(connection, claim, after, scope)
    await _save_noted(connection, claim, noted)
    return finished


async def _note_rows(
    connection: Connection, claim: Claim, after: tuple[str, str] | None, scope: Any
) -> tuple[bool, tuple[str, str] | None]:
    account_id, transaction_id = after or ("", "")
    step = {"after_account": account_id, "after_transaction": transaction_id, "rows": NOTE_ROWS}
    found = await fetch_row(connection, "missing_note_step", {**claim.key, **scope, **step, "run_id": claim.run_id})
    finished = found["looked_at"] < NOTE_ROWS
    return finished, (found["account_id"], found["transaction_id"]) if found["looked_at"] else after


async def _noted_to(connection: Connection, claim: Claim) -> tuple[str, str] | None:
    cursor = await connection.execute(QUERIES["noting_get"], claim.key)
    row = await cursor.fetchone()
    return None if row is None else (row[0], row[1])


async def _save_noted(connection: Connection, claim: Claim, noted: tuple[str, str] | None) -> None:
    account_id, transaction_id = noted or (None, None)
    step = {"after_account": account_id, "after_transaction": transaction_id}
    await run_query(connection, "noting_save", {**claim.key, **step})


# ── as it ends ──────────────────────────────────────────────────────────────────────────────────────────────


async def judge_absence(connection: Connection, claim: Claim, changes: Changeset) -> Absence:
    """As a pass ends, move what two passes missed to `ended`; if too much is missing, doubt the bank.

    What only got another id is not missing any more when this is asked: see ingest.identity.
    """
    opened = await breaker.find(connection, claim.key)
    scope: dict[str, Any] = {**claim.key, **changes.scope, "run_id": claim.run_id}
    scope["accepted_id"] = opened.breaker_id if opened is not None and opened.accepted else None
    found = await fetch_row(connection, "missing_count", scope)
    absent, accepted = found["absent"], found["accepted"]
    if opened is None and absent == 0:
        return Absence()
    doubt = None
    held = absent
    if absent > ABSENCE_ROWS_MAX:  # Counting all that we hold is only worth it when the answer may matter.
        counting = "held_count_all" if changes.window is None else "held_count_window"
        held = (await fetch_row(connection, counting, scope))["held"] - accepted
        if is_mass_disappearance(absent, held):
            doubt = MassDisappearance(f"{absent} of {held} transactions are not listed any more")
    ended = await run_query(connection, "ended_absent", {**scope, "doubted": doubt is not None})
    if doubt is not None:
        await breaker.hold(connection, scope, opened, absent, held)
        return Absence(ended, 0, doubt, moved=True)
    moved = opened is not None and await breaker.settle(connection, opened)
    await run_query(connection, "missing_confirm", scope)
    return Absence(ended, absent - (ended - accepted), moved=moved)
