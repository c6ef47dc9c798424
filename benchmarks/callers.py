"""Who asks: a token that no limit stops, and an agent's call of a tool."""

import asyncio
import json

import httpx
from psycopg import AsyncConnection

from bankmirror import tokens
from benchmarks.load import Asked
from kernel.database import ACCESS, conninfo

# Beyond what any server could answer in a minute, and send in a day.
REQUESTS_PER_MINUTE = 2_000_000_000
BYTES_PER_DAY = 10**16
# The cheapest question that an agent asks at every turn.
TOOL = "get_account_overview"


def make_token(database_url: str) -> str:
    """A token for everything that can be read."""
    wanted = tokens.Wanted("bench", ["read", "read:memo"], None, REQUESTS_PER_MINUTE, BYTES_PER_DAY, None)

    async def make() -> str:
        async with await AsyncConnection.connect(conninfo(database_url, ACCESS)) as connection:
            made = await tokens.create(connection, "test", wanted, actor="bench", unknown_too=True)
            return made.text

    return asyncio.run(make())


def mcp_call(url: str, account_id: str) -> Asked:
    """A call of a tool about one account, seen to succeed. Raises AssertionError."""
    call = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/call",
        "params": {"name": TOOL, "arguments": {"account_id": account_id}},
    }
    headers = {"Accept": "application/json, text/event-stream"}
    answer = httpx.post(f"{url}/mcp", json=call, headers=headers, timeout=30)
    if answer.status_code != httpx.codes.OK or answer.json().get("result", {}).get("isError", True):
        raise AssertionError(f"the tool {TOOL} did not answer: {answer.status_code} {answer.text[:500]}")
    return Asked("/mcp", body=json.dumps(call))
