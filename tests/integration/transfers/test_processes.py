"""Real processes, killed for real, against a bank behind a real socket (P1-P3, P6, P7), and the older
contract.
"""

import asyncio
import os
import secrets
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import httpx
import psycopg
import pytest

from tests.integration.transfers.conftest import BODY, Books
from tests.integration.transfers.http_bank import HttpBank, open_http_bank
from tests.waiting import PATIENCE, free_port, until

SERVE = """
import asyncio
from transfers.app import serve
from transfers.settings import TransfersSettings
asyncio.run(serve(TransfersSettings(_env_file=None)))
"""
# Dies between the commit of its attempt and the first byte to the bank.
DIE_BEFORE_SENDING = """
import os, signal
from banks.generic import GenericPayer
async def pay(self, payment, request_bytes):
    os.kill(os.getpid(), signal.SIGKILL)
GenericPayer.pay = pay
"""
# Longer than a lease with the bank's default deadline, but too short to send again at once.
LEASE_SECONDS = 40.0

Spawn = Callable[..., Awaitable[asyncio.subprocess.Process]]


@pytest.fixture
async def http_bank() -> AsyncIterator[HttpBank]:
    async with open_http_bank() as bank:
        yield bank


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
async def spawn(seeded: str, http_bank: HttpBank, port: int) -> AsyncIterator[Spawn]:
    """Start `serve` in a process of its own, and wait until it is ready. Killed with the test."""
    started: list[asyncio.subprocess.Process] = []

    async def begin(prelude: str = "", *, port: int = port, **environment: str) -> asyncio.subprocess.Process:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            prelude + SERVE,
            env={
                **os.environ,
                "DATABASE_URL": seeded,
                "BANK_API_BASE_URL": http_bank.url,
                "BANK_API_KEY": "key-of-the-test-bank",
                "BANKMIRROR_MODE": "sandbox",
                "BANKMIRROR_TRANSFERS_PORT": str(port),
                "BANKMIRROR_TRANSFERS_POLL_SECONDS": "0.1",
                "BANKMIRROR_TRANSFERS_RESEND_AFTER_SECONDS": "30",
                "BANKMIRROR_TRANSFERS_DRAIN_SECONDS": "1",
                **environment,
            },
        )
        started.append(process)
        async with asyncio.timeout(PATIENCE), httpx.AsyncClient() as client:
            while True:
                with suppress(httpx.TransportError):
                    if (await client.get(f"http://127.0.0.1:{port}/ready")).status_code == 200:
                        return process
                await asyncio.sleep(0.05)

    yield begin
    for process in started:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def post(port: int, *, key: str = "a-key-of-this-test", **changed: object) -> httpx.Response:
    async with httpx.AsyncClient(timeout=PATIENCE) as client:
        return await client.post(
            f"http://127.0.0.1:{port}/banking/transfer", json={**BODY, **changed}, headers={"Idempotency-Key": key}
        )


async def test_p1_killed_before_it_could_answer(spawn: Spawn, http_bank: HttpBank, books: Books, port: int) -> None:
    """P1: the client lost its answer; the same key at the next process is the same transfer."""
    process = await spawn()
    http_bank.hang_after = True
    with suppress(httpx.TransportError):
        asking = asyncio.create_task(post(port))
        await http_bank.arrived.wait()
        process.kill()
        await asking
    http_bank.hang_after = False
    await process.wait()
    await spawn()
    await books.pass_time(LEASE_SECONDS)

    answer = await post(port)

    assert answer.status_code == 200
    assert answer.headers["Idempotent-Replayed"] == "true"
    assert len(http_bank.posts) == 1
    assert len(await books.transfers()) == 1


async def test_p2_killed_between_commit_and_post(spawn: Spawn, http_bank: HttpBank, books: Books, port: int) -> None:
    """P2: after the lease it is unknown, looked up, not found, and sent: once."""
    process = await spawn(DIE_BEFORE_SENDING)
    with suppress(httpx.TransportError):
        await post(port)
    assert await process.wait() == -signal.SIGKILL
    assert (await books.transfer())["state"] == "submitting"
    assert http_bank.posts == []

    await spawn()
    await books.pass_time(LEASE_SECONDS)
    await books.contacts("absent", 1)
    assert http_bank.posts == []
    await books.pass_time(LEASE_SECONDS)
    await books.until("accepted")

    first, *look_ups, last = await books.attempts()
    assert (first, last) == (("post", None), ("post", "accepted"))
    assert set(look_ups) == {("lookup", "absent")}
    assert len(http_bank.posts) == len(http_bank.booked) == 1


async def test_p3_killed_after_the_bank_executed(spawn: Spawn, http_bank: HttpBank, books: Books, port: int) -> None:
    """P3: the look-up finds it, and nothing is sent again."""
    process = await spawn()
    http_bank.hang_after = True
    asking = asyncio.create_task(post(port))
    await http_bank.arrived.wait()
    process.kill()
    with suppress(httpx.TransportError):
        await asking
    await process.wait()
    http_bank.hang_after = False

    await spawn()
    await books.pass_time(LEASE_SECONDS)
    await books.until("accepted")

    assert await books.attempts() == [("post", None), ("lookup", "accepted")]
    assert len(http_bank.posts) == len(http_bank.booked) == 1


async def test_p6_stopped_for_longer_than_its_lease(
    spawn: Spawn, http_bank: HttpBank, books: Books, port: int, capfd: pytest.CaptureFixture[str]
) -> None:
    """P6: frozen with a payment on the wire. Another process takes over; the bank's answer comes too late to count."""
    asleep = await spawn(BANKMIRROR_TRANSFERS_WAIT_SECONDS="0")
    http_bank.hang_before = True
    await post(port)
    await http_bank.arrived.wait()
    asleep.send_signal(signal.SIGSTOP)
    await books.pass_time(LEASE_SECONDS)
    await spawn(port=free_port())
    await books.contacts("absent", 1)
    taken = await books.transfer()
    http_bank.hang_before = False
    http_bank.released.set()

    async def booked() -> bool:
        return len(http_bank.booked) == 1

    await until(booked)
    asleep.send_signal(signal.SIGCONT)

    async def fenced() -> bool:
        return "FENCED" in "".join(capfd.readouterr())

    await until(fenced)
    asleep.send_signal(signal.SIGTERM)
    assert await asleep.wait() == 0

    row = await books.transfer()
    assert row["state"] == "unknown" or row["epoch"] > taken["epoch"]
    await books.pass_time(LEASE_SECONDS)
    await books.until("accepted")
    assert len(http_bank.posts) == len(http_bank.booked) == 1


async def test_p7_terminated_with_a_payment_on_the_wire(
    spawn: Spawn, http_bank: HttpBank, books: Books, port: int
) -> None:
    """P7: it ends in its grace with exit code 0, and the payment is not called failed but found."""
    process = await spawn(BANKMIRROR_TRANSFERS_WAIT_SECONDS="0")
    http_bank.hang_after = True
    await post(port)
    await http_bank.arrived.wait()
    process.send_signal(signal.SIGTERM)

    async with asyncio.timeout(PATIENCE):
        assert await process.wait() == 0
    assert (await books.transfer())["state"] == "submitting"

    http_bank.hang_after = False
    await spawn()
    await books.pass_time(LEASE_SECONDS)
    await books.until("accepted")
    assert len(http_bank.posts) == 1


async def test_it_ends_at_once_when_there_is_nothing_to_wait_for(spawn: Spawn) -> None:
    """Ctrl-C and SIGTERM: exit code 0, and none of the grace is used."""
    for number in (signal.SIGTERM, signal.SIGINT):
        process = await spawn(BANKMIRROR_TRANSFERS_DRAIN_SECONDS="600")
        process.send_signal(number)
        async with asyncio.timeout(PATIENCE):
            assert await process.wait() == 0


async def test_the_older_contract_with_an_unmodified_script(spawn: Spawn, http_bank: HttpBank, port: int) -> None:
    """A client that knows three fields and three keys, over real HTTP, to a bank behind real HTTP."""
    await spawn()
    script = (
        "import httpx, json, sys\n"
        f"r = httpx.post('http://127.0.0.1:{port}/banking/transfer', json={BODY!r}, timeout=30)\n"
        "told = r.json(); print(r.status_code, told['transaction_id'], told['status'], told['logged'])\n"
    )
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", script, stdout=asyncio.subprocess.PIPE)
    output, _ = await process.communicate()

    assert output.decode().split() == ["200", "txn_1", "completed", "True"]


async def test_the_sandbox_bank_takes_it_and_answers_for_it(
    spawn: Spawn, books: Books, port: int, server_url: str, administrator: psycopg.Connection[Any]
) -> None:
    """The same against the bank that `up` starts: paid, and a payment that it cannot cover declined with its code."""
    name, bank_port = f"bank_{secrets.token_hex(4)}", free_port()
    administrator.execute(f"CREATE DATABASE {name}".encode())
    sandbox = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "sandbox", "--transactions", "100", "--no-life", "--port", str(bank_port)),
        *("--database-url", urlsplit(server_url)._replace(path=f"/{name}").geturl()),
    )
    try:
        async with asyncio.timeout(PATIENCE), httpx.AsyncClient() as client:
            while True:
                with suppress(httpx.TransportError):
                    await client.get(f"http://127.0.0.1:{bank_port}/accounts")
                    break
                await asyncio.sleep(0.1)
        await spawn(BANK_API_BASE_URL=f"http://127.0.0.1:{bank_port}", BANK_API_KEY="sandbox-key")

        answer = await post(port)
        assert answer.status_code == 200
        assert (answer.json()["status"], answer.json()["logged"]) == ("completed", True)

        too_much = await post(port, key="another-key-of-this-test", amount_cents=10**14)
        assert (too_much.status_code, too_much.json()["code"]) == (422, "insufficient-funds")
    finally:
        sandbox.terminate()
        await sandbox.wait()
        administrator.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


async def test_what_is_logged_holds_no_account_and_no_memo(
    spawn: Spawn, seeded: str, http_bank: HttpBank, port: int, capfd: pytest.CaptureFixture[str]
) -> None:
    """Canaries in every field of a request, through success and failure, are in no line of the log."""
    process = await spawn()
    async with httpx.AsyncClient(timeout=PATIENCE) as client:
        for account in ("acct_123", "canaryaccount"):
            await client.post(
                f"http://127.0.0.1:{port}/banking/transfer",
                json={**BODY, "account_id": account, "memo": "canarymemo", "reference": "canaryreference"},
                headers={"Idempotency-Key": "canarykey-of-this-test"},
            )
    process.send_signal(signal.SIGTERM)
    await process.wait()

    said = "".join(capfd.readouterr())
    assert "canary" not in said
    assert "acct_123" not in said
