"""The line on which money is paid twice or not: what each answer proves."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from banks.generic import VOCABULARY
from banks.outcomes import Answered, Echo, NoAnswer, judge_look_up, judge_payment
from banks.ports import FetchedTransaction, Payment, Refused, Verdict

PAYMENT = Payment("acct_1", "acct_2", 2500, "USD", "tr_1")
FULL = Echo("txn_1", "acct_1", "acct_2", 2500, "USD", "tr_1")
DECLINES = [
    "account-closed",
    "account-not-found",
    "amount-invalid",
    "currency-mismatch",
    "insufficient-funds",
    "same-account",
]
PAUSE = timedelta(seconds=30)


def verdict(answer: NoAnswer | Answered) -> Verdict:
    """The verdict on one answer to the payment."""
    return judge_payment(answer, PAYMENT, VOCABULARY).verdict


def test_silence() -> None:
    """What never left did not pay; what may have left may have paid, however the connection ended."""
    assert verdict(NoAnswer("ConnectError", sent=False)) is Verdict.NOT_SENT
    assert verdict(NoAnswer("ReadTimeout", sent=True)) is Verdict.UNKNOWN
    assert verdict(NoAnswer("RemoteProtocolError", sent=True, http_status=201)) is Verdict.UNKNOWN


@pytest.mark.parametrize("status", [200, 201, 202])
@pytest.mark.parametrize("echo", [FULL, Echo("txn_1")])
def test_success(status: int, echo: Echo) -> None:
    """The bank has it and says which one it is; what it does not repeat does not contradict us."""
    outcome = judge_payment(Answered(status, echo=echo), PAYMENT, VOCABULARY)

    assert (outcome.verdict, outcome.bank_transaction_id) == (Verdict.ACCEPTED, "txn_1")
    assert outcome.http_status == status


@pytest.mark.parametrize("status", [200, 201, 204, 299])
def test_w3_success_that_cannot_be_read(status: int) -> None:
    """A maintenance page with status 200 is no payment, and no refusal either."""
    assert verdict(Answered(status, echo=None)) is Verdict.UNKNOWN


@pytest.mark.parametrize(
    ("echo", "named"),
    [
        (replace(FULL, source_account_id="acct_9"), "source account"),
        (replace(FULL, destination_account_id="acct_9"), "destination account"),
        (replace(FULL, amount_minor=2501), "amount"),
        (replace(FULL, amount_minor=-2500), "amount"),
        (replace(FULL, amount_minor=0), "amount"),
        (replace(FULL, currency="EUR"), "currency"),
        (replace(FULL, currency=""), "currency"),
        (replace(FULL, reference="tr_2"), "reference"),
        (
            replace(FULL, source_account_id="acct_2", destination_account_id="acct_1"),
            "source account, destination account",
        ),
    ],
)
def test_w9_success_of_something_else(echo: Echo, named: str) -> None:
    """A confirmation of another payment than ours is for people, with the id to look at."""
    outcome = judge_payment(Answered(201, echo=echo), PAYMENT, VOCABULARY)

    assert (outcome.verdict, outcome.bank_transaction_id) == (Verdict.CONFLICT, "txn_1")
    assert outcome.detail.endswith(f"another {named}")


@pytest.mark.parametrize("code", DECLINES)
def test_w7_documented_declines(code: str) -> None:
    """A documented refusal is final, and keeps its code."""
    outcome = judge_payment(Answered(422, code), PAYMENT, VOCABULARY)

    assert (outcome.verdict, outcome.code, outcome.http_status) == (Verdict.REJECTED, code, 422)


def test_the_declines_are_these_and_no_others() -> None:
    """Adding one is a decision about money, and shows here."""
    assert {(422, code) for code in DECLINES} == VOCABULARY.declines


@pytest.mark.parametrize("status", [400, 402, 404, 405, 408, 410, 413, 415, 418, 422, 429, 451])
@pytest.mark.parametrize("code", [None, "validation-failed", "something-new", "malformed-request"])
def test_undocumented_refusals(status: int, code: str | None) -> None:
    """A refusal that the bank does not document may come after the execution, or from somebody on the way."""
    assert verdict(Answered(status, code)) is Verdict.UNKNOWN


@pytest.mark.parametrize("status", [400, 409, 500, 503])
@pytest.mark.parametrize("code", DECLINES)
def test_a_decline_with_another_status_is_none(status: int, code: str) -> None:
    """The code alone is not the documented answer."""
    assert verdict(Answered(status, code)) is Verdict.UNKNOWN


@pytest.mark.parametrize("status", [400, 409, 422])
def test_w8_a_key_that_was_used_with_other_bytes(status: int) -> None:
    """Our bytes never change, so this needs people."""
    assert verdict(Answered(status, "idempotency-key-reused")) is Verdict.CONFLICT


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("code", [None, "unauthenticated", "insufficient-funds"])
def test_w14_refused_credentials(status: int, code: str | None) -> None:
    """Not executed, and neither will be anything else."""
    assert verdict(Answered(status, code)) is Verdict.REFUSED_CREDENTIALS


@pytest.mark.parametrize("status", [409, 425, 429, 503])
@pytest.mark.parametrize("pause", [None, PAUSE])
def test_w5_w6_later(status: int, pause: timedelta | None) -> None:
    """Usually not executed, which is no evidence; the bank's wish to wait is passed on."""
    outcome = judge_payment(Answered(status, "request-in-progress", None, pause), PAYMENT, VOCABULARY)

    assert (outcome.verdict, outcome.retry_after) == (Verdict.UNKNOWN, pause)


@pytest.mark.parametrize("status", [500, 501, 502, 504, 507, 599])
def test_w4_errors_of_the_bank(status: int) -> None:
    """The bank does not know either."""
    assert verdict(Answered(status, "internal")) is Verdict.UNKNOWN


@pytest.mark.parametrize("status", [300, 301, 302, 303, 304, 307, 308])
def test_redirects(status: int) -> None:
    """Nobody is paid through a redirect."""
    assert verdict(Answered(status)) is Verdict.CONFLICT


@given(
    st.integers(100, 999),
    st.none() | st.sampled_from([*DECLINES, "idempotency-key-reused", "internal"]) | st.text(),
    st.none() | st.just(FULL) | st.just(replace(FULL, amount_minor=1)),
)
def test_what_it_takes_to_be_sure(status: int, code: str | None, echo: Echo | None) -> None:
    """Only an exact echo is acceptance, only a documented decline a rejection; nothing proves absence."""
    match verdict(Answered(status, code, echo)):
        case Verdict.ACCEPTED:
            assert 200 <= status < 300
            assert echo == FULL
        case Verdict.REJECTED:
            assert status == 422
            assert code in DECLINES
        case Verdict.REFUSED_CREDENTIALS:
            assert status in (401, 403)
        case Verdict.NOT_SENT | Verdict.ABSENT:
            pytest.fail("an answer proves that something was sent")
        case Verdict.UNKNOWN | Verdict.CONFLICT:
            pass


FOUND = FetchedTransaction(
    account_id="acct_1",
    transaction_id="txn_1",
    amount_minor=-2500,
    currency="USD",
    status="posted",
    type="transfer",
    description="Transfer",
    counterparty_name="Savings",
    counterparty_account_id="acct_2",
    client_reference="tr_1",
    pending_transaction_id=None,
    created_at=datetime(2026, 1, 1, tzinfo=UTC),
    booked_on=date(2026, 1, 1),
    content_hash=b"",
)


def look_up(*rows: FetchedTransaction, refused: tuple[Refused, ...] = ()) -> Verdict:
    """The verdict on a listing."""
    return judge_look_up(rows, refused, PAYMENT, 200).verdict


def test_the_bank_has_it() -> None:
    """One exact row, pending or posted, is the payment."""
    assert look_up(FOUND) is look_up(FOUND._replace(status="pending", booked_on=None)) is Verdict.ACCEPTED
    assert judge_look_up([FOUND], [], PAYMENT, 200).bank_transaction_id == "txn_1"


def test_the_bank_does_not_have_it() -> None:
    """An empty list for our question is absence, now."""
    assert look_up() is Verdict.ABSENT


@pytest.mark.parametrize(
    "row",
    [
        FOUND._replace(amount_minor=-2501),
        FOUND._replace(amount_minor=2500),
        FOUND._replace(currency="EUR"),
        FOUND._replace(counterparty_account_id="acct_3"),
        FOUND._replace(counterparty_account_id=None),
    ],
)
def test_the_bank_has_something_else(row: FetchedTransaction) -> None:
    """Found under our reference, but not what we ordered."""
    assert look_up(row) is Verdict.CONFLICT


def test_w11_the_bank_has_it_twice() -> None:
    """Two under one reference were paid twice, until people know better."""
    assert look_up(FOUND, FOUND._replace(transaction_id="txn_2")) is Verdict.CONFLICT
    assert look_up(FOUND, FOUND._replace(amount_minor=-1)) is Verdict.CONFLICT


def test_a_settled_hold_is_one_payment() -> None:
    """The hold and the transaction that settled it are one; so is a row that two pages show."""
    settled = FOUND._replace(transaction_id="txn_2", pending_transaction_id="txn_1")

    assert look_up(FOUND, settled) is look_up(settled, FOUND) is look_up(FOUND, FOUND) is Verdict.ACCEPTED
    assert judge_look_up([FOUND, settled], [], PAYMENT, 200).bank_transaction_id == "txn_2"


def test_rows_that_settle_each_other_are_not_absence() -> None:
    """However a bank links its rows, a row that is there is never absent."""
    own = FOUND._replace(pending_transaction_id="txn_1")
    circle = FOUND._replace(transaction_id="txn_2", pending_transaction_id="txn_1")

    assert look_up(own) is Verdict.CONFLICT
    assert look_up(FOUND._replace(pending_transaction_id="txn_2"), circle) is Verdict.CONFLICT


@pytest.mark.parametrize(
    "row",
    [
        FOUND._replace(client_reference="tr_2"),
        FOUND._replace(client_reference=None),
        FOUND._replace(account_id="acct_7"),
    ],
)
def test_a_bank_that_ignores_the_filter_has_not_answered(row: FetchedTransaction) -> None:
    """A list of other things does not say that ours is missing: that would pay it again."""
    assert look_up(row) is look_up(FOUND, row) is Verdict.UNKNOWN


def test_a_row_that_cannot_be_read_is_not_absence() -> None:
    """It may be ours."""
    refused = (Refused("acct_1", "amount_cents is not a whole number of minor units", b"{}"),)

    assert look_up(refused=refused) is look_up(FOUND, refused=refused) is Verdict.UNKNOWN
