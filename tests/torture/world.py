"""A bank, its mirror, and everything that must be so between them at every moment."""

import asyncio
from typing import Any

import psycopg
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from ingest import store
from ingest.poll import Desk, Polled, poll
from ingest.settings import IngestSettings
from kernel.database import Pool
from tests.integration.ingest.conftest import Mirror
from tests.torture.arena import KilledError, Strikes, empty
from tests.torture.books import EXPONENTS, Books, Key, Row, booked_holds, same_row
from tests.torture.wire import Fault, Recording, TorturedReader

ACCOUNTS = {"acct_a": "KWD", "acct_b": "JPY"}
# After the faults stop: the first look notes what is missing, a second one removes it, and what that brings to light
# may need both once more.
SYNCS_TO_SETTLE = 4


class BrokenError(AssertionError):
    """An invariant does not hold; the text begins with its name."""


def insist(holds: object, invariant: str, detail: object) -> None:
    """Raise BrokenError unless it holds."""
    if not holds:
        raise BrokenError(f"{invariant}: {detail}")


class World:
    """One bank and its mirror."""

    def __init__(
        self,
        settings: IngestSettings,
        pool: Pool,
        strikes: Strikes,
        owner: AsyncConnection[TupleRow],
        tables: list[str],
    ) -> None:
        self.settings = settings
        self.tables = tables
        self.strikes = strikes
        self.mirror = Mirror(pool, settings, owner)
        self.books = Books()
        self.reader = TorturedReader(self.books, delta_feed=True, bulk_balances=True)
        self.desk = Desk(self.reader, pool, settings)

    async def open(self, *, delta_feed: bool, bulk_balances: bool, page_rows: int, chunk_rows: int) -> None:
        """A new bank with its accounts, and an empty mirror that knows of them."""
        self.strikes.disarm()
        self.strikes.watch = None
        await empty(self.mirror.owner, self.tables)
        self.books = Books(page_rows=page_rows)
        for account_id, currency in ACCOUNTS.items():
            self.books.open_account(account_id, currency)
        self.reader = TorturedReader(self.books, delta_feed=delta_feed, bulk_balances=bulk_balances)
        self.desk = await self.mirror.open(self.reader, backfill_chunk_rows=chunk_rows)

    # ── syncs ──

    async def sync(
        self,
        feed: str = "transactions",
        *,
        fault: Fault | None = None,
        strike: tuple[str, int] | None = None,
        watched: bool = False,
    ) -> list[Polled]:
        """Poll every target of a feed that is free, with one fault on the way and one strike at the worker."""
        before = await self._rows()
        missed = {row[0] for row in await self.mirror.ask("SELECT transaction_id FROM sync.missing")}
        self.reader.fault = fault
        if strike is not None:
            self.strikes.arm(*strike)
        if watched:
            self.strikes.watch = self.watch
        ended: list[Polled] = []
        for account_id in await self._targets(feed):
            worker = asyncio.create_task(self._work(feed, account_id))
            await asyncio.wait([worker])
            if worker.cancelled() or isinstance(worker.exception(), KilledError | psycopg.OperationalError):
                continue
            ended += worker.result()
        self.reader.fault, self.strikes.watch = None, None
        self.strikes.disarm()
        await self.check()
        if feed == "transactions":
            await self._insist_on_second_look(before, missed)
        return ended

    async def _work(self, feed: str, account_id: str) -> list[Polled]:
        return [await poll(self.desk, claim) for claim in await self._claim(feed, account_id)]

    async def sync_twice(self) -> None:
        """Poll, and then give the very same answers once more: nothing may change (I-18)."""
        for account_id in await self._targets("transactions"):
            self.reader.recorded = None
            for claim in await self._claim("transactions", account_id):
                polled = await poll(self.desk, claim)
                recorded: Recording | None = self.reader.recorded
                if polled.outcome == "complete" and polled.error is None and recorded is not None:
                    await self._replay(account_id, recorded)
        await self.check()

    async def _replay(self, account_id: str, recorded: Recording) -> None:
        before = await self.mirror.everything()
        state = await self.mirror.ask(
            "SELECT cursor, checkpoint FROM sync.targets WHERE feed = 'transactions' AND account_id = %s", account_id
        )
        if self.reader.capabilities.delta_feed:
            await self._set_cursor(account_id, recorded.cursor)
        self.reader.replayed = recorded
        for claim in await self._claim("transactions", account_id):
            await poll(self.desk, claim)
        self.reader.replayed = None
        insist(await self.mirror.everything() == before, "I-18", f"a replay from {recorded.cursor} changed something")
        if self.reader.capabilities.delta_feed:
            await self._set_cursor(account_id, state[0][0])

    async def _set_cursor(self, account_id: str, cursor: str | None) -> None:
        await self.mirror.owner.execute(
            "UPDATE sync.targets SET cursor = %s, checkpoint = NULL WHERE feed = 'transactions' AND account_id = %s",
            [cursor, account_id],
        )

    async def sync_asleep(self) -> None:
        """A worker claims, sleeps through its lease, and goes on when another one is through: it is fenced (I-10)."""
        for account_id in await self._targets("transactions"):
            claims = await self._claim("transactions", account_id)
            for sleeper in claims:
                await self.end_leases()
                for heir in await self._claim("transactions", account_id):
                    await poll(self.desk, heir)
                before = [*await self.mirror.everything(), await self._target_states()]
                polled = await poll(self.desk, sleeper)
                insist(polled.outcome in ("fenced", "failed"), "I-10", f"a sleeper's run ended {polled.outcome}")
                after = [*await self.mirror.everything(), await self._target_states()]
                insist(after == before, "I-10", "a worker that lost its lease wrote something")
        await self.check()

    async def _target_states(self) -> list[TupleRow]:
        return await self.mirror.ask(
            "SELECT feed, account_id, cursor, checkpoint, complete, lease_epoch, lease_holder, failures, due_at"
            " FROM sync.targets ORDER BY 1, 2"
        )

    async def _targets(self, feed: str) -> list[str]:
        found = await self.mirror.ask(
            "SELECT account_id FROM sync.targets WHERE feed = %s AND in_use ORDER BY account_id", feed
        )
        return [row[0] for row in found]

    async def _claim(self, feed: Any, account_id: str) -> list[store.Claim]:
        """Its lease, if nobody else has it and it is not parked."""
        return await store.claim(
            self.desk.pool,
            connection_id="default",
            holder="torture",
            lease_seconds=self.settings.lease_seconds,
            only=(feed, account_id),
        )

    # ── clocks ──

    async def end_leases(self) -> None:
        """Time passes for leases."""
        await self.mirror.owner.execute(
            "UPDATE sync.targets SET lease_until = clock_timestamp() - interval '1 s', due_at = clock_timestamp()"
            " WHERE lease_holder IS NOT NULL"
        )

    async def pass_interval(self) -> None:
        """Time passes between two looks."""
        await self.mirror.pass_interval()

    # ── what must be so at every moment ──

    async def check(self) -> None:
        """Totals are sums of rows, histories meet, and no cursor is ahead of its rows."""
        try:
            await self.mirror.check()
        except AssertionError as error:
            raise BrokenError(f"I-13: totals or intervals do not tie: {error}") from error
        await self.watch()

    async def watch(self) -> None:
        """I-9, as any reader sees it in one statement: what the bank told before the cursor is in the mirror."""
        if not self.reader.capabilities.delta_feed:
            return
        found = await self.mirror.ask(
            "SELECT coalesce(checkpoint, cursor),"
            " ARRAY(SELECT ROW(account_id, transaction_id)::text FROM sync.missing),"
            " (SELECT coalesce(jsonb_agg(jsonb_build_array(account_id, transaction_id, amount_minor, currency, status,"
            "    description, booked_on, pending_transaction_id)), '[]') FROM snapshot.transactions),"
            " (SELECT coalesce(jsonb_agg(jsonb_build_array(account_id, transaction_id)), '[]') FROM sync.missing),"
            " (SELECT coalesce(jsonb_agg(jsonb_build_array(account_id, transaction_id)), '[]') FROM sync.quarantine"
            "   WHERE resolved_at IS NULL)"
            " FROM sync.targets WHERE feed = 'transactions' AND account_id = ''"
        )
        cursor, _, shown, missing, quarantined = found[0]
        if cursor is None:
            return
        self._judge_cursor(cursor, {Row(*row) for row in shown}, {tuple(key) for key in missing},
                           frozenset((row[0], row[1]) for row in quarantined))  # fmt: skip

    def _judge_cursor(
        self, cursor: str, shown: set[Row], missing: set[tuple[Any, ...]], quarantined: frozenset[Key]
    ) -> None:
        told = self.books.last_told()
        position = self.books.position(cursor)
        readable = self.books.readable(quarantined)
        named = {(row.account_id, row.pending_transaction_id) for row in shown if row.status == "posted"}
        named |= {(key[0], row["pending_transaction_id"]) for key, row in readable.items()}
        for row in self.books.expected(quarantined) - shown:
            key = (row.account_id, row.transaction_id)
            insist(told[key] >= position or key in named, "I-9", f"cursor {cursor} is ahead of {row}")
        for row in shown:
            key = (row.account_id, row.transaction_id)
            kept = key in self.books.rows or key in missing or key in quarantined
            insist(kept or told[key] >= position, "I-9", f"cursor {cursor} is ahead of the removal of {row}")

    async def _rows(self) -> set[Row]:
        found = await self.mirror.ask(
            "SELECT account_id, transaction_id, amount_minor, currency, status, description, booked_on::text,"
            " pending_transaction_id FROM snapshot.transactions"
        )
        return {Row(*row) for row in found}

    async def _insist_on_second_look(self, before: set[Row], missed: set[str]) -> None:
        """B10: what the bank still has, and no earlier look had missed, is not gone."""
        kept = {(row.account_id, row.transaction_id) for row in await self._rows()}
        booked = booked_holds(self.books.rows)
        for row in before:
            key = (row.account_id, row.transaction_id)
            gone = key in self.books.rows and key not in kept and key not in booked
            insist(not gone or row.transaction_id in missed, "B10", f"gone after one look: {row}")

    # ── what must be so once it is quiet ──

    async def settle(self) -> None:
        """Faults stop, accounts are open again, and everything is polled as often as two looks need."""
        for account in self.books.accounts.values():
            account["status"] = "open"
        self.books.state_balances()
        await self.end_leases()
        for feed in ("accounts", "balances", *["transactions"] * SYNCS_TO_SETTLE):
            for polled in await self.sync(feed):
                insist(polled.outcome in ("complete", "partial"), "I-19", f"without faults: {polled}")
            await self.pass_interval()

    async def compare(self) -> None:
        """Mirror and bank are equal, and what is derived from the mirror is too."""
        quarantined = await self.mirror.ask(
            "SELECT account_id, transaction_id, raw FROM sync.quarantine WHERE resolved_at IS NULL"
            " AND feed = 'transactions'"
        )
        refused = {(row[0], row[1]) for row in quarantined}
        self._compare_refused(refused, [bytes(row[2]) for row in quarantined])
        # What was damaged on the way is known to be missing: it is in quarantine until it is told again.
        hidden = frozenset(key for key in self.reader.poisoned if key in refused)
        shown = {row for row in await self._rows() if (row[0], row[1]) not in {*self.books.bad, *hidden}}
        expected = self.books.expected(hidden)
        insist(shown == expected, "I-8", f"only mirror: {shown - expected}; only bank: {expected - shown}")
        await self._compare_balances(hidden)
        await self._compare_identity()
        await self._compare_views()
        await self._compare_decimals()

    def _compare_refused(self, refused: set[Key], raws: list[bytes]) -> None:
        """Quarantine is the set of bad rows: none is skipped, and none stays when it was mended."""
        for key, row in self.books.bad.items():
            insist(any(same_row(raw, row) for raw in raws), "quarantine", f"{key} was skipped in silence")
        for key in refused:
            known = key in self.books.bad or key in self.reader.poisoned
            insist(known or not key[1], "quarantine", f"{key} is well, and still refused")

    async def _compare_balances(self, hidden: frozenset[Key]) -> None:
        found = await self.mirror.ask("SELECT account_id, current_minor FROM snapshot.balances")
        balances = {row[0]: row[1] for row in found}
        for account_id, row in self.books.balances.items():
            insist(balances.get(account_id) == row["current_cents"], "I-8", f"balance of {account_id}")
        sums = await self.mirror.ask(
            "SELECT account_id, sum(amount_minor)::bigint FROM snapshot.transactions WHERE status = 'posted' GROUP BY 1"
        )
        doubtful = {key[0] for key in (*hidden, *self.books.bad)}
        for account_id, total in sums:
            if account_id in self.books.balances and account_id not in doubtful:
                insist(total == balances[account_id], "I-6", f"{account_id}: booked {total}, {balances[account_id]}")

    async def _compare_identity(self) -> None:
        """T6: a run that gives rows new ids gives each its own."""
        found = await self.mirror.ask(
            "SELECT account_id, successor_id FROM snapshot.transaction_revisions WHERE ended_by = 'rekeyed'"
            " GROUP BY account_id, successor_id, ended_run_id HAVING count(*) > 1"
        )
        insist(not found, "T6", f"two rows became one: {found}")

    async def _compare_views(self) -> None:
        await store.refresh_views(self.desk.pool)
        (differing,) = await self.mirror.ask(
            "WITH defined AS (SELECT account_id, booked_on, currency, in_minor, out_minor, in_minor + out_minor,"
            "  sum(in_minor + out_minor) OVER (PARTITION BY account_id, currency ORDER BY booked_on), entries FROM ("
            "   SELECT account_id, booked_on, currency,"
            "    coalesce(sum(amount_minor) FILTER (WHERE amount_minor > 0), 0)::numeric AS in_minor,"
            "    coalesce(sum(amount_minor) FILTER (WHERE amount_minor < 0), 0)::numeric AS out_minor,"
            "    count(*) AS entries FROM snapshot.transactions WHERE status = 'posted' GROUP BY 1, 2, 3) AS counted),"
            " stored AS (SELECT account_id, booked_on, currency, in_minor, out_minor, net_minor, running_net_minor,"
            "  entries FROM read.daily_cash_flow_stored)"
            " SELECT count(*) FROM ((TABLE defined EXCEPT TABLE stored) UNION ALL"
            "  (TABLE stored EXCEPT TABLE defined)) AS differing"
        )
        insist(differing[0] == 0, "I-13", f"{differing[0]} rows of the view are not those of its query")

    async def _compare_decimals(self) -> None:
        """X1: what is shown in major units has the currency's own decimals."""
        found = await self.mirror.ask("SELECT amount_minor, amount::text, currency FROM read.transactions")
        insist(len(found) == len(await self._rows()), "X1", "not every row can be shown in major units")
        for minor, text, currency in found:
            exponent = EXPONENTS[currency]
            decimals = len(text.partition(".")[2])
            insist(decimals == exponent and int(text.replace(".", "")) == minor, "X1", f"{minor} {currency} is {text}")
