"""The process: it ends quickly and cleanly, refuses unsafe starts, and withstands a fuzzer over real HTTP."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import httpx
import psycopg
import pytest

from kernel.errors import StartupError
from readapi.app import serve
from tests.integration.readapi.mirror import Mirror, settings
from tests.integration.readapi.process import serving
from tests.waiting import PATIENCE, until

# A cursor is signed, and dates are in order: neither can be said in a schema, so a valid request may be refused for
# them. Everything else that the schema allows must be accepted. Too long an address is
# refused before anything else, and has a test of its own.
OPTIONS = ["--seed", "1", "--checks", "all", "--max-time", "20", "--no-color"]
HOOKS = """
from datetime import datetime
from urllib.parse import urlencode

import schemathesis

def moment_of(text):
    return datetime.fromisoformat(text.upper().replace("Z", "+00:00"))

@schemathesis.hook
def filter_query(context, query):
    return len(urlencode(query or {}, doseq=True)) < 30_000

# Ranges the right way round, and no moment that has not come: no schema can say that one parameter must not be above
# another, or what time it is. Before the call, since the other hooks do not see the cases of every phase.
@schemathesis.hook
def before_call(context, case, kwargs):
    query = case.query or {}
    for moment in ("known_at", "known_from", "known_to", "as_of"):
        written = str(query.get(moment, ""))
        if written[:4].isdigit() and written > "2025":
            query[moment] = "2025" + written[4:].replace("-02-29", "-02-28")
    if "known_at" in query:
        # What was known then gets no newer, and what was lapsed then is not kept.
        query.pop("max_age", None)
        query.pop("lapsed", None)
    if str(query.get("max_age", "")).isdigit() and int(query["max_age"]) < 3600:
        # Nobody polls here, so that what is asked to be young is rightly refused.
        query["max_age"] = 3600
    if case.path.endswith("/can-pay"):
        # One of both.
        if query.pop("amount_minor" if "amount" in query else "amount", None) is None and "amount" not in query:
            query.setdefault("amount_minor", "1")
        case.query = query
    for least, greatest, kind in (
        ("from", "to", str), ("known_from", "known_to", moment_of), ("min_amount_minor", "max_amount_minor", int)
    ):
        try:
            swap = kind(query[least]) > kind(query[greatest])
        except (TypeError, KeyError, ValueError, AttributeError):  # A parameter may come twice, as a list.
            continue
        if swap:
            query[least], query[greatest] = query[greatest], query[least]
"""
CONFIG = """
[checks.positive_data_acceptance]
expected-statuses = ["2xx", 400, 404]
"""


def waits_for_the_lock(mirror: Mirror) -> bool:
    """Whether a question is under way that cannot be answered now."""
    waiting = "application_name = 'bankmirror readapi' AND wait_event_type = 'Lock' AND datname = current_database()"
    return bool(mirror.run(f"SELECT 1 FROM pg_stat_activity WHERE {waiting}"))


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT])
async def test_it_ends_quickly(mirror: Mirror, ending: signal.Signals) -> None:
    """With a question under way and a connection kept alive; the exit is clean, without a traceback."""
    mirror.account("acct_1")
    with serving(mirror.url) as served, psycopg.connect(mirror.url) as migration:
        async with httpx.AsyncClient(base_url=served.url) as client:
            assert (await client.get("/banking/accounts/acct_1/activity")).status_code == 200
            migration.execute("LOCK TABLE snapshot.transactions")
            # Another question than before, which is answered from memory.
            under_way = asyncio.create_task(client.get("/banking/accounts/acct_1/activity?limit=7"))
            await until(partial(asyncio.to_thread, waits_for_the_lock, mirror))
            started = time.monotonic()
            served.process.send_signal(ending)
            code = await asyncio.to_thread(served.process.wait, PATIENCE)
            seconds = time.monotonic() - started
            await asyncio.gather(under_way, return_exceptions=True)
        said = served.process.stderr.read() if served.process.stderr else ""

    assert code == 0, said
    assert seconds < 10.0
    assert "Traceback" not in said, said


@pytest.mark.parametrize(
    "given",
    [
        {"readapi_host": "0.0.0.0"},
        {"readapi_host": "::"},
    ],
)
async def test_it_does_not_start_where_anyone_could_read(given: dict[str, str]) -> None:
    """The sandbox without a token is for this machine only. In live mode every request needs a token."""
    with pytest.raises(StartupError, match="token is required"):
        await serve(settings("postgresql://x", **given))


@pytest.mark.seconds(120)
def test_schemathesis_finds_nothing(mirror: Mirror, tmp_path: Path) -> None:
    """All checks over the whole OpenAPI document for twenty seconds: no 500, nothing undocumented."""
    mirror.feeds()
    mirror.account("acct_123")
    mirror.balance("acct_123")
    mirror.transaction("acct_123", transaction_id="tx_1")
    mirror.revision("acct_123", "tx_1")
    mirror.transfer("acct_123")
    mirror.total("acct_123", "2026-03-02", 100, -50)
    mirror.refresh()
    (tmp_path / "hooks.py").write_text(HOOKS)
    (tmp_path / "schemathesis.toml").write_text(CONFIG)
    program = shutil.which("schemathesis", path=Path(sys.executable).parent)
    assert program is not None
    with serving(mirror.url) as served:
        finished = subprocess.run(
            [program, "--config-file", "schemathesis.toml", "run", f"{served.url}/openapi.json", *OPTIONS],
            cwd=tmp_path,
            env={**os.environ, "SCHEMATHESIS_HOOKS": "hooks", "PYTHONPATH": str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
        )
        statuses = httpx.get(f"{served.url}/metrics").text

    assert finished.returncode == 0, "\n".join(line[:300] for line in finished.stdout.splitlines())
    assert "Tested: 23" in finished.stdout
    assert 'status="500"' not in statuses
    assert 'route="/banking/accounts/{account_id}/activity",status="200"' in statuses


def test_an_answer_from_memory_is_the_same_http(mirror: Mirror) -> None:
    """What is written in one piece differs from what went through the server's own way in nothing but its moment."""
    mirror.feeds()
    mirror.account("acct_1")
    mirror.transaction("acct_1", transaction_id="tx_1")
    path = "/banking/accounts/acct_1/activity"
    with serving(mirror.url) as served, httpx.Client(base_url=served.url) as client:
        first, again = client.get(path), client.get(path)
        assert "bankmirror_memory_hits_total 1.0" in client.get("/metrics").text
        head = client.head(path)
        unchanged = client.get(path, headers={"If-None-Match": first.headers["ETag"]})
        last = client.get(path, headers={"Connection": "close"})
        after = client.get(path)

    assert again.content == first.content == last.content == after.content
    assert (head.status_code, head.content) == (200, b"")
    assert (unchanged.status_code, unchanged.content) == (304, b"")
    assert last.headers["connection"] == "close"
    moment = {"date", "request-id", "age", "cache-control", "connection"}
    kept = [
        {name: text for name, text in answer.headers.items() if name not in moment} for answer in (first, again, head)
    ]
    assert kept[0] == kept[1] == kept[2]
    assert len({answer.headers["request-id"] for answer in (first, again, head, unchanged, last, after)}) == 6
    assert "date" in again.headers
    assert "content-length" not in unchanged.headers
