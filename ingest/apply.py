"""One transaction per changeset: the lease, the rows, what they replace, the totals, the cursor and the run.

All of it commits or none does, so a cursor is never ahead of its rows, and repeating a changeset changes
nothing.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from psycopg import AsyncCursor
from psycopg.abc import Buffer
from psycopg.copy import AsyncLibpqWriter

from banks.ports import FetchedTransaction, MutatedDuringPagination
from ingest import first_reading, identity, relink
from ingest.absence import Absence, judge_absence, note_missing, strike
from ingest.advance import Advance, Applied, keep_refused, notify_changed, save_advance, unknown_accounts
from ingest.decide import Changeset
from ingest.store import QUERIES, Claim, fetch_row, hold_lease, run_query
from kernel.database import Connection, Pool

# The stage is small and the mirror is large: look each row up by its key. Left alone, the planner reads the
# whole table whenever autovacuum has not counted it yet, and that is all through a backfill.
_BY_KEY = "SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off"


async def apply_transactions(pool: Pool, claim: Claim, changes: Changeset, advance: Advance) -> Applied:
    """Store a changeset of transactions. Raises FencedError, with nothing written, if the lease was lost."""
    async with pool.connection() as connection:
        await connection.execute(QUERIES["stage_create"])
        await hold_lease(connection, claim)
        changed, removed, absence = await move_rows(connection, claim, changes)
        trusted = changes.ends and absence.doubt is None
        await keep_refused(
            connection,
            claim,
            changes.refused,
            shows_all=trusted and changes.shows_everything,
            window=changes.window if trusted else None,
        )
        if changes.ends and changes.window is not None and absence.doubt is None:
            await run_query(connection, "coverage_extend", {**claim.key, **changes.scope, "run_id": claim.run_id})
        if absence.waiting and changes.window is None:
            # The second look at a delta feed is another pass from its start.
            advance = replace(advance, cursor=None)
        touched = sorted({row[0] for row in changes.upserts} | {row.account_id for row in changes.removed})
        applied = Applied(
            changes.rows_seen,
            changed,
            removed,
            len(changes.refused),
            changes.pages,
            absence.doubt,
            await unknown_accounts(connection, touched),
        )
        await save_advance(connection, claim, advance, applied, changes.as_of)
        if changes.ends:
            await relink.link_proven(connection, claim)
        if changed or removed:
            everyone = changes.from_start and claim.account_id == ""
            await notify_changed(connection, claim, None if everyone else touched or [claim.account_id])
        return applied


async def move_rows(connection: Connection, claim: Claim, changes: Changeset) -> tuple[int, int, Absence]:
    """Work out what the rows replace and end, and move history, totals and the mirror itself.

    Returns how many rows changed and how many went, and what was absent.
    """
    mine = {
        **claim.key,
        "run_id": claim.run_id,
        "from_start": changes.from_start,
        "removed_accounts": [row.account_id for row in changes.removed],
        "removed_ids": [row.transaction_id for row in changes.removed],
    }
    sight = await identity.look(connection, claim)
    added = 0
    if first_reading.is_plain(claim, changes, sight) and await first_reading.copy_new(connection, claim, changes):
        # What is left is to judge what the pass did not show.
        added = len(changes.upserts)
        changes = replace(changes, upserts=(), begins=False)
    copied = await _copy_incoming(connection, changes.upserts, claim.run_id) if changes.upserts else []
    held_back = 0
    if sight.has_account_links and changes.upserts:
        held_back = await relink.take_held(connection, claim, begins=changes.begins)
    if changes.is_sweep and changes.window is not None and changes.upserts:
        # A row of a neighbouring slice, under a new id, would stand beside its old one until that slice is judged.
        held_back += await run_query(connection, "incoming_defer", changes.scope)
    if changes.judges_absence:
        await note_missing(connection, claim, changes)
        await _refuse_mutation(connection, changes)
    has_missing = sight.has_missing or changes.judges_absence
    struck = 0
    if sight.has_missing and changes.upserts and not changes.judges_absence:
        struck = await strike(connection, changes)
    if changes.upserts or changes.removed:
        if sight.has_refused:
            await run_query(connection, "quarantine_mend", mine)
        if sight.has_hidden:
            await run_query(connection, "holds_forget", mine)
    all_new = not held_back
    if any(row.status == "pending" for row in changes.upserts):
        all_new = await run_query(connection, "incoming_settled", mine) == 0 and all_new
    await connection.execute(_BY_KEY)
    ended = 0
    known = await fetch_row(connection, "incoming_count_known", {}) if changes.upserts else {"known": 0}
    if known["known"]:
        all_new = False
        await run_query(connection, "incoming_drop_unchanged")
        ended += await run_query(connection, "ended_changed")
        if ended >= identity.REWRITTEN_ROWS_MIN:
            await identity.refuse_positions(connection, claim, known["posted"])
    if any(row.pending_transaction_id is not None for row in changes.upserts):
        if settled := await run_query(connection, "ended_settled"):
            await run_query(connection, "links_provider", mine)
            # Where a bank is read by listing, the next listing shows the hold if it is there.
            if changes.window is None:
                await run_query(connection, "holds_hide", mine)
        ended += settled
    removed = await run_query(connection, "ended_removed", mine) if changes.removed else 0
    rekeyed = await identity.rekey(connection, claim, changes, sight) if sight.compares else identity.NOTHING
    ended += rekeyed.removed + rekeyed.missing
    removed -= rekeyed.removed
    absence = await judge_absence(connection, claim, changes) if changes.judges_absence and changes.ends else Absence()
    removed += absence.ended
    if sight.compares:
        settled = await identity.settle(connection, claim, came=rekeyed.came > 0, ended=removed > 0)
        ended, removed = ended + settled, removed - settled
    if changes.ends and absence.doubt is None:
        await identity.end_pass(connection, claim, sight)
    if ended or removed:
        await run_query(connection, "ended_archive", mine)
        await run_query(connection, "ended_delete")
        if has_missing:
            struck += await run_query(connection, "missing_resolve")
        if await run_query(connection, "holds_return"):
            all_new = False
    if sight.has_links and (changes.upserts or ended):
        await identity.take_back(connection)
    if struck and not changes.judges_absence:
        await run_query(connection, "breaker_close_empty", claim.key)
    if changes.upserts and (claim.complete or known["known"]):
        await run_query(connection, "late_note", claim.key)
    if changes.upserts or ended or removed:
        await run_query(connection, "totals_move")
    if all_new and changes.upserts:
        await _copy_again(connection, copied)
        return len(changes.upserts), removed, absence
    if not (changes.upserts or ended or removed):  # Nothing came, and no hold came back.
        return added, removed, absence
    return added + await run_query(connection, "incoming_upsert", mine), removed, absence


async def _refuse_mutation(connection: Connection, changes: Changeset) -> None:
    """Raise MutatedDuringPagination if a listing shows another version of what an earlier stretch of it stored: its
    pages are not of one moment, and a row may have slipped between two of them.
    """
    if changes.window is None or changes.began is None or changes.begins or not changes.upserts:
        return
    if (await fetch_row(connection, "incoming_mutated", {"began": changes.began}))["mutated"]:
        raise MutatedDuringPagination("one id was listed twice with different contents")


async def _copy_incoming(connection: Connection, rows: Sequence[FetchedTransaction], run_id: int) -> list[Buffer]:
    """Copy the rows to the stage. Returns what was sent: when all of them are new, it is sent once more as it is."""
    async with connection.cursor() as cursor:
        sending = _KeptAsSent(cursor)
        async with cursor.copy(QUERIES["incoming_copy"], writer=sending) as copy:
            copy.set_types(first_reading.ROW_TYPES)
            for row in rows:
                # Not copy.write_row: to await nothing for each row costs as much as encoding it.
                if block := copy.formatter.write_row((*row, run_id)):
                    await copy.write(block)
        return sending.blocks


async def _copy_again(connection: Connection, blocks: Sequence[Buffer]) -> None:
    async with connection.cursor() as cursor, cursor.copy(QUERIES["transactions_copy"]) as copy:
        for block in blocks:
            await copy.write(block)


class _KeptAsSent(AsyncLibpqWriter):
    """Sends a COPY to the server, and keeps what it sends."""

    def __init__(self, cursor: AsyncCursor[Any]) -> None:
        super().__init__(cursor)
        self.blocks: list[Buffer] = []

    async def write(self, data: Buffer) -> None:
        self.blocks.append(data)
        await super().write(data)
