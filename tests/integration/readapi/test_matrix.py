"""Who may see what, on the wire (I-14): each token at each endpoint, of each account, in each form, kept or not."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, NamedTuple

import pytest

from kernel.access import Door
from kernel.caller import Caller
from readapi.app import create_app
from readapi.edge import Edge
from readapi.reader import Reader
from tests.integration.access.giving import give
from tests.integration.readapi.matrix import (
    ABSENT,
    MEMO,
    MINE,
    THEIRS,
    Answer,
    Question,
    ask,
    calls,
    everything,
    questions,
    remove,
    rpc,
    tell_tales,
    world,
)
from tests.integration.readapi.mirror import Mirror, running, settings
from tests.waiting import until

MCP = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}
Headers = dict[str, str]
# Some of the questions that are of no one account.
WITH_ALL = {"/banking/accounts", "/banking/balances", "/banking/cash-flow", "/banking/sync", "/banking/changes"}


class Given(NamedTuple):
    """An application that needs tokens, what it can be asked, and the headers of callers."""

    app: Edge
    asked: list[Question]
    moment: datetime
    wide: Headers
    narrow: Headers
    memos: Headers


@asynccontextmanager
async def given(mirror: Mirror) -> AsyncIterator[Given]:
    """The world with both accounts. Answers are kept from the first one on."""
    moment = world(mirror)
    wide = await give(mirror.url, "read", "read:memo")
    narrow = await give(mirror.url, "read", accounts=[MINE])
    memos = await give(mirror.url, "read", "read:memo", accounts=[MINE])
    app = create_app(settings(mirror.url, mode="sandbox", api_token="s" * 40))
    async with running(app):

        async def is_kept() -> bool:
            await ask(app, "/banking/sync", wide.headers)
            return app.hot.hits > 0

        await until(is_kept)
        openapi = json.loads((await ask(app, "/openapi.json", {})).body)
        asked = list(questions(openapi, moment))
        yield Given(app, asked, moment, wide.headers, narrow.headers, memos.headers)


async def leaks(app: Edge, asked: list[Question], headers: Headers, *, memos: bool) -> list[tuple[str, list[str]]]:
    """Questions whose answers tell of the account out of scope, or a memo to who must not read it, and what of it."""
    found = []
    async for question, answer in everything(app, asked, headers):
        tales = tell_tales(answer, THEIRS) if THEIRS not in question.target else _unasked(answer)
        if not memos and MEMO in answer.text:
            tales.append(MEMO)
        if tales:
            found.append((question.target, tales))
    return found


def _unasked(answer: Answer) -> list[str]:
    """Where the other account's name was looked for, it may be repeated as any other text; its money may not."""
    return [tale for tale in tell_tales(answer, THEIRS) if tale not in THEIRS]


async def test_nothing_of_an_account_out_of_scope(mirror: Mirror) -> None:
    """Neither first nor after somebody who sees it asked the same; no row, no id, no count, no memo."""
    async with given(mirror) as (app, asked, _, wide, narrow, memos):
        # The check can fail: who sees all is told of it, at every endpoint that has anything of an account.
        seen = {question.target.split("?")[0] async for question, answer in everything(app, asked, wide)
                if tell_tales(answer, THEIRS) and MEMO}  # fmt: skip
        assert seen > WITH_ALL
        hits = app.hot.hits
        assert await leaks(app, asked, narrow, memos=False) == []
        assert await leaks(app, asked, memos, memos=True) == []
        # Kept answers, in the other order: who sees less was first.
        async for question, answer in everything(app, asked, wide, follow=False):
            assert THEIRS.encode() in answer.body or question.target not in WITH_ALL, question
        assert await leaks(app, asked, narrow, memos=False) == []
        assert app.hot.hits > hits + len(asked) / 2, "answers were kept, so that kept ones were looked at"


async def test_who_may_see_it_does(mirror: Mirror) -> None:
    """Every question that names the account in scope has an answer, and memos are there for who may read them."""
    async with given(mirror) as (app, asked, _, _, narrow, memos):
        without_memos = 0
        async for question, answer in everything(app, asked, narrow):
            # Who reads no memos cannot look for what is in them either; and the metrics are about everybody.
            is_about_memos = "text=" in question.target or "counterparty=" in question.target
            is_refused = is_about_memos or question.target == "/metrics"
            assert answer.status == (403 if is_refused else 200), (question, answer.body)
            without_memos += MEMO in answer.text
        assert without_memos == 0
        with_memos = [question async for question, answer in everything(app, asked, memos) if MEMO in answer.text]
        assert len(with_memos) > 10


async def test_s3_out_of_scope_is_as_if_it_were_not(mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same status, headers and body, and as many ways to the database, as for an account that nobody has."""
    ways = 0
    rows = Reader.rows

    async def counted(reader: Reader, *asked: Any, **named: Any) -> Any:
        nonlocal ways
        ways += 1
        return await rows(reader, *asked, **named)

    monkeypatch.setattr(Reader, "rows", counted)
    async with given(mirror) as (app, asked, _, _, narrow, _):
        own = [question for question in asked if MINE in question.target and THEIRS not in question.target]
        refused = 0
        for question in own:
            told = []
            for account_id in (THEIRS, ABSENT):
                ways = 0
                headers = {**narrow, "Accept": question.accept}
                answer = await ask(app, question.of(account_id).target, headers, until=b"event: freshness")
                told.append((answer.status, answer.masked.replace(account_id, "<account>"), ways))
            assert told[0] == told[1], question
            refused += told[0][0] == 404
        assert refused > 20


async def test_it_is_as_if_there_were_no_other(mirror: Mirror) -> None:
    """Counts, sums, pages and verdicts: who sees one account is told what a mirror would tell that has no other."""
    async with given(mirror) as (app, asked, _, _, narrow, _):
        own = [question for question in asked if THEIRS not in question.target and question.target != "/metrics"]
        before = {question: answer.masked async for question, answer in everything(app, own, narrow, follow=False)}
        remove(mirror, THEIRS)
        app.forget()
        after = {question: answer.masked async for question, answer in everything(app, own, narrow, follow=False)}

    assert len(before) > 50
    for question, told in before.items():
        assert told == after[question], question


async def test_cursors_of_others(mirror: Mirror) -> None:
    """A page of who sees all, gone on with by who does not, is refused or shows only what is in scope."""
    async with given(mirror) as (app, asked, _, wide, narrow, _):
        further = [question async for question, _ in everything(app, asked, wide) if "cursor=" in question.target]
        assert len(further) > 5
        async for question, answer in everything(app, further, narrow):
            assert answer.status in (200, 400), question
            # What was sent is in the answer's own links and cursors; whoever has it knows it already.
            assert not [tale for tale in tell_tales(answer, THEIRS) if tale not in THEIRS], question
            assert THEIRS.encode() not in answer.body, question


async def test_mcp_tools(mirror: Mirror) -> None:
    """The same through every tool, and each of its arguments."""
    async with given(mirror) as (app, _, moment, wide, narrow, memos):

        async def call(message: bytes, headers: Headers) -> Answer:
            return await ask(app, "/mcp", {**MCP, **headers}, method="POST", body=message)

        listed = json.loads((await call(rpc("tools/list"), narrow)).body)["result"]["tools"]
        asked = list(calls(listed, moment))
        assert len(asked) > len(listed) > 5
        told = 0
        for params in asked:
            message = rpc("tools/call", **params)
            told += bool(tell_tales(await call(message, wide), THEIRS))
            for headers, reads_memos in ((narrow, False), (memos, True)):
                answer = await call(message, headers)
                assert tell_tales(answer, THEIRS) == [], params
                assert reads_memos or MEMO not in answer.text, params
                assert answer.status == 200, (params, answer.body)
            out_of_scope, absent = [
                (await call(message.replace(MINE.encode(), account_id.encode()), narrow)).masked.replace(account_id, "")
                for account_id in (THEIRS, ABSENT)
            ]
            assert out_of_scope == absent, params
        assert told > 3, "who sees all is told of it"


# ── without the guards ───────────────────────────────────────────────────────────────────────────────────────────


async def test_control_views_without_their_filter(mirror: Mirror) -> None:
    """The matrix sees it on the wire when something filters no more, each at a question of its own. The first one shows
    what is stored behind the views, as it would be seen if that were granted.
    """
    true = "RETURNS boolean LANGUAGE sql STABLE AS 'SELECT true'"
    async with given(mirror) as (app, asked, _, _, narrow, _):
        for target, statement in (
            ("/banking/cash-flow", "VIEW read.daily_cash_flow AS SELECT * FROM model.daily_cash_flow"),
            ("/banking/sync", "VIEW read.feeds AS SELECT * FROM model.feeds"),
            ("/banking/balances", "VIEW read.balances AS SELECT * FROM model.balances"),
            (f"/banking/accounts/{MINE}/transactions", f"FUNCTION read.sees_memos() {true}"),
            ("/banking/accounts", "VIEW read.accounts AS SELECT * FROM model.accounts"),
        ):
            some = [question for question in asked if question.target == target]
            assert some, target
            assert await leaks(app, some, narrow, memos=False) == [], target
            mirror.run(f"CREATE OR REPLACE {statement}")
            app.forget()
            assert await leaks(app, some, narrow, memos=False) != [], statement


async def test_control_without_the_scope_in_the_key(mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    """One key for all callers, and who sees one account is given the answer that was kept for who sees both."""

    def same(_: Door, __: Caller) -> int:
        return 0

    monkeypatch.setattr(Door, "_scope_key", same)
    async with given(mirror) as (app, asked, _, wide, narrow, _):
        some = [question for question in asked if question.target == "/banking/accounts"]
        assert [answer async for _, answer in everything(app, some, wide)]
        assert await leaks(app, some, narrow, memos=False) != []
