"""What pages mean, without a bank or a database."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from banks.ports import (
    BankGone,
    BankRefusedCredentials,
    BankThrottled,
    BankUnreachable,
    Capabilities,
    ChangePage,
    FetchedBalance,
    FetchedTransaction,
    MutatedDuringPagination,
    Page,
    Refused,
    Removed,
    Window,
)
from ingest import decide

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
DAY = date(2026, 3, 1)


def row(transaction_id: str, amount: int = -1, account_id: str = "acct_a") -> FetchedTransaction:
    """A booked transaction whose content is its amount."""
    return FetchedTransaction(
        account_id,
        transaction_id,
        amount,
        "USD",
        "posted",
        "card",
        "",
        None,
        None,
        None,
        None,
        NOON,
        DAY,
        bytes([amount % 256]),
    )


def page(
    *upserts: FetchedTransaction,
    removed: Sequence[str] = (),
    as_of: datetime | None = None,
    more: bool = True,
) -> ChangePage:
    """A page of a delta feed."""
    gone = [Removed("acct_a", transaction_id) for transaction_id in removed]
    return ChangePage(upserts, gone, (), "next", more, as_of)


def listed(*rows: FetchedTransaction) -> Page[FetchedTransaction]:
    """A page of a listing."""
    return Page(rows, (), "next", None)


# ── pages of a delta feed ──


def test_the_later_page_wins() -> None:
    """T28: two versions of one row, also of the same second: the one that came last."""
    merged = decide.merge_changes([page(row("a", -1)), page(row("b")), page(row("a", -2))])

    assert {(kept.transaction_id, kept.amount_minor) for kept in merged.upserts} == {("a", -2), ("b", -1)}


def test_t4_inside_a_page_a_removal_wins() -> None:
    """Whatever the page lists first."""
    merged = decide.merge_changes([page(row("a"), removed=["a"])])

    assert (list(merged.upserts), list(merged.removed)) == ([], [Removed("acct_a", "a")])


def test_a_later_page_brings_a_removed_row_back() -> None:
    """Removed on page one and added on page two: it is there."""
    merged = decide.merge_changes([page(removed=["a"]), page(row("a"))])

    assert (list(merged.upserts), list(merged.removed)) == ([row("a")], [])


def test_x9_a_row_twice_on_a_page_is_one_row() -> None:
    """The database would refuse to touch a row twice."""
    merged = decide.merge_changes([page(row("a", -1), row("a", -2))])

    assert list(merged.upserts) == [row("a", -2)]
    assert merged.rows_seen == 2


def test_t11_the_account_is_part_of_the_key() -> None:
    """One id in two accounts is two rows."""
    merged = decide.merge_changes([page(row("a"), row("a", account_id="acct_b"))])

    assert len(merged.upserts) == 2


EVENTS = st.lists(
    st.lists(st.tuples(st.sampled_from("abcd"), st.integers(-9, 9), st.booleans()), max_size=6), max_size=6
)


@given(EVENTS)
def test_merging_is_the_same_as_applying_page_by_page(pages: list[list[tuple[str, int, bool]]]) -> None:
    """For any feed: the merged changes say of each row what its pages, one after the other, would leave."""
    made = [
        page(*(row(key, amount) for key, amount, _ in events), removed=[key for key, _, gone in events if gone])
        for events in pages
    ]
    state: dict[str, FetchedTransaction | None] = {}
    for one in made:
        state.update({kept.transaction_id: kept for kept in one.upserts})
        state.update({gone.transaction_id: None for gone in one.removed})

    merged = decide.merge_changes(made)

    assert {kept.transaction_id: kept for kept in merged.upserts} == {key: kept for key, kept in state.items() if kept}
    assert {gone.transaction_id for gone in merged.removed} == {key for key, kept in state.items() if kept is None}
    assert len({kept[:2] for kept in merged.upserts}) == len(merged.upserts)


def test_the_newest_bank_time_is_kept() -> None:
    """A page without the bank's time does not forget the one before it."""
    assert decide.merge_changes([page(as_of=NOON), page()]).as_of == NOON


# ── pages of a listing ──


def test_t23_exact_doubles_in_a_listing_are_one() -> None:
    """A row that slid onto the next page is still one row."""
    merged = decide.merge_listing([listed(row("a"), row("b")), listed(row("b"), row("c"))])

    assert [kept.transaction_id for kept in merged.upserts] == ["a", "b", "c"]


def test_b8_two_contents_of_one_id_are_a_mutation() -> None:
    """Then the pages are not of one moment."""
    with pytest.raises(MutatedDuringPagination):
        decide.merge_listing([listed(row("a", -1)), listed(row("a", -2))])


def test_refused_rows_travel_along() -> None:
    """None of them is dropped on the way."""
    bad = Refused("acct_a", "no currency", b"{}")
    merged = decide.merge_listing([Page([row("a")], [bad], None, NOON)])

    assert (list(merged.refused), merged.rows_seen, merged.as_of) == ([bad], 2, NOON)


def test_the_newest_of_two_balances_is_kept() -> None:
    """Whatever the order of the pages."""
    old = FetchedBalance("acct_a", "USD", 1, None, NOON)
    new = old._replace(current_minor=2, as_of=NOON + timedelta(seconds=1))

    for order in ((old, new), (new, old)):
        assert decide.list_balances([Page([balance], (), None, None) for balance in order]).rows == [new]


# ── absence ──


@pytest.mark.parametrize(
    ("absent", "held", "doubted"),
    [
        (0, 0, False),
        (5, 5, False),
        (6, 6, True),
        (6, 29, True),
        (6, 30, False),
        (200, 1_000, False),
        (201, 1_000, True),
    ],
)
def test_b10_mass_disappearance(absent: int, held: int, doubted: bool) -> None:
    """Up to five rows or a fifth of the window may go at once."""
    assert decide.is_mass_disappearance(absent, held) is doubted


@pytest.mark.parametrize(
    ("absent", "lately", "held", "doubted"),
    [
        (0, 0, 0, False),
        (1, 1, 1, True),
        (1, 1, 2, False),
        (2, 0, 2, True),
        (1, 1, 8, False),
        (2, 2, 8, True),
        (4, 4, 8, True),
        (4, 0, 8, False),
        (20, 20, 100, False),
        (21, 21, 100, True),
    ],
)
def test_a_listing_that_misses_accounts_is_doubted(absent: int, lately: int, held: int, doubted: bool) -> None:
    """A bank does not close on everybody at once; one that went long ago casts no doubt on the others."""
    assert decide.is_doubtful_listing(absent, lately, held) is doubted


# ── windows ──

OVERLAP = timedelta(days=14)


def test_the_first_listing_is_of_everything() -> None:
    """And a little of the future, where banks already book."""
    window = decide.listing_window(DAY, None, None, OVERLAP)

    assert window == Window(date(1970, 1, 1), DAY + timedelta(days=7))


def test_t22_the_window_begins_before_what_is_covered() -> None:
    """However long we were away."""
    assert decide.listing_window(DAY, DAY - timedelta(days=90), None, OVERLAP).first == DAY - timedelta(days=104)


def test_a_coverage_in_the_future_does_not_shorten_the_overlap() -> None:
    """T34: a clock that was wrong once must not cost us rows."""
    assert decide.listing_window(DAY, DAY + timedelta(days=30), None, OVERLAP).first == DAY - OVERLAP


@pytest.mark.parametrize(("age", "reach"), [(3, 14), (20, 21), (400, 45)])
def test_t5_the_window_reaches_back_to_what_is_open(age: int, reach: int) -> None:
    """But not for ever."""
    window = decide.listing_window(DAY, DAY, DAY - timedelta(days=age), OVERLAP)

    assert window.first == DAY - timedelta(days=reach)


@given(
    st.dates(date(2000, 1, 1), date(2100, 1, 1)),
    st.none() | st.dates(date(2000, 1, 1), date(2100, 1, 1)),
    st.none() | st.dates(date(2000, 1, 1), date(2100, 1, 1)),
)
def test_no_day_is_ever_left_out(today: date, covered_to: date | None, oldest_open: date | None) -> None:
    """The window always begins at or before the last covered day, and reaches to today."""
    window = decide.listing_window(today, covered_to, oldest_open, OVERLAP)

    assert window.first <= window.last
    assert window.last >= today
    assert covered_to is None or window.first <= covered_to


def test_a_checkpoint_survives_as_text() -> None:
    """A page cursor comes back with the window that it belongs to."""
    checkpoint = decide.Checkpoint(Window(date(1970, 1, 1), DAY), 'opaque "cursor" ✓')

    assert decide.Checkpoint.decode(checkpoint.encode()) == checkpoint


# ── when again ──


@pytest.mark.parametrize("jitter", [0.0, 0.5, 1.0])
def test_b1_pauses_grow_and_end_at_a_minute(jitter: float) -> None:
    """From a second up to a minute, and never less than half of what they could be."""
    pauses = [
        decide.retry_delay(BankUnreachable("x"), failures, jitter).total_seconds()
        for failures in (1, 2, 4, 7, 50, 10_000)
    ]

    assert pauses == sorted(pauses)
    assert pauses[0] == 1.0
    assert 30 <= pauses[-1] <= 60


@given(st.timedeltas(), st.integers(0, 1_000), st.floats(0, 1))
def test_t51_retry_after_is_clamped(asked: timedelta, failures: int, jitter: float) -> None:
    """Minus 1,875,538 seconds and forty days included."""
    pause = decide.retry_delay(BankThrottled("x", asked), failures, jitter)

    assert timedelta(seconds=1) <= pause <= timedelta(hours=24)
    assert pause == asked or not timedelta(seconds=1) <= asked <= timedelta(hours=24)


def test_throttled_without_a_time_backs_off() -> None:
    """As after any other failure."""
    assert decide.retry_delay(BankThrottled("x", None), 3, 1.0) == timedelta(seconds=4)


def test_b4_a_refused_key_is_left_alone() -> None:
    """Once in five minutes."""
    assert decide.retry_delay(BankRefusedCredentials("x"), 1, 0.0) == timedelta(minutes=5)


def test_only_an_account_can_be_gone() -> None:
    """A connection-wide feed that answers 410 is a failure, not the end of the connection."""
    assert decide.parks(BankGone("x"), "acct_a")
    assert not decide.parks(BankGone("x"), "")
    assert not decide.parks(BankUnreachable("x"), "acct_a")


# ── ways to read, and whose data ──


@pytest.mark.parametrize(
    ("delta", "bulk", "mode", "per_account"),
    [
        (True, True, "auto", set()),
        (True, True, "listing", {"transactions"}),
        (False, True, "auto", {"transactions"}),
        (True, False, "auto", {"balances"}),
        (False, False, "auto", {"balances", "transactions"}),
    ],
)  # fmt: skip
def test_feeds_per_account(delta: bool, bulk: bool, mode: str, per_account: set[str]) -> None:
    """By what the bank can do, and what the settings allow."""
    can = Capabilities(delta, bulk, True, True, timedelta(hours=24))

    assert decide.feeds_per_account(can, mode) == per_account  # type: ignore[arg-type]  # Drawn from the table.


def test_account_ids_of_further_connections_are_prefixed() -> None:
    """The default connection keeps the bank's own ids; both directions agree."""
    for connection in ("default", "second"):
        mirrored = decide.mirror_account_id(connection, "acct:1")
        assert decide.bank_account_id(connection, mirrored) == "acct:1"
    assert decide.mirror_account_id("default", "acct:1") == "acct:1"
    assert decide.mirror_account_id("second", "acct:1") == "second:acct:1"


@given(setting=st.integers(1, 90), lag=st.none() | st.integers(1, 4_000))
def test_t24_t25_lookback_follows_the_posting_lag(setting: int, lag: int | None) -> None:
    """Never less than the settings say, past the lag where that is below 90 days, and durations are typed."""
    days = decide.lookback(timedelta(days=setting), None if lag is None else timedelta(days=lag)) / timedelta(days=1)

    assert setting <= days <= 90
    assert lag is None or days > min(lag, 89)
    assert lag is not None or days == setting


@pytest.mark.parametrize(
    ("hours", "by_changes", "expected"),
    [(None, True, 168), (None, False, 24), (0.5, True, 0.5), (0.5, False, 0.5), (0, True, None), (0, False, None)],
)
def test_how_often_everything_is_read_again(hours: float | None, by_changes: bool, expected: float | None) -> None:
    """Daily where accounts are listed, weekly for a delta feed, as set otherwise, and 0 is never."""
    interval = decide.sweep_interval(hours, by_changes=by_changes)

    assert (None if interval is None else interval / timedelta(hours=1)) == expected


def test_a_checkpoint_keeps_when_its_listing_began() -> None:
    """And one from before that was kept is still read."""
    began = datetime(2026, 3, 1, 12, 30, 0, 123, tzinfo=UTC)
    window = Window(date(2026, 1, 1), date(2026, 2, 1))
    checkpoint = decide.Checkpoint(window, "page 7", began)

    assert decide.Checkpoint.decode(checkpoint.encode()) == checkpoint
    older = '{"first": "2026-01-01", "last": "2026-02-01", "cursor": "page 7"}'
    assert decide.Checkpoint.decode(older) == decide.Checkpoint(window, "page 7", None)
