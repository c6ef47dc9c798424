"""Negative controls: each takes one rule of the product away, and shows by which invariant torture finds that out.

The same scene without the mutation leaves every invariant true, so it is the rule that makes the difference.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from banks import generic_rows
from banks.ports import BankError, ChangePage, FetchedTransaction, Page, Window
from ingest import store
from ingest.advance import Advance, Applied, save_advance
from ingest.apply import apply_transactions
from ingest.decide import Changeset
from ingest.store import Claim
from kernel.database import Pool
from tests.integration.ingest.model_bank import TODAY
from tests.torture.books import BAD, Books, day
from tests.torture.conftest import Stage
from tests.torture.wire import Fault, TorturedReader
from tests.torture.world import BrokenError, World

Scene = Callable[[World], Awaitable[None]]
Mutation = Callable[[pytest.MonkeyPatch, Stage], None]


async def opened(world: World, *, delta_feed: bool, rows: int = 6) -> Books:
    """A bank with some rows on pages of two."""
    await world.open(delta_feed=delta_feed, bulk_balances=True, page_rows=2, chunk_rows=1_000)
    for number in range(rows):
        world.books.post("acct_a", -100 - number, day=day(number))
    return world.books


async def finish(world: World) -> None:
    """Once it is quiet, all is equal."""
    await world.settle()
    await world.compare()


# ── the rules, taken away ───────────────────────────────────────────────────────────────────────────────────


class OffsetReader(TorturedReader):
    """Counts rows in place of following the bank's cursor."""

    async def changes(self, cursor: str | None) -> AsyncIterator[ChangePage]:
        offset, has_more = 0, True
        while has_more:
            told = self.bank.log[self.bank.position(cursor) :]
            keys = list(dict.fromkeys(reversed(told)))[::-1][offset : offset + self.bank.page_rows]
            rows, refused = generic_rows.translate(
                [self.bank.rows[key] for key in keys if key in self.bank.rows], generic_rows.transaction
            )
            offset += self.bank.page_rows
            has_more = offset < len(set(told))
            yield ChangePage(rows, [], refused, str(len(self.bank.log)), has_more, None)
            self.moves()


def page_by_offset(patch: pytest.MonkeyPatch, stage: Stage) -> None:
    patch.setattr("tests.torture.world.TorturedReader", OffsetReader)


async def commit_cursor_first(pool: Pool, claim: Claim, changes: Changeset, advance: Advance) -> Applied:
    """The cursor in a transaction of its own."""
    async with pool.connection() as connection:
        await save_advance(connection, claim, advance, Applied(), changes.as_of)
    return await apply_transactions(pool, claim, changes, advance)


def save_cursor_apart(patch: pytest.MonkeyPatch, stage: Stage) -> None:
    patch.setattr("ingest.poll.apply_transactions", commit_cursor_first)


async def hold_nothing(*_: object) -> None:
    """No look at the epoch."""


def check_no_epoch(patch: pytest.MonkeyPatch, stage: Stage) -> None:
    for module in ("apply", "absence"):
        patch.setattr(f"ingest.{module}.hold_lease", hold_nothing)


def rewrite(patch: pytest.MonkeyPatch, query: str, *changes: tuple[str, str]) -> None:
    """A query of ingest with parts of it replaced; each part must be there."""
    text: str = store.QUERIES[query]
    for old, new in changes:
        assert old in text, f"{query} has changed: {old}"
        text = text.replace(old, new)
    patch.setattr("ingest.store.QUERIES", {**store.QUERIES, query: text})


def take_absence_for_removal(patch: pytest.MonkeyPatch, stage: Stage) -> None:
    rewrite(patch, "ended_absent", ("missing.first_missed_at <= now()", "'-infinity'::timestamptz <= now()"))


class PartialReader(TorturedReader):
    """Takes what came before a page failed for the whole list."""

    async def transactions(
        self, account_id: str, window: Window, cursor: str | None
    ) -> AsyncIterator[Page[FetchedTransaction]]:
        try:
            async for page in super().transactions(account_id, window, cursor):
                yield page
        except BankError:
            yield Page((), (), None, None)


def keep_partial_pages(patch: pytest.MonkeyPatch, stage: Stage) -> None:
    patch.setattr("tests.torture.world.TorturedReader", PartialReader)


def forget_occurrence(patch: pytest.MonkeyPatch, stage: Stage) -> None:
    rewrite(patch, "gone_pair", ("USING (account_id, fingerprint, occurrence)", "USING (account_id, fingerprint)"))


def parse_floats(patch: pytest.MonkeyPatch, stage: Stage) -> None:
    patch.setattr("banks.generic_rows._amount", lambda row, field: int(float(row[field])))


def assume_two_decimals(patch: pytest.MonkeyPatch, stage: Stage) -> None:
    stage.run(stage.world.mirror.ask("UPDATE snapshot.currencies SET unit = 0.01 RETURNING 1"))


def assume_every_currency(patch: pytest.MonkeyPatch, stage: Stage) -> None:
    patch.setattr("banks.generic_rows.exponent", lambda code: 2)


# ── the scenes ──────────────────────────────────────────────────────────────────────────────────────────────


async def row_moves_between_pages(world: World) -> None:
    """A change shifts all that comes after it."""
    books = await opened(world, delta_feed=True)
    left = [1]

    def move() -> None:
        if left:
            left.pop()
            books.change("acct_a", "txn_000001", amount_cents=-7)

    world.reader.moves = move
    await world.sync(fault=Fault("life", 1))
    await finish(world)


async def killed_everywhere(world: World) -> None:
    """At each statement of a sync in turn."""
    books = await opened(world, delta_feed=True)
    for statement in range(1, 45):
        books.post("acct_b", statement)
        await world.sync(strike=("kill", statement))
        await world.end_leases()
    await finish(world)


async def asleep(world: World) -> None:
    """Two workers on one target."""
    await opened(world, delta_feed=True)
    await world.sync_asleep()
    await finish(world)


async def shown_nothing_once(world: World) -> None:
    """One empty list."""
    await opened(world, delta_feed=False)
    await world.sync()
    await world.sync(fault=Fault("empty", 1))
    await finish(world)


async def broken_off_in_an_old_page(world: World) -> None:
    """The first listing fails on a page whose days no later one reads again."""
    books = await opened(world, delta_feed=False, rows=2)
    for number in range(4):
        books.post("acct_a", number + 1, day=day(40 + number))
    await world.sync(fault=Fault("fail", 2))
    await finish(world)


async def twins_under_new_ids(world: World) -> None:
    """Two coffees of one moment: both get new ids in one changeset."""
    books = await opened(world, delta_feed=True)
    twins = [books.post("acct_a", -450, created_at=f"{TODAY}T08:00:00Z") for _ in range(2)]
    await world.sync()
    books.rekey([("acct_a", twin) for twin in twins], removed_first=True)
    await world.sync()
    await finish(world)


async def amount_with_a_fraction(world: World) -> None:
    """An amount that is no whole number of minor units."""
    books = await opened(world, delta_feed=True)
    books.spoil("acct_a", BAD.index({"amount_cents": 1.5}))
    await finish(world)


async def three_exponents(world: World) -> None:
    """Accounts with no decimals and with three."""
    await opened(world, delta_feed=True)
    world.books.post("acct_b", 12_345)
    await finish(world)


async def unknown_currency(world: World) -> None:
    """A currency that is none."""
    books = await opened(world, delta_feed=True)
    books.spoil("acct_a", BAD.index({"currency": "XXX"}))
    await finish(world)


CONTROLS: dict[str, tuple[Mutation, Scene, str]] = {
    "offset paging": (page_by_offset, row_moves_between_pages, "I-9"),
    "cursor committed apart from rows": (save_cursor_apart, killed_everywhere, "I-9"),
    "no epoch check": (check_no_epoch, asleep, "I-10"),
    "absence taken as removal": (take_absence_for_removal, shown_nothing_once, "B10"),
    "partial pages kept": (keep_partial_pages, broken_off_in_an_old_page, "I-8"),
    "fingerprint without occurrence": (forget_occurrence, twins_under_new_ids, "T6"),
    "float parsing": (parse_floats, amount_with_a_fraction, "quarantine"),
    "exponent 2 assumed": (assume_two_decimals, three_exponents, "X1"),
    "any code is a currency": (assume_every_currency, unknown_currency, "quarantine"),
}


@pytest.mark.parametrize("name", CONTROLS)
def test_control(name: str, stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the rule nothing breaks; without it, the invariant of its name does."""
    mutation, scene, invariant = CONTROLS[name]
    stage.run(scene(stage.world))

    mutation(monkeypatch, stage)

    with pytest.raises(BrokenError, match=f"^{invariant}:"):
        stage.run(scene(stage.world))


def test_the_bad_rows_are_bad(stage: Stage) -> None:
    """Each kind of bad row that torture makes is refused: none of them passes for a good one."""
    bad: list[dict[str, Any]] = BAD

    async def all_of_them(world: World) -> None:
        books = await opened(world, delta_feed=True)
        for kind in range(len(bad)):
            books.spoil("acct_a", kind)
        await finish(world)
        found = await world.mirror.ask("SELECT count(*) FROM sync.quarantine WHERE resolved_at IS NULL")
        assert found == [(len(bad),)]

    stage.run(all_of_them(stage.world))
