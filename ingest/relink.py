"""Accounts that the bank lists under a new id: after a relink, a new consent, a move to another system.

The mirror's `account_id` stays, and with it history, transfers and the configuration of agents; the bank's new id is
translated where pages come in. Until it is certain that two ids are one account, what the bank shows under the new one
is held back: mirrored beside the old one, all of its money would be counted twice.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

import structlog

from banks.ports import (
    BankReader,
    ChangePage,
    FetchedAccount,
    FetchedBalance,
    FetchedTransaction,
    Page,
    Refused,
    Removed,
    Window,
)
from ingest.decide import Listed, bank_account_id
from ingest.store import QUERIES, Claim, fetch_row, run_query
from kernel.database import Connection, Pool

log = structlog.get_logger()

# So many equal entries are no coincidence, and nearly all of them must be: what was booked since the relink is shown
# under the new id alone.
LINKS_ROWS_MIN = 10
LINKS_SHARE_MIN = 0.9

Row = TypeVar("Row", FetchedBalance, FetchedTransaction, Removed)


# ── where pages come in ─────────────────────────────────────────────────────────────────────────────────────


async def renamed(pool: Pool, bank: BankReader, connection_id: str) -> BankReader:
    """The bank as it would answer had it not given accounts new ids; the bank itself while it has not."""
    names = {
        bank_account_id(connection_id, listed_id): bank_account_id(connection_id, account_id)
        for listed_id, account_id in (await former_ids(pool, connection_id)).items()
    }
    return RenamedReader(bank, names) if names else bank


async def former_ids(pool: Pool, connection_id: str) -> dict[str, str]:
    """The mirror's account by each id under which the bank lists it now, where that is another one."""
    async with pool.connection() as connection:
        rows = await _placed(connection, connection_id)
    return {listed_id: account_id for listed_id, account_id, state in rows if state != "suggested"}


class RenamedReader:
    """A `BankReader` in which accounts keep their former ids. `names` leads from the bank's new id to the former one.

    What the bank still says under a former id is of the time before, and dropped: it takes back what it shows under the
    new one.
    """

    def __init__(self, bank: BankReader, names: Mapping[str, str]) -> None:
        self.name, self.base_url, self.capabilities = bank.name, bank.base_url, bank.capabilities
        self._bank = bank
        self._former = names
        self._current = {former: current for current, former in names.items()}

    async def accounts(self) -> AsyncIterator[Page[FetchedAccount]]:
        """As the bank lists them: a listing is what tells that ids are new."""
        async for page in self._bank.accounts():
            yield page

    async def balances(self, account_id: str | None) -> AsyncIterator[Page[FetchedBalance]]:
        """The balances of all accounts, or of one by its former id."""
        asked = None if account_id is None else self._current.get(account_id, account_id)
        async for page in self._bank.balances(asked):
            yield replace(page, rows=self._rename(page.rows), refused=self._rename_refused(page.refused))

    async def changes(self, cursor: str | None) -> AsyncIterator[ChangePage]:
        """What changed since a cursor."""
        async for page in self._bank.changes(cursor):
            yield replace(
                page,
                upserts=self._rename(page.upserts),
                removed=self._rename(page.removed),
                refused=self._rename_refused(page.refused),
            )

    async def transactions(
        self, account_id: str, window: Window, cursor: str | None
    ) -> AsyncIterator[Page[FetchedTransaction]]:
        """The transactions of one account, by its former id."""
        async for page in self._bank.transactions(self._current.get(account_id, account_id), window, cursor):
            yield replace(page, rows=self._rename(page.rows), refused=self._rename_refused(page.refused))

    async def register_webhook(self, url: str) -> None:
        """A hint's ids are of no weight: it only says that something changed."""
        await self._bank.register_webhook(url)

    def _rename(self, rows: Sequence[Row]) -> list[Row]:
        return [
            row._replace(account_id=self._former.get(row.account_id, row.account_id))
            for row in rows
            if row.account_id not in self._current
        ]

    def _rename_refused(self, rows: Sequence[Refused]) -> list[Refused]:
        return [replace(row, account_id=self._former.get(row.account_id, row.account_id)) for row in rows]


# ── a listing of accounts ───────────────────────────────────────────────────────────────────────────────────


async def place(connection: Connection, claim: Claim, listed: Listed[FetchedAccount]) -> Listed[FetchedAccount]:
    """The listing under the mirror's ids, without accounts that may be others under a new id.

    Runs inside the transaction of the listing.
    """
    found = {
        "connection_id": claim.connection_id,
        "run_id": claim.run_id,
        "ids": [row.account_id for row in listed.rows],
        "names": [row.name for row in listed.rows],
        "types": [row.type for row in listed.rows],
        "currencies": [row.currency for row in listed.rows],
        "statuses": [row.status for row in listed.rows],
        "refused_ids": [row.account_id for row in listed.refused],
    }
    if (await fetch_row(connection, "relinks_turn", found))["turns"]:
        await run_query(connection, "relink_lock", found)
    returned = await _column(connection, "relinks_undo", found)
    await run_query(connection, "relinks_withdraw", found)
    suggested = await run_query(connection, "relinks_suggest", found)
    placed = {row[0]: row for row in await _placed(connection, claim.connection_id)}
    if suggested:
        await _hold_back(connection, claim, [row[0] for row in placed.values() if row[2] == "suggested"])
    if returned:
        await reread(connection, claim.connection_id, returned)
    rows = [
        row._replace(account_id=placed[row.account_id][1]) if row.account_id in placed else row
        for row in listed.rows
        if row.account_id not in placed or placed[row.account_id][2] != "suggested"
    ]
    return replace(listed, rows=rows)


async def _placed(connection: Connection, connection_id: str) -> list[tuple[str, str, str]]:
    cursor = await connection.execute(QUERIES["relinks_list"], {"connection_id": connection_id})
    return await cursor.fetchall()


async def _column(connection: Connection, query: str, parameters: Mapping[str, object]) -> list[str]:
    cursor = await connection.execute(QUERIES[query], parameters, prepare=False)
    return [row[0] for row in await cursor.fetchall()]


async def _hold_back(connection: Connection, claim: Claim, held: Sequence[str]) -> None:
    """A feed may have shown the new id before the listing did. Fenced first: after that nobody stores more of it."""
    log.warning("accounts may be listed under new ids, and are held back", accounts=held, run_id=claim.run_id)
    await _fence(connection, claim.connection_id)
    if await run_query(connection, "held_archive", {"held": list(held), "run_id": claim.run_id}):
        await run_query(connection, "held_totals", {"held": list(held)})
        await run_query(connection, "relink_mark_changed", {"run_id": claim.run_id})


async def reread(connection: Connection, connection_id: str, accounts: Sequence[str]) -> None:
    """What belongs to these accounts has changed: whoever reads now stores nothing, and it is read from the start."""
    await _fence(connection, connection_id)
    scope = {"connection_id": connection_id, "accounts": list(accounts)}
    await run_query(connection, "relink_reread", scope)
    await run_query(connection, "accounts_hasten", scope)
    await run_query(connection, "changed_notify", {"payload": '{"accounts": null}'})


async def _fence(connection: Connection, connection_id: str) -> None:
    for query in ("relink_lock", "relink_fence"):
        await run_query(connection, query, {"connection_id": connection_id})


# ── a changeset of transactions ─────────────────────────────────────────────────────────────────────────────


async def take_held(connection: Connection, claim: Claim, *, begins: bool) -> int:
    """Take the rows of accounts that are held back out of a changeset, as evidence. Returns how many they were.

    `begins` says that a pass does: what an earlier one showed is no evidence a second time.
    """
    await connection.execute(QUERIES["held_stage_create"])
    taken = await run_query(connection, "held_take", claim.key)
    if taken:
        await connection.execute("SET LOCAL enable_hashjoin = on")
        await run_query(connection, "relinks_weigh", {"begins": begins})
        await connection.execute("SET LOCAL enable_hashjoin = off")
    await run_query(connection, "incoming_adopt_hash", claim.key)
    return taken


async def link_proven(connection: Connection, claim: Claim) -> bool:
    """As a pass ends, link what the evidence is enough for. True if anything was: then it is read again, whole."""
    enough = {"rows_min": LINKS_ROWS_MIN, "share_min": LINKS_SHARE_MIN}
    linked = await _column(connection, "relinks_link", {**claim.key, "run_id": claim.run_id, **enough})
    if linked:
        log.warning("accounts are linked to their new ids", accounts=linked, run_id=claim.run_id)
        await reread(connection, claim.connection_id, linked)
    return bool(linked)
