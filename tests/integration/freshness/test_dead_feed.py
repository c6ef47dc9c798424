"""A feed that dies is never quiet: within its interval every answer that it is part of says so and names it."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from tests.integration.freshness.kept import Kept, questions
from tests.integration.ingest.conftest import Mirror
from tests.integration.ingest.http_bank import Answer, HttpBank, problem, serve_bank
from tests.integration.ingest.model_bank import ModelBank
from tests.integration.ingest.test_process import ingest
from tests.waiting import until

# Answers that no transaction is part of: they are of the accounts and the balances, which the bank goes on showing.
OF_OTHER_FEEDS = (
    "/banking/accounts",
    "/banking/accounts/acct_b",
    "/banking/accounts/acct_b/balances",
    "/banking/balances",
)


@pytest.fixture
async def http_bank(bank: ModelBank) -> AsyncIterator[HttpBank]:
    """A bank with something in either account."""
    for account_id in ("acct_a", "acct_b"):
        bank.post(account_id, -100)
    async with serve_bank(bank) as serving:
        yield serving


def told(response: httpx.Response) -> tuple[str, str]:
    """The verdict of an answer, and its reason; `none` where there is no answer."""
    if response.status_code != 200:
        return "none", response.text
    if "bankmirror-verdict" in response.headers:
        return response.headers["bankmirror-verdict"], response.headers.get("bankmirror-reason", "")
    freshness = response.json()["freshness"]
    return freshness["verdict"], freshness["reason"] or ""


async def test_every_answer_names_the_dead_feed(
    http_bank: HttpBank, mirror: Mirror, kept: Kept, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One account's transactions cannot be read any more. No answer that was kept before hides it."""
    plain, dead = http_bank._answer, False

    def answer(path: str, query: dict[str, str]) -> Answer:
        is_sick = dead and path == "/transactions" and query["account_id"] == "acct_b"
        return problem(500, "sick") if is_sick else plain(path, query)

    monkeypatch.setattr(http_bank, "_answer", answer)
    document = await kept.document()
    asked = sorted(questions(document, "acct_b", "txn_000002"))
    others = sorted({path for path in questions(document, "acct_a", "txn_000001") if "acct_a" in path})
    async with ingest(http_bank, database_url, read_mode="listing"):

        async def all_fresh() -> bool:
            return {told(await kept.client.get(path))[0] for path in (*asked, *others)} == {"fresh"}

        await until(all_fresh)
        dead = True

        async def failing() -> Any:
            return await mirror.ask(
                "SELECT fresh_until FROM sync.targets"
                " WHERE (feed, account_id) = ('transactions', 'acct_b') AND failures > 0"
            )

        ((fresh_until,),) = await until(failing)
        for path in asked:
            # Kept from now on, those that still may be.
            await kept.client.get(path)

        async def is_over() -> bool:
            return bool((await mirror.ask("SELECT clock_timestamp() > %s", fresh_until))[0][0])

        await until(is_over, pause=0.01)
        answers = {path: told(await kept.client.get(path)) for path in asked}
        elsewhere = {path: told(await kept.client.get(path)) for path in others}

    quiet = {
        path
        for path, (verdict, reason) in answers.items()
        if verdict != "stale" or "transactions of acct_b" not in reason or "HTTP 500" not in reason
    }
    assert quiet == set(OF_OTHER_FEEDS)
    assert not [path for path, (_, reason) in elsewhere.items() if "acct_b" in reason]
