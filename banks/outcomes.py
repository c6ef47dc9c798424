"""What an answer proves about a payment. Pure rules: the line on which money is paid twice, or not.

Silence, a broken answer and a bank's own error prove nothing: the bank may have paid. Only what the bank
documents as decided before anything was executed is a refusal, and only a complete, exact echo is a payment.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from banks.ports import FetchedTransaction, Outcome, Payment, Refused, Verdict


@dataclass(frozen=True, slots=True)
class NoAnswer:
    """No complete answer came. `sent` is False only if no byte of the request can have left this machine."""

    error: str
    sent: bool
    http_status: int | None = None


@dataclass(frozen=True, slots=True)
class Echo:
    """A payment as the bank confirms it. What the bank does not repeat is None."""

    bank_transaction_id: str
    source_account_id: str | None = None
    destination_account_id: str | None = None
    amount_minor: int | None = None
    currency: str | None = None
    reference: str | None = None


@dataclass(frozen=True, slots=True)
class Answered:
    """A complete answer: the problem's code for an error, the echo for a success that can be read."""

    http_status: int
    code: str | None = None
    echo: Echo | None = None
    retry_after: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The words of one bank that settle a payment. A code that is not listed settles nothing."""

    # Refusals that the bank documents as made before anything is executed, as (HTTP status, code).
    declines: frozenset[tuple[int, str]]
    # What the bank says when a key comes back with other bytes. Ours are frozen, so this is never an ordinary
    # refusal.
    key_reused: frozenset[str]


def judge_payment(answer: NoAnswer | Answered, payment: Payment, vocabulary: Vocabulary) -> Outcome:
    """The verdict on one attempt to pay."""
    if isinstance(answer, NoAnswer):
        verdict = Verdict.UNKNOWN if answer.sent else Verdict.NOT_SENT
        return Outcome(verdict, http_status=answer.http_status, code="no-answer", detail=answer.error)
    status, code = answer.http_status, answer.code
    if 200 <= status < 300:
        return _judge_success(answer, payment)
    if code in vocabulary.key_reused:
        return Outcome(Verdict.CONFLICT, None, status, code, "the bank knows this key with other bytes")
    if (status, code) in vocabulary.declines:
        return Outcome(Verdict.REJECTED, None, status, code, "declined by the bank")
    if status in (401, 403):
        return Outcome(Verdict.REFUSED_CREDENTIALS, None, status, code, "the bank does not accept our key")
    if 300 <= status < 400:
        return Outcome(Verdict.CONFLICT, None, status, code, "the bank points elsewhere, which is never followed")
    # 409, 425, 429 and 503 are usually not executed, 500 often is not, and an undocumented 4xx may come from
    # anything between us and the bank. "Usually" is not evidence.
    return Outcome(Verdict.UNKNOWN, None, status, code, f"HTTP {status} proves nothing", answer.retry_after)


def _judge_success(answer: Answered, payment: Payment) -> Outcome:
    status, echo = answer.http_status, answer.echo
    if echo is None:
        return Outcome(Verdict.UNKNOWN, None, status, "answer-invalid", "success, but the answer cannot be read")
    found = echo.bank_transaction_id
    if differing := _differences(echo, payment):
        return Outcome(Verdict.CONFLICT, found, status, "echo-differs", f"the bank confirms another {differing}")
    return Outcome(Verdict.ACCEPTED, found, status)


def _differences(echo: Echo, payment: Payment) -> str:
    """The names of what the bank confirms differently; the values stay out of logs."""
    compared = {
        "source account": (echo.source_account_id, payment.source_account_id),
        "destination account": (echo.destination_account_id, payment.destination_account_id),
        "amount": (echo.amount_minor, payment.amount_minor),
        "currency": (echo.currency, payment.currency),
        "reference": (echo.reference, payment.bank_key),
    }
    return ", ".join(name for name, (said, ours) in compared.items() if said is not None and said != ours)


def judge_look_up(
    rows: Sequence[FetchedTransaction], refused: Sequence[Refused], payment: Payment, http_status: int
) -> Outcome:
    """The verdict on a complete listing of what the bank has under the payment's reference.

    ABSENT lets a payment be sent again, so it needs an answer to exactly the question that was asked: a bank
    that ignored the filter has said nothing about our payment.
    """
    if refused:
        return Outcome(
            Verdict.UNKNOWN, None, http_status, "answer-invalid", "a row cannot be read: " + refused[0].reason
        )
    if any((row.client_reference, row.account_id) != (payment.bank_key, payment.source_account_id) for row in rows):
        return Outcome(Verdict.UNKNOWN, None, http_status, "filter-ignored", "the bank lists what was not asked for")
    if not rows:
        return Outcome(Verdict.ABSENT, None, http_status)
    # A settled hold is one payment, not two, in the moment in which the bank shows both; and so is a row on
    # two pages.
    settled = {row.pending_transaction_id for row in rows}
    standing = {row for row in rows if row.transaction_id not in settled}
    if len(standing) != 1:
        return Outcome(Verdict.CONFLICT, None, http_status, "found-twice", f"{len(rows)} rows under one reference")
    return _judge_row(standing.pop(), payment, http_status)


def _judge_row(row: FetchedTransaction, payment: Payment, http_status: int) -> Outcome:
    echo = Echo(
        row.transaction_id,
        row.account_id,
        # The listing does say who was paid: nobody is not the one we meant.
        row.counterparty_account_id or "",
        -row.amount_minor,
        row.currency,
        row.client_reference,
    )
    if differing := _differences(echo, payment):
        detail = f"the bank has it with another {differing}"
        return Outcome(Verdict.CONFLICT, row.transaction_id, http_status, "echo-differs", detail)
    return Outcome(Verdict.ACCEPTED, row.transaction_id, http_status)
