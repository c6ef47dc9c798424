"""Every way by which third-party text leaves, each as the documents that came out of it."""

import asyncio
import csv
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
from starlette.types import ASGIApp, Message

from tests.waiting import PATIENCE

ACCOUNT = "/banking/accounts/acct_a"
# Path template of the API: what is asked, and with which Accept. `/mcp` stands for the tools.
QUESTIONS: dict[str, list[tuple[str, str]]] = {
    "/banking/accounts/{account_id}/activity": [(f"{ACCOUNT}/activity?limit=100", "application/json")],
    "/banking/accounts/{account_id}/transactions": [
        (f"{ACCOUNT}/transactions?limit=500", "application/json"),
        (f"{ACCOUNT}/transactions", "text/csv"),
        (f"{ACCOUNT}/transactions", "application/x-ndjson"),
    ],
    "/banking/transactions": [
        ("/banking/transactions?limit=500", "application/json"),
        ("/banking/transactions", "text/csv"),
        ("/banking/transactions", "application/x-ndjson"),
    ],
    "/banking/accounts/{account_id}/transactions/{transaction_id}": [
        (f"{ACCOUNT}/transactions/memo_000", "application/json"),
        (f"{ACCOUNT}/transactions/memo_001", "application/json"),
    ],
    "/banking/accounts/{account_id}/activity-summary": [(f"{ACCOUNT}/activity-summary", "application/json")],
    "/banking/activity-summary": [("/banking/activity-summary", "application/json")],
    "/banking/changes": [("/banking/changes?limit=500", "application/json")],
    "/banking/changes/stream": [("/banking/changes/stream?limit=500", "text/event-stream")],
}
TOOLS: dict[str, dict[str, Any]] = {
    "search_transactions": {"account_id": "acct_a", "limit": 50},
    "get_transaction": {"account_id": "acct_a", "transaction_id": "memo_000"},
    "get_account_overview": {"account_id": "acct_a"},
    "summarize_activity": {"account_id": "acct_a"},
    "list_changes": {"since": "2020-01-01T00:00:00Z"},
    "get_sync_health": {},
}
# The columns of a CSV that are an `untrusted` object in JSON.
TEXTS = ("description", "counterparty_name", "warnings")


@dataclass
class Output:
    """What came out of one question: parsed, as it was sent, and its headers."""

    name: str
    raw: str
    headers: str
    documents: list[Any] = field(default_factory=list)

    def untrusted(self) -> Iterator[tuple[str | None, dict[str, Any]]]:
        """Each `untrusted` object, with the transaction that it belongs to, if any."""
        for document in self.documents:
            yield from _untrusted(document)

    def outside(self) -> str:
        """All text outside of `untrusted` objects, the headers included."""
        return "\n".join([self.headers, *(text for document in self.documents for text in _outside(document))])


async def ask_all(app: ASGIApp) -> list[Output]:
    """Ask every question of an API that is running."""
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as client:
        outputs = []
        for questions in QUESTIONS.values():
            for path, accept in questions:
                if accept == "text/event-stream":
                    outputs.append(await _stream(app, path))
                else:
                    outputs.append(await _ask(client, path, accept))
        return [*outputs, *[await _call(client, tool, arguments) for tool, arguments in TOOLS.items()]]


async def _ask(client: httpx.AsyncClient, path: str, accept: str) -> Output:
    response = await client.get(path, headers={"Accept": accept})
    assert response.status_code == 200, response.text
    output = Output(f"{path} {accept}", response.text, str(response.headers.multi_items()))
    if accept == "text/csv":
        rows = csv.DictReader(io.StringIO(response.text, newline=""), strict=True)
        output.documents = [_nested(row) for row in rows]
    elif accept == "application/x-ndjson":
        output.documents = [json.loads(line) for line in response.text.split("\n") if line]
    else:
        output.documents = [response.json()]
    return output


async def _call(client: httpx.AsyncClient, tool: str, arguments: dict[str, Any]) -> Output:
    asked = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": arguments}}
    headers = {"Accept": "application/json, text/event-stream", "MCP-Protocol-Version": "2025-06-18"}
    response = await client.post("/mcp", json=asked, headers=headers)
    result = response.json()["result"]
    assert not result.get("isError"), response.text
    documents = [result["structuredContent"], *(json.loads(block["text"]) for block in result["content"])]
    return Output(f"mcp {tool}", response.text, str(response.headers.multi_items()), documents)


async def _stream(app: ASGIApp, path: str) -> Output:
    """The events up to the one that holds the last change there is."""
    hung_up = asyncio.Event()
    got, headers = bytearray(), ""

    async def receive() -> Message:
        await hung_up.wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        nonlocal headers
        if message["type"] == "http.response.start":
            headers = str(message["headers"])
        got.extend(message.get("body", b""))
        if b"event: changes" in got and got.endswith(b"\n\n"):
            hung_up.set()

    target, _, query = path.partition("?")
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET", "scheme": "http",
        "path": target, "raw_path": target.encode(), "query_string": query.encode(), "root_path": "",
        "headers": [(b"host", b"127.0.0.1:8000"), (b"accept", b"text/event-stream")],
        "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 8000), "state": {},
    }  # fmt: skip
    async with asyncio.timeout(PATIENCE):
        await app(scope, receive, send)
    text = got.decode()
    lines = [line for line in text.split("\n") if line]
    strange = [line for line in lines if line.partition(":")[0] not in ("id", "event", "data", "retry", "")]
    assert strange == [], "a memo has made a line of its own"
    documents = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]
    return Output(f"{path} events", text, headers, documents)


def _nested(row: dict[str, str]) -> dict[str, Any]:
    warnings = row["warnings"].split()
    untrusted = {"description": row["description"], "counterparty_name": row["counterparty_name"], "warnings": warnings}
    return {**{name: value for name, value in row.items() if name not in TEXTS}, "untrusted": untrusted}


def _untrusted(document: Any) -> Iterator[tuple[str | None, dict[str, Any]]]:
    if isinstance(document, list):
        for item in document:
            yield from _untrusted(item)
    elif isinstance(document, dict):
        if isinstance(document.get("untrusted"), dict):
            yield document.get("transaction_id", document.get("id")), document["untrusted"]
        for item in document.values():
            yield from _untrusted(item)


def _outside(document: Any) -> Iterator[str]:
    if isinstance(document, list):
        for item in document:
            yield from _outside(item)
    elif isinstance(document, dict):
        for name, item in document.items():
            if name != "untrusted":
                yield name
                yield from _outside(item)
    else:
        yield str(document)
