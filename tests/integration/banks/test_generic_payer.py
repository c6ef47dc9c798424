"""Paying over a real connection that fails in every way: at most one request, and never an exception."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from banks.http import BankHttp
from banks.ports import BankPayer, Payment, Verdict
from banks.registry import open_payer
from tests.integration.banks.raw_bank import (
    RawBank,
    Step,
    answer,
    bank_settings,
    cut,
    cutting,
    hang,
    problem,
    reset,
    trickling,
)
from tests.integration.banks.test_generic_reader import ENTRY, page
from tests.waiting import PATIENCE

PAYMENT = Payment("acct_1", "acct_2", 2500, "USD", "tr_1")
MADE: dict[str, Any] = ENTRY | {
    "amount_cents": -2500,
    "type": "transfer",
    "counterparty": {"name": "Savings", "account_id": "acct_2"},
    "client_reference": "tr_1",
}
TWIN = MADE | {"transaction_id": "txn_2"}
CREATED = answer(201, MADE)


@asynccontextmanager
async def paying(
    bank: RawBank, *, deadline_seconds: float = PATIENCE, port: int | None = None
) -> AsyncIterator[BankPayer]:
    """Our side of the bank."""
    settings = bank_settings(bank, deadline_seconds=deadline_seconds, port=port)
    async with open_payer(settings) as payer:
        yield payer


async def test_the_bytes_are_canonical(bank: RawBank) -> None:
    """Two encodings of one payment are equal to the byte, today and in the next release."""
    async with paying(bank) as payer:
        order = payer.encode(replace(PAYMENT, destination_account_id="é"))

    assert order == (
        b'{"amount_cents":2500,"client_reference":"tr_1","currency":"USD","destination_account_id":"\\u00e9",'
        b'"source_account_id":"acct_1","type":"transfer"}'
    )


async def test_a_payment(bank: RawBank) -> None:
    """The frozen bytes under the bank key, on a connection of their own."""
    bank.answers(CREATED, answer(200, MADE))

    async with paying(bank) as payer:
        frozen = payer.encode(PAYMENT)
        first, replayed = await payer.pay(PAYMENT, frozen), await payer.pay(PAYMENT, frozen)

    assert (first.verdict, first.bank_transaction_id, first.http_status) == (Verdict.ACCEPTED, "txn_1", 201)
    assert replayed.verdict is Verdict.ACCEPTED
    assert {request.body for request in bank.requests} == {frozen}
    assert {request.headers["idempotency-key"] for request in bank.requests} == {"tr_1"}
    assert len(bank.connections) == 2


HALF = CREATED[: len(CREATED) - 20]
SILENCE, TRICKLE = "silence", "a trickle beyond the deadline"
# Seconds, for a bank that lets it pass.
SHORT = 1.5
UNKNOWN: list[tuple[str, bytes | Step, int | None]] = [
    ("closed without an answer", cut, None),
    ("reset after the request was read", reset, None),
    (SILENCE, hang, None),
    (TRICKLE, trickling(CREATED, pause_seconds=0.3), None),
    ("no HTTP", cutting(b"SSH-2.0-OpenSSH\r\n\r\n"), None),
    ("half a head", cutting(b"HTTP/1.1 201 Crea"), None),
    ("201 with half its body", cutting(HALF), 201),
    ("201 with half a JSON", answer(201, b'{"transaction_id": "txn_1", "sta'), 201),
    ("200 with a page of HTML", answer(200, b"<html>Maintenance</html>", "html"), 200),
    ("201 with nothing", answer(201), 201),
    ("204", answer(204), 204),
    ("201 with an id twice", answer(201, b'{"transaction_id":"a","transaction_id":"b"}'), 201),
    ("201 without an id", answer(201, MADE | {"transaction_id": None}), 201),
    ("201 with a placeholder", answer(201, MADE | {"transaction_id": "0"}), 201),
    ("201 with a float", answer(201, MADE | {"amount_cents": -2500.0}), 201),
    ("201 that failed", answer(201, MADE | {"status": "failed"}), 201),
    ("201 with too much", answer(201, b" " * 2**21), 201),
    ("500", answer(500), 500),
    ("502 of a proxy", answer(502, b"<html>", "html"), 502),
    ("503", problem(503, "maintenance", Retry_After="7"), 503),
    ("429", problem(429, "rate-limited", Retry_After="7"), 429),
    ("425", answer(425, Retry_After="7"), 425),
    ("409 in flight", problem(409, "request-in-progress", Retry_After="7"), 409),
    ("404 of a proxy", answer(404, b"<html>", "html"), 404),
    ("422 without a reason", answer(422), 422),
    ("422 whose reason is cut off", cutting(problem(422, "insufficient-funds")[:-9]), 422),
    ("422 for a reason that is not documented", problem(422, "validation-failed"), 422),
]  # fmt: skip


@pytest.mark.parametrize(("why", "step", "status"), UNKNOWN)
async def test_w2_w3_w4_unknown_and_never_sent_again(
    bank: RawBank, why: str, step: bytes | Step, status: int | None
) -> None:
    """The bank got one request and may have paid; nothing here decides that it did not, or tries again."""
    bank.answers(step)

    async with paying(bank, deadline_seconds=SHORT if why in (SILENCE, TRICKLE) else PATIENCE) as payer:
        outcome = await payer.pay(PAYMENT, payer.encode(PAYMENT))

    assert (outcome.verdict, outcome.http_status) == (Verdict.UNKNOWN, status), why
    assert len(bank.requests) == 1
    if status in (425, 429, 503, 409):
        assert outcome.retry_after == timedelta(seconds=7)


OTHERS = [
    ("declined", problem(422, "insufficient-funds"), Verdict.REJECTED),
    ("key reused", problem(422, "idempotency-key-reused"), Verdict.CONFLICT),
    ("unauthenticated", problem(401, "unauthenticated"), Verdict.REFUSED_CREDENTIALS),
    ("forbidden by a proxy", answer(403, b"<html>", "html"), Verdict.REFUSED_CREDENTIALS),
    ("redirect", answer(307, Location="/api/transactions"), Verdict.CONFLICT),
    ("another amount", answer(201, MADE | {"amount_cents": -2501}), Verdict.CONFLICT),
    ("money in", answer(201, MADE | {"amount_cents": 2500}), Verdict.CONFLICT),
    ("another receiver", answer(201, MADE | {"counterparty": {"account_id": "acct_9"}}), Verdict.CONFLICT),
    ("another source", answer(201, MADE | {"account_id": "acct_2"}), Verdict.CONFLICT),
    ("another currency", answer(201, MADE | {"currency": "EUR"}), Verdict.CONFLICT),
    ("another reference", answer(201, MADE | {"client_reference": "tr_2"}), Verdict.CONFLICT),
    ("the contract's least", answer(201, {"transaction_id": "txn_1", "status": "pending"}), Verdict.ACCEPTED),
    (
        "echoed as an order",
        answer(201, json.loads(b'{"source_account_id": "acct_1", "destination_account_id": "acct_2", '
                               b'"amount_cents": 2500, "transaction_id": "t", "status": "posted"}')),
        Verdict.ACCEPTED,
    ),
    (
        "echoed as another order",
        answer(201, json.loads(b'{"source_account_id": "acct_1", "amount_cents": -2500, '
                               b'"transaction_id": "t", "status": "posted"}')),
        Verdict.CONFLICT,
    ),
]  # fmt: skip


@pytest.mark.parametrize(("what", "step", "verdict"), OTHERS)
async def test_what_the_bank_says_clearly(bank: RawBank, what: str, step: bytes, verdict: Verdict) -> None:
    """Each over a real connection; the rules themselves are tested one by one elsewhere."""
    bank.answers(step)

    async with paying(bank) as payer:
        assert (await payer.pay(PAYMENT, payer.encode(PAYMENT))).verdict is verdict, what

    assert len(bank.requests) == 1


async def test_w1_nobody_listens(bank: RawBank, unused_tcp_port: int) -> None:
    """A refused connection is the one failure that is known not to have paid."""
    async with paying(bank, port=unused_tcp_port) as payer:
        paid = await payer.pay(PAYMENT, payer.encode(PAYMENT))
        looked_up = await payer.look_up(PAYMENT)

    assert paid.verdict is Verdict.NOT_SENT
    assert paid.detail.startswith("ConnectError")
    assert looked_up.verdict is Verdict.UNKNOWN


async def test_the_unforeseen_is_unknown(bank: RawBank, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug of ours is no reason to lose track of a payment."""

    async def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(BankHttp, "_call", fail)

    async with paying(bank) as payer:
        paid, looked_up = await payer.pay(PAYMENT, b"{}"), await payer.look_up(PAYMENT)

    assert paid.verdict is looked_up.verdict is Verdict.UNKNOWN
    assert paid.detail == looked_up.detail == "ZeroDivisionError"


async def test_p7_cancelled_while_paying(bank: RawBank) -> None:
    """Whoever cancels learns that it was cancelled, and not an outcome."""
    bank.answers(hang)

    async with paying(bank) as payer:
        task = asyncio.create_task(payer.pay(PAYMENT, payer.encode(PAYMENT)))
        while not bank.requests:  # noqa: ASYNC110  The bank gives no event.
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_look_up(bank: RawBank) -> None:
    """By our reference on the paying account, to the last page."""
    bank.answers(page(following="a"), page(MADE), page())

    async with paying(bank) as payer:
        found, absent = await payer.look_up(PAYMENT), await payer.look_up(PAYMENT)

    assert (found.verdict, found.bank_transaction_id) == (Verdict.ACCEPTED, "txn_1")
    assert absent.verdict is Verdict.ABSENT
    assert bank.requests[1].target == ("/api/transactions?account_id=acct_1&client_reference=tr_1&limit=500&cursor=a")


@pytest.mark.parametrize(
    ("script", "verdict", "slow"),
    [
        pytest.param([page(MADE | {"amount_cents": -1})], Verdict.CONFLICT, False, id="another amount"),
        pytest.param([page(MADE, following="a"), page(TWIN)], Verdict.CONFLICT, False, id="twice"),
        pytest.param([page(ENTRY)], Verdict.UNKNOWN, False, id="filter ignored"),
        pytest.param([page(*[ENTRY] * 101, following="a"), hang], Verdict.UNKNOWN, False, id="all is listed"),
        pytest.param([page(MADE | {"amount_cents": 1.5})], Verdict.UNKNOWN, False, id="a row that cannot be read"),
        pytest.param([page(MADE, following="a"), cut], Verdict.UNKNOWN, False, id="the second page fails"),
        pytest.param([page(following="a")], Verdict.UNKNOWN, False, id="a list without end"),
        pytest.param([answer(200, {"data": []})], Verdict.UNKNOWN, False, id="perhaps not all"),
        pytest.param([answer(200, b"<html>", "html")], Verdict.UNKNOWN, False, id="maintenance"),
        pytest.param([problem(404, "not-found")], Verdict.UNKNOWN, False, id="404"),
        pytest.param([problem(401, "unauthenticated")], Verdict.UNKNOWN, False, id="401"),
        pytest.param([answer(307, Location="/")], Verdict.UNKNOWN, False, id="redirect"),
        pytest.param([answer(500)], Verdict.UNKNOWN, False, id="500"),
        pytest.param([hang], Verdict.UNKNOWN, True, id="silence"),
        pytest.param([trickling(page(MADE), pause_seconds=0.3)], Verdict.UNKNOWN, True, id="trickle"),
    ],
)
async def test_what_look_ups_prove(bank: RawBank, script: list[bytes | Step], verdict: Verdict, slow: bool) -> None:
    """Absence takes a complete answer to our very question; all else leaves the payment unknown."""
    bank.answers(*script)

    async with paying(bank, deadline_seconds=SHORT if slow else PATIENCE) as payer:
        assert (await payer.look_up(PAYMENT)).verdict is verdict


async def test_a_look_up_has_one_deadline_for_all_its_pages(bank: RawBank) -> None:
    """Whoever asks holds a lease for as long as one call may take, and not for one call a page."""

    def slow(content: bytes) -> Step:
        async def send(writer: asyncio.StreamWriter) -> None:
            await asyncio.sleep(0.2)
            writer.write(content)

        return send

    bank.answers(*(slow(page(following=f"c{number}")) for number in range(10)), page())

    async with paying(bank, deadline_seconds=0.5) as payer:
        outcome = await payer.look_up(PAYMENT)

    assert (outcome.verdict, outcome.code) == (Verdict.UNKNOWN, "bank-unreachable")
    assert len(bank.requests) < 5


async def test_look_ups_pass_on_the_banks_pause(bank: RawBank) -> None:
    """So that the resolver does not make it worse."""
    bank.answers(problem(429, "rate-limited", Retry_After="60"))

    async with paying(bank) as payer:
        outcome = await payer.look_up(PAYMENT)

    assert (outcome.verdict, outcome.retry_after) == (Verdict.UNKNOWN, timedelta(seconds=60))
