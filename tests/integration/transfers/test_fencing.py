"""Workers that slept or that are late, at the level of the statements that stop them (P6), and the controls.

Each guard is one line of a query. Without that line the same check fails, which is shown beside it.
"""

from collections.abc import Iterator
from contextlib import nullcontext
from datetime import timedelta
from types import MappingProxyType
from typing import Any, LiteralString, cast
from uuid import UUID

import pytest

from banks.ports import Outcome, Verdict
from kernel.database import Pool
from tests.integration.transfers.conftest import BANK, Books
from tests.integration.transfers.model_bank import ModelBank
from transfers import store
from transfers.states import Move, State
from transfers.store import Claim, Finding

LEASE = timedelta(seconds=12)


@pytest.fixture
def altered_query() -> Iterator[Any]:
    """Take a line out of a query, for one test."""
    before = store.QUERIES

    def alter(name: str, line: LiteralString) -> None:
        assert line in before[name]
        changed = before[name].replace(line, "")
        store.QUERIES = MappingProxyType({**before, name: changed})

    yield alter
    store.QUERIES = before


async def stale_result_is_discarded(pool: Pool, books: Books) -> bool:
    """Two resolvers hold one transfer after another; the first one's result comes last. Is it without effect?"""
    (claim,) = await store.claim_ready(pool, "submitter", BANK, 1, LEASE)
    await _record(pool, claim, Verdict.UNKNOWN, State.UNKNOWN)
    await books.pass_time(10)
    (first,) = await store.claim_unresolved(pool, "first", BANK, 1, LEASE)
    await books.pass_time(20)
    (second,) = await store.claim_unresolved(pool, "second", BANK, 1, LEASE)
    before = await books.transfer()

    held = await _record(pool, first, Verdict.CONFLICT, State.MANUAL_REVIEW)

    return not held and await books.transfer() == before and second.epoch > first.epoch


async def test_p6_a_stale_result_is_discarded(pool: Pool, books: Books, ready: UUID) -> None:
    """P6: the epoch decides, not the state: both are `unknown`."""
    assert await stale_result_is_discarded(pool, books)


async def test_p6_control_without_the_epoch_a_stale_result_counts(
    pool: Pool, books: Books, ready: UUID, altered_query: Any
) -> None:
    """Negative control: no epoch check."""
    altered_query("outcomes_record", "AND transfer.epoch = given.epoch")

    assert not await stale_result_is_discarded(pool, books)


async def test_p6_a_stale_and_a_fresh_result_in_one_batch(pool: Pool, books: Books, ready: UUID) -> None:
    """Each is judged by its own epoch, though they are recorded by one statement."""
    (stale,) = await store.claim_ready(pool, "submitter", BANK, 1, timedelta(0))
    (fresh,) = await store.claim_unresolved(pool, "resolver", BANK, 1, LEASE)
    findings = [
        Finding(stale, Outcome(Verdict.REJECTED), Move(State.REJECTED)),
        Finding(fresh, Outcome(Verdict.ACCEPTED, "txn_1"), Move(State.ACCEPTED)),
    ]

    assert await store.record_outcomes(pool, findings) == [False, True]
    assert (await books.transfer())["state"] == "accepted"


async def second_sending_is_refused(pool: Pool, books: Books, *, stale: bool, late: bool) -> bool:
    """Is a second POST refused to a worker whose claim is stale, or that comes after the bank's memory ended?"""
    (claim,) = await store.claim_ready(pool, "submitter", BANK, 1, LEASE)
    await _record(pool, claim, Verdict.UNKNOWN, State.UNKNOWN)
    await books.pass_time(10)
    (claim,) = await store.claim_unresolved(pool, "first", BANK, 1, LEASE)
    if stale:
        await books.pass_time(20)
        await store.claim_unresolved(pool, "second", BANK, 1, LEASE)
    if late:
        await books.pass_time(7200)
    window = timedelta(hours=1)
    return await store.begin_resend(pool, claim, Outcome(Verdict.ABSENT), "w", LEASE, window) is None


async def test_sending_again_is_decided_once_more_at_its_commit(pool: Pool, books: Books, ready: UUID) -> None:
    """The one who sends again holds the transfer, and the bank still remembers, by the database's clock."""
    assert not await second_sending_is_refused(pool, books, stale=False, late=False)


@pytest.mark.parametrize(
    ("stale", "late", "guard"),
    [
        (True, False, "AND epoch = %(epoch)s::bigint"),
        (False, True, "AND clock_timestamp() < first_sent_at + %(window)s::interval"),
    ],
)
@pytest.mark.parametrize("guarded", [True, False])
async def test_sending_again_is_refused_to_the_stale_and_the_late(
    pool: Pool,
    books: Books,
    ready: UUID,
    altered_query: Any,
    stale: bool,
    late: bool,
    guard: LiteralString,
    guarded: bool,
) -> None:
    """And the control: without its line in the query, each of them would send."""
    if not guarded:
        altered_query("resend_begin", guard)

    assert await second_sending_is_refused(pool, books, stale=stale, late=late) is guarded


async def test_control_a_post_before_its_commit_is_seen(bank: ModelBank, pool: Pool, ready: UUID) -> None:
    """Negative control: claim in a transaction that is still open, and send. The bank's own log shows it
    (I-5).
    """
    async with pool.connection() as connection, connection.transaction(force_rollback=True):
        one = cast(Pool, _PoolOf(connection))
        (claim,) = await store.claim_ready(one, "hasty", BANK, 1, LEASE)
        await bank.pay(claim.payment, claim.request_bytes)

    with pytest.raises(AssertionError, match="before the commit"):
        bank.check_posts()


class _PoolOf:
    """A pool that hands out one connection, whatever transaction it is in."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def connection(self) -> Any:
        return nullcontext(self._connection)


async def _record(pool: Pool, claim: Claim, verdict: Verdict, to: State) -> bool:
    (held,) = await store.record_outcomes(pool, [Finding(claim, Outcome(verdict), Move(to))])
    return held
