"""Changes as server-sent events: told when they are closed, gone on from anywhere, and ended with a reason."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from urllib.parse import urlencode

import pytest

from kernel.caller import ANONYMOUS, Caller
from kernel.errors import TooManyStreams
from readapi.news import News
from readapi.stream import STREAMS_MAX, STREAMS_OF_A_TOKEN_MAX, TOKEN_SECONDS, Streams
from tests.integration.access.giving import give, revoke
from tests.integration.changes.wire import Event, events, on_the_wire
from tests.integration.readapi.mirror import Mirror
from tests.waiting import PATIENCE, until

TELL = """SELECT pg_notify('bankmirror_changed', '{"accounts": ["acct_a"]}')"""
STREAM = "/banking/changes/stream"


async def following(heard: AsyncIterator[Event]) -> Event:
    """The next event, which comes soon."""
    async with asyncio.timeout(PATIENCE):
        return await anext(heard)


def added(event: Event) -> list[str]:
    """The transactions that an event adds."""
    assert event.name == "changes", event
    return [row["transaction_id"] for row in event.data["data"]["added"]]


def store(mirror: Mirror, transaction_id: str) -> None:
    """What ingest does: store, tell, and within a second move the mark."""
    mirror.transaction("acct_a", transaction_id=transaction_id)
    mirror.run(TELL)
    mirror.run("SELECT sync.move_clock()")


async def test_changes_come_and_are_gone_on_from(filled: Mirror) -> None:
    """Those of before, the verdict, those that come; and after a break what was missed, whoever says where it was."""
    store(filled, "tx_1")
    async with on_the_wire(filled.url) as wire:
        async with wire.client.stream("GET", STREAM) as response:
            assert response.headers["content-type"].startswith("text/event-stream")
            heard = events(response)
            assert added(await following(heard)) == ["tx_1"]
            verdict = await following(heard)
            # The bank has stated no balance yet.
            assert (verdict.name, verdict.data["verdict"]) == ("freshness", "unknown")
            store(filled, "tx_2")
            second = await following(heard)
            assert added(second) == ["tx_2"]
            assert second.id == second.data["next_cursor"]
        store(filled, "tx_3")
        assert second.id is not None
        by_header = (STREAM, {"last-event-id": second.id})
        by_query = (f"/banking/changes?cursor={second.id}", {"accept": "text/event-stream"})
        for path, headers in (by_header, by_query):
            async with wire.client.stream("GET", path, headers=headers) as response:
                assert added(await following(events(response))) == ["tx_3"]
        page = (await wire.client.get("/banking/changes", params={"cursor": second.id})).json()
        assert [row["transaction_id"] for row in page["data"]["added"]] == ["tx_3"]


async def test_each_event_leaves_a_receipt(filled: Mirror) -> None:
    """When it is told, and not when the stream is over: by its id, with the hash of its data."""
    store(filled, "tx_1")
    async with on_the_wire(filled.url) as wire, wire.client.stream("GET", STREAM) as response:
        heard = events(response)
        told = [await following(heard) for _ in range(2)]

        async def are_written() -> bool:
            return len(receipts()) == len(told)

        def receipts() -> list[tuple[str, bytes]]:
            return filled.run("SELECT target, result_sha256 FROM audit.reads ORDER BY first_at")

        await until(are_written)
        assert receipts() == [
            (f"{STREAM}?{urlencode({'id': event.id})}", hashlib.sha256(event.text.encode()).digest()) for event in told
        ]


async def test_a_verdict_that_turns_is_told(filled: Mirror) -> None:
    """A feed that is not confirmed any more: the stream says so by itself."""
    filled.balance("acct_a", 500)
    filled.run("SELECT sync.move_clock()")
    filled.run("UPDATE sync.targets SET fresh_until = now() + interval '1 second' WHERE feed = 'transactions'")
    async with on_the_wire(filled.url) as wire, wire.client.stream("GET", STREAM) as response:
        heard = events(response)
        assert (await following(heard)).data["data"]["balances"][0]["current"] == "5.00"
        assert (await following(heard)).data["verdict"] == "fresh"
        turned = await following(heard)
    assert (turned.name, turned.data["verdict"]) == ("freshness", "stale")
    assert "transactions" in turned.data["reason"]


async def test_the_end_of_the_process_is_told(filled: Mirror) -> None:
    """A reader is sent to another process, with its place, before the time to drain is over."""
    async with on_the_wire(filled.url) as wire, wire.client.stream("GET", STREAM) as response:
        heard = events(response)
        await following(heard)
        wire.server.should_exit = True
        last = await following(heard)
        assert [event async for event in heard] == []
    assert (last.name, last.data["type"], last.data["retryable"]) == ("end", "/problems/stream-ended", True)


async def test_a_revoked_token_reads_no_further(filled: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its stream ends at the next look, though nothing changes, and says why."""
    assert TOKEN_SECONDS < 5
    monkeypatch.setattr("readapi.stream.TOKEN_SECONDS", 0.1)
    given = await give(filled.url, "read", accounts=["acct_a"])
    async with (
        on_the_wire(filled.url) as wire,
        wire.client.stream("GET", STREAM, headers=given.headers) as response,
    ):
        heard = events(response)
        await following(heard)
        await revoke(filled.url, given)
        last = await following(heard)
        assert (last.name, last.data["type"]) == ("end", "/problems/unauthenticated")
        assert [event async for event in heard] == []


async def test_a_token_that_has_used_up_its_bytes_reads_no_further(filled: Mirror) -> None:
    """What a stream sends counts as what an answer does."""
    given = await give(filled.url, "read", bytes_per_day=10)
    async with (
        on_the_wire(filled.url) as wire,
        wire.client.stream("GET", STREAM, headers=given.headers) as response,
    ):
        only = await following(events(response))
    assert (only.name, only.data["type"]) == ("end", "/problems/rate-limited")


async def test_a_stream_that_is_not_read_takes_no_connection(filled: Mirror) -> None:
    """As many streams as one may have wait, while the only database connection answers others."""
    async with on_the_wire(filled.url, readapi_connections_max=1) as wire:
        waiting = []
        for _ in range(STREAMS_OF_A_TOKEN_MAX):
            response = await wire.client.send(wire.client.build_request("GET", STREAM), stream=True)
            await following(events(response))
            waiting.append(response)
        assert (await wire.client.get("/banking/accounts")).status_code == 200
        for response in waiting:
            await response.aclose()


async def test_the_head_of_a_stream_ends(filled: Mirror) -> None:
    """HEAD has the headers of it, and no body to wait for."""
    async with on_the_wire(filled.url) as wire:
        response = await wire.client.head(STREAM)
    assert (response.status_code, response.headers["content-type"].partition(";")[0]) == (200, "text/event-stream")


@pytest.mark.parametrize(("token_id", "most"), [("Ab3dE9fG", STREAMS_OF_A_TOKEN_MAX), (None, STREAMS_MAX)])
async def test_there_are_so_many(token_id: str | None, most: int) -> None:
    """One more is refused, for the token or for the process; one that ended makes room."""
    streams = Streams(News("postgresql://"))
    caller = Caller(token_id, "test", ANONYMOUS.scopes)
    open_ones = [streams.one(caller, None) for _ in range(most)]
    for one in open_ones:
        one.__enter__()
    with pytest.raises(TooManyStreams), streams.one(caller, None):
        pass
    open_ones[0].__exit__(None, None, None)
    with streams.one(caller, None):
        pass
