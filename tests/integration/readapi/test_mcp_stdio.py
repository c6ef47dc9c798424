"""`bankmirror mcp`: a program for an agent's desk, in front of a read API that runs elsewhere."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mcp import Client, MCPError
from mcp.client.stdio import StdioServerParameters

from tests.integration.readapi.mirror import Mirror
from tests.integration.readapi.process import Served, serving
from tests.waiting import PATIENCE, free_port

ROOT = Path(__file__).resolve().parents[3]
PROGRAM = ["-P", "-m", "bankmirror", "mcp"]


@pytest.fixture(scope="module")
def served(module_database_url: str) -> Iterator[Served]:
    """A read API as a process, in front of one account."""
    mirror = Mirror(module_database_url)
    mirror.feeds()
    mirror.account("acct_1")
    mirror.balance("acct_1", 900_00, available_minor=800_00)
    mirror.close()
    with serving(module_database_url) as served:
        yield served


def environment(url: str, **more: str) -> dict[str, str]:
    """That of an agent which was told where Bankmirror runs, and of nobody else's settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("BANKMIRROR_")}
    return {**kept, "PYTHONPATH": str(ROOT), "BANKMIRROR_URL": url, **more}


def run(
    directory: Path, url: str, *arguments: str, said: bytes = b"", **more: str
) -> "subprocess.CompletedProcess[bytes]":
    """The program with so much on its standard input, to its end."""
    return subprocess.run(
        [sys.executable, *PROGRAM, *arguments],
        cwd=directory, env=environment(url, **more), input=said, capture_output=True, timeout=PATIENCE, check=False,
    )  # fmt: skip


async def test_an_agent_talks_through_it(served: Served, tmp_path: Path) -> None:
    """In the newest protocol and in the one before; what the server says comes back as it is, errors too."""
    program = StdioServerParameters(
        command=sys.executable, args=PROGRAM, env=environment(served.url), cwd=str(tmp_path)
    )
    for mode, version in (("auto", "2026-07-28"), ("legacy", "2025-11-25")):
        async with Client(program, mode=mode) as client:
            assert client.protocol_version == version
            assert client.server_info is not None
            assert client.server_info.name == "bankmirror"
            together = await asyncio.gather(
                *(
                    client.call_tool("get_account_overview", {"account_id": name})
                    for name in ("acct_1", "acct_ü", "a b")
                )
            )
            assert [result.is_error for result in together] == [False, True, True]
            assert together[0].structured_content["account"]["balance"]["available"] == "800.00"
            [contents] = (await client.read_resource("bank://accounts/acct_1")).contents
            assert json.loads(contents.text)["freshness"]["verdict"] == "fresh"  # type: ignore[union-attr]  # Text.
            with pytest.raises(MCPError, match="no resource with this address"):
                await client.read_resource("bank://ünknown")


def test_one_question_by_hand(served: Served, tmp_path: Path) -> None:
    """What an agent would read, as JSON; a refusal is told on standard error, with a code that is not zero."""
    asked = ["can_pay", "account_id=acct_1", "amount=799.99", "currency=USD"]
    done = run(tmp_path, served.url, "call", *asked)
    refused = run(tmp_path, served.url, "call", "can_pay", "account_id=acct_9", "amount=1", "currency=USD")

    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert (answer["answer"], answer["after_minor"]) == ("yes", 1)
    assert (refused.returncode, refused.stdout) == (1, b"")
    assert b"not-found: " in refused.stderr


def test_config_names_the_server(served: Served, tmp_path: Path) -> None:
    """Standard output has what is pasted, and nothing else."""
    done = run(tmp_path, served.url, "config")

    assert done.stdout.decode() == f"claude mcp add --transport http bankmirror {served.url}/mcp\n"
    assert b"nothing answers" not in done.stderr


def test_a_server_that_is_away_is_told(tmp_path: Path) -> None:
    """As an answer with the mend in words; standard output carries the protocol and nothing else, and it ends well."""
    messages: list[Any] = [
        {"jsonrpc": "2.0", "id": 7, "method": "initialize", "params": {}},
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        [1],
    ]
    said = b"".join(json.dumps(message).encode() + b"\n" for message in messages) + b"nonsense\n\n"
    done = run(tmp_path, f"http://127.0.0.1:{free_port()}", said=said)
    answers = {json.dumps(answer["id"]): answer for answer in map(json.loads, done.stdout.splitlines())}

    assert (done.returncode, done.stderr) == (0, b"")
    assert set(answers) == {"7", "null"}
    assert len(done.stdout.splitlines()) == 3
    assert "start it with `bankmirror up`" in answers["7"]["error"]["message"]


def test_something_else_that_answers_is_told(served: Served, tmp_path: Path) -> None:
    """An address of something else, a token of nobody: each with what to do."""
    hello = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "ping"}).encode()
    [elsewhere] = run(tmp_path, f"{served.url}/docs", said=hello).stdout.splitlines()
    [nobody] = run(tmp_path, served.url, said=hello, BANKMIRROR_TOKEN="bmk_of_nobody").stdout.splitlines()

    assert "/problems/not-found" in json.loads(elsewhere)["error"]["message"]
    assert "set BANKMIRROR_TOKEN" in json.loads(nobody)["error"]["message"]
