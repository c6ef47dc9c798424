"""What a bank can do to us over HTTP: nothing of it reaches the mirror, and all of it is on record."""

from collections.abc import AsyncIterator

import pytest

from bankmirror.progress import Errand, mends
from banks.ports import BankRefusedCredentials
from banks.registry import open_reader
from ingest.desk import open_desk
from ingest.once import RunProgress, backfill, once
from ingest.poll import Desk
from ingest.settings import IngestSettings
from tests.integration.ingest.conftest import Mirror
from tests.integration.ingest.http_bank import JSON, Answer, HttpBank, problem, serve_bank
from tests.integration.ingest.model_bank import ModelBank

CHANGES = "/transactions/changes"
REPEATED = b'{"added":[],"modified":[],"removed":[],"next_cursor":"3","has_more":true}'


@pytest.fixture
async def http_bank(bank: ModelBank) -> AsyncIterator[HttpBank]:
    """Twelve transactions, three on a page."""
    for number in range(12):
        bank.post("acct_a", -number - 1)
    async with serve_bank(bank) as serving:
        yield serving


@pytest.fixture
def wired(settings: IngestSettings, http_bank: HttpBank) -> IngestSettings:
    """Settings that point to it."""
    return settings.model_copy(update={"bank_api_base_url": http_bank.url, "bank_deadline_seconds": 2.0})


@pytest.fixture
async def desk(wired: IngestSettings, mirror: Mirror) -> AsyncIterator[Desk]:
    """A desk with the production reader."""
    async with open_reader(wired) as reader:
        yield await mirror.open(reader)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (problem(500, "internal"), "bank-unreachable"),
        (problem(401, "unauthenticated"), "bank-refused-credentials"),
        ((200, {"content-type": "text/html"}, b"<html>Down for maintenance</html>"), "bank-answer-invalid"),
        ((200, JSON, b'{"added": [], "modified": ['), "bank-answer-invalid"),
        ((200, JSON, REPEATED), "bank-answer-invalid"),
        ((302, {"location": "http://127.0.0.1:1/"}, b""), "bank-answer-invalid"),
    ],
    ids=["B2 500", "B4 401", "B5 html", "B5 truncated", "B9 repeated cursor", "B12 redirect"],
)  # fmt: skip
async def test_b2_b4_b5_b9_b12_a_bad_second_page_changes_nothing(
    answer: Answer, error: str, desk: Desk, http_bank: HttpBank, mirror: Mirror, bank: ModelBank
) -> None:
    """Whatever page two is: rows and cursor stay as they were, the reason is named, the next poll heals."""

    async def fault(path: str, number: int) -> Answer | None:
        return answer if path == CHANGES and number >= 2 else None

    http_bank.fault = fault
    polled = await mirror.poll(desk)

    assert polled.outcome == "failed"
    assert str(polled.error).startswith(error), polled.error
    assert await mirror.rows() == set()
    assert await mirror.target("(cursor, checkpoint)") == (None, None)

    async def healthy(path: str, number: int) -> None:
        return None

    http_bank.fault = healthy
    await mirror.poll(desk)
    assert await mirror.rows() == bank.good_rows()


async def test_t17_a_409_restarts_from_the_first_page(
    desk: Desk, http_bank: HttpBank, mirror: Mirror, bank: ModelBank
) -> None:
    """mutation-during-pagination on page three, once."""

    async def fault(path: str, number: int) -> Answer | None:
        return problem(409, "mutation-during-pagination") if path == CHANGES and number == 3 else None

    http_bank.fault = fault

    assert (await mirror.poll(desk)).outcome == "complete"
    assert http_bank.requests[CHANGES] == 3 + 4
    assert await mirror.rows() == bank.good_rows()


async def test_t19_a_410_resets_the_cursor(desk: Desk, http_bank: HttpBank, mirror: Mirror, bank: ModelBank) -> None:
    """cursor-expired starts over within the same run."""
    await mirror.poll(desk)
    bank.expired = {"12"}
    bank.page_rows = 5
    bank.post("acct_b", 7)

    assert (await mirror.poll(desk)).outcome == "complete"
    assert await mirror.rows() == bank.good_rows()


async def test_once_polls_every_feed_and_reports(
    wired: IngestSettings, http_bank: HttpBank, bank: ModelBank, mirror: Mirror
) -> None:
    """`once` reads accounts, balances and transactions, tells its progress, and sums up."""
    heard: list[RunProgress] = []

    summary = await once(wired, heard.append)

    assert [(feed.feed, feed.outcome, feed.rows_seen) for feed in summary.feeds] == [
        ("accounts", "complete", 2), ("balances", "complete", 2), ("transactions", "complete", 12),
    ]  # fmt: skip
    assert summary.ok
    assert not summary.was_complete
    assert summary.rows_seen == 16
    assert (heard[-1].rows_seen, heard[-1].targets_total) == (16, 3)
    assert await mirror.rows() == bank.good_rows()
    assert await mirror.ask("SELECT count(*) FROM read.refreshes") == [(1,)]


async def test_once_says_what_failed(wired: IngestSettings, http_bank: HttpBank) -> None:
    """One feed that fails is named, the others are read, and the whole is not ok."""

    async def fault(path: str, number: int) -> Answer | None:
        return problem(403, "forbidden") if path == CHANGES else None

    http_bank.fault = fault
    summary = await once(wired, lambda progress: None)

    assert not summary.ok
    outcomes = {feed.feed: feed.outcome for feed in summary.feeds}
    assert outcomes == {"accounts": "complete", "balances": "complete", "transactions": "failed"}
    assert [type(feed.cause) for feed in summary.feeds if feed.error] == [BankRefusedCredentials]
    assert mends(summary.feeds) == ["correct BANK_API_KEY"]


async def test_backfill_goes_on_through_failures(
    wired: IngestSettings, http_bank: HttpBank, bank: ModelBank, mirror: Mirror
) -> None:
    """A backfill in chunks survives a page that fails, and resumes at its checkpoint."""

    async def fault(path: str, number: int) -> Answer | None:
        # The client itself asks three times.
        return problem(500, "internal") if path == CHANGES and 3 <= number <= 8 else None

    http_bank.fault = fault
    summary = await backfill(wired.model_copy(update={"backfill_chunk_rows": 3}), lambda progress: None)

    assert summary.ok
    assert await mirror.rows() == bank.good_rows()
    assert ("partial",) not in await mirror.ask("SELECT verdict::text FROM read.feeds")
    await mirror.check()


@pytest.mark.parametrize("errand", [once, backfill])
async def test_an_errand_beside_a_living_mirror(
    errand: Errand, wired: IngestSettings, http_bank: HttpBank, mirror: Mirror
) -> None:
    """It says that everything was there, and does not make the one that stays poll as slowly as it would itself."""
    async with open_desk(wired.model_copy(update={"poll_seconds": 3.0}), sets_pace=True):
        pass
    assert not (await errand(wired, lambda progress: None)).was_complete

    summary = await errand(wired, lambda progress: None)

    assert summary.was_complete
    assert await mirror.ask("SELECT DISTINCT interval_seconds FROM sync.targets") == [(3.0,)]
    assert (
        await mirror.ask("SELECT fresh_until < clock_timestamp() + interval '10 s' FROM sync.targets") == [(True,)] * 3
    )
    async with open_desk(wired, sets_pace=True):
        assert await mirror.ask("SELECT DISTINCT interval_seconds FROM sync.targets") == [(3600.0,)], "who stays does"


async def test_an_errand_on_a_new_database_makes_the_targets(wired: IngestSettings, mirror: Mirror) -> None:
    """Nobody has set a pace yet, so it is its own."""
    await once(wired, lambda progress: None)

    assert await mirror.ask("SELECT DISTINCT interval_seconds FROM sync.targets") == [(3600.0,)]
