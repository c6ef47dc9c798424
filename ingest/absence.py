"""Absence is not removal: what a complete pass does not show is noted, and only a second one removes it.

Runs inside the transaction of a changeset.
"""

from typing import Any, NamedTuple

from ingest.decide import ABSENCE_ROWS_MAX, Changeset, MassDisappearance, is_mass_disappearance
from ingest.store import Claim, fetch_row, run_query
from kernel.database import Connection


class Absence(NamedTuple):
    """What became of rows that a pass did not show: now in `ended`, or waiting for a second look."""

    ended: int = 0
    waiting: int = 0
    doubt: MassDisappearance | None = None


async def note_missing(connection: Connection, claim: Claim, changes: Changeset) -> None:
    """As a pass begins, note what its first rows do not show; later strike out what is shown after all."""
    scope = {**claim.key, **changes.scope, "run_id": claim.run_id}
    if changes.begins:
        scope["last_complete"] = await _last_complete(connection, claim)
        # Noting a whole connection reads all of it, once in a pass; 0 lets it take its time.
        await connection.execute("SET LOCAL statement_timeout = 0")
        await run_query(connection, "missing_forget", scope)
        await run_query(connection, "holds_forget_all", scope)
        await run_query(connection, "missing_note_all" if changes.window is None else "missing_note_window", scope)
    shown = {
        "refused_accounts": [row.account_id for row in changes.refused],
        "refused_ids": [row.transaction_id for row in changes.refused],
    }
    await run_query(connection, "missing_strike", shown)


async def judge_absence(connection: Connection, claim: Claim, changes: Changeset) -> Absence:
    """As a pass ends, move what two passes missed to `ended`; if too much is missing, doubt the bank."""
    scope: dict[str, Any] = {**claim.key, **changes.scope}
    absent = (await fetch_row(connection, "missing_count", scope))["absent"]
    if absent == 0:
        return Absence()
    if absent > ABSENCE_ROWS_MAX:  # Counting all that we hold is only worth it when the answer may matter.
        counting = "held_count_all" if changes.window is None else "held_count_window"
        held = (await fetch_row(connection, counting, scope))["held"]
        if is_mass_disappearance(absent, held):
            return Absence(doubt=MassDisappearance(f"{absent} of {held} transactions are not listed any more"))
    scope["last_complete"] = await _last_complete(connection, claim)
    ended = await run_query(connection, "ended_absent", scope)
    return Absence(ended, absent - ended)


async def _last_complete(connection: Connection, claim: Claim) -> int:
    return int((await fetch_row(connection, "run_last_complete", claim.key))["run_id"])
