"""The first reading of a feed, where nearly every row is new: rows go straight into the mirror, and nothing is counted.

Whether all of them are new, the mirror's own key says: if one is not, all is taken back and done the careful way.
Runs inside the transaction of a changeset.
"""

from collections.abc import Iterable
from datetime import date

from psycopg.errors import UniqueViolation

from banks.ports import FetchedTransaction
from ingest.absence import note_missing
from ingest.decide import Changeset
from ingest.identity import Sight
from ingest.store import QUERIES, Claim, run_query
from kernel.database import Connection

# As the columns of transactions_copy; binary costs Python a quarter of what text costs, and needs the types.
ROW_TYPES = ["text"] * 2 + ["int8"] + ["text"] * 8 + ["timestamptz", "date", "bytea", "int8"]


def is_plain(claim: Claim, changes: Changeset, sight: Sight) -> bool:
    """Whether new rows can do nothing but be added: no older version, hold, link or refused row is theirs to end."""
    return bool(
        changes.upserts
        and not (claim.complete or sight.compares or changes.is_sweep)
        and not (sight.has_links or sight.has_account_links or sight.has_refused)
        and not (sight.has_hidden or sight.has_pending)
        and all(row.status == "posted" for row in changes.upserts)
    )


async def copy_new(connection: Connection, claim: Claim, changes: Changeset) -> bool:
    """Store the rows with their totals, and note what a pass that begins does not show. False, with nothing done, if
    the mirror has one of them. Only for a plain changeset.
    """
    try:
        async with connection.transaction():
            if changes.judges_absence:  # First, while all that is held is what was held before.
                await note_missing(connection, claim, changes)
            await _copy(connection, changes, claim.run_id)
    except UniqueViolation:
        return False
    await run_query(connection, "totals_add", day_sums(changes.upserts))
    return True


async def _copy(connection: Connection, changes: Changeset, run_id: int) -> None:
    async with connection.cursor() as cursor, cursor.copy(QUERIES["transactions_copy"]) as copy:
        copy.set_types(ROW_TYPES)
        for row in changes.upserts:
            # Not copy.write_row: to await nothing for each row costs as much as encoding it.
            if block := copy.formatter.write_row((*row, run_id)):
                await copy.write(block)


def day_sums(rows: Iterable[FetchedTransaction]) -> dict[str, list[str] | list[date | None] | list[int]]:
    """What posted rows add to the daily totals, as parallel lists: minor units in and out, and entries, of each
    account, day and currency. In the order of the key, so that two writers cannot lock each other out.
    """
    sums: dict[tuple[str, date | None, str], list[int]] = {}
    for row in rows:
        moved = sums.setdefault((row.account_id, row.booked_on, row.currency), [0, 0, 0])
        moved[0 if row.amount_minor > 0 else 1] += row.amount_minor
        moved[2] += 1
    keys = sorted(sums, key=lambda key: (key[0], key[1] or date.min, key[2]))
    return {
        "accounts": [key[0] for key in keys],
        "days": [key[1] for key in keys],
        "currencies": [key[2] for key in keys],
        "ins": [sums[key][0] for key in keys],
        "outs": [sums[key][1] for key in keys],
        "entries": [sums[key][2] for key in keys],
    }
