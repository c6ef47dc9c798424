"""What clients are told about a transfer."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, assert_never
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer
from starlette.responses import Response

from kernel import errors
from kernel.money import Money
from transfers.states import State
from transfers.store import Transfer

# As PostgreSQL writes times into the read API's answers, so that both can be compared as text.
Time = Annotated[
    datetime,
    PlainSerializer(lambda time: time.astimezone(UTC).isoformat(), return_type=str, when_used="json-unless-none"),
]


EXAMPLE: dict[str, Any] = {
    "transfer_id": "01993b6e-2f5c-7c1e-9d2a-6f0c5f1f9a11",
    "transaction_id": "txn_5b1c0a",
    "status": "completed",
    "outcome_certain": True,
    "logged": True,
    "state": "accepted",
    "account_id": "acct_123",
    "destination_account_id": "acct_456",
    "amount_cents": 2500,
    "amount_minor": 2500,
    "amount": "25.00",
    "currency": "USD",
    "reference": None,
    "code": None,
    "created_at": "2026-01-15T09:30:00+00:00",
    "updated_at": "2026-01-15T09:30:01+00:00",
}


class TransferAnswer(BaseModel):
    """A transfer as it stands now."""

    transfer_id: UUID
    transaction_id: str | None = Field(description="The bank's id of the payment; null until the bank has accepted it.")
    status: Literal["processing", "completed", "rejected", "returned", "canceled"] = Field(
        description="`completed`: the bank has taken the payment. `processing`: not known yet; ask again, "
        "and never send it again under another key."
    )
    outcome_certain: bool = Field(description="False while nobody can say whether the money moves.")
    logged: bool = Field(description="Whether the request and this state are committed to the audit trail.")
    state: State = Field(description="The exact state; `settled` once the payment is seen posted in the mirror.")
    account_id: str
    destination_account_id: str
    amount_cents: int = Field(description="The same as amount_minor, whatever the currency.")
    amount_minor: int = Field(description="Minor units of the currency.")
    amount: str = Field(description="The same in major units.")
    currency: str
    reference: str | None
    code: str | None = Field(description="Why it is where it is, e.g. the bank's code for declining it.")
    created_at: Time
    updated_at: Time

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE]})


class Attempt(BaseModel):
    """One contact with the bank about a transfer."""

    attempt: int
    kind: Literal["post", "lookup"]
    started_at: Time = Field(description="When it was committed, which is before the bank was called.")
    finished_at: Time | None
    verdict: str | None = Field(description="What the answer proves; null while under way, or when its process died.")
    http_status: int | None


class AuditEvent(BaseModel):
    """One entry of the audit chain."""

    seq: int = Field(description="Its place in the chain, which has no gaps.")
    at: Time
    actor: str
    action: str
    payload: dict[str, Any]


class TransferHistory(TransferAnswer):
    """A transfer with everything that happened to it."""

    memo: str | None
    attempts: list[Attempt]
    events: list[AuditEvent]


# As read.transfers has it.
_UNCERTAIN = frozenset({State.SUBMITTING, State.UNKNOWN, State.MANUAL_REVIEW})


def describe(transfer: Transfer) -> TransferAnswer:
    """The transfer as its answer."""
    return TransferAnswer.model_validate(_described(transfer))


def describe_history(
    transfer: Transfer, attempts: Sequence[Mapping[str, Any]], events: Sequence[Mapping[str, Any]]
) -> TransferHistory:
    """The transfer with its attempts and its audit events."""
    return TransferHistory.model_validate(
        {**_described(transfer), "memo": transfer.memo, "attempts": attempts, "events": events}
    )


def _described(transfer: Transfer) -> dict[str, Any]:
    status = _status(transfer.state)
    return {
        "transfer_id": transfer.transfer_id,
        "transaction_id": transfer.bank_transaction_id,
        "status": status,
        "outcome_certain": transfer.state not in _UNCERTAIN,
        "logged": transfer.logged,
        "state": transfer.state,
        "account_id": transfer.account_id,
        "destination_account_id": transfer.destination_account_id,
        "amount_cents": transfer.amount_minor,
        "amount_minor": transfer.amount_minor,
        "amount": Money(transfer.amount_minor, transfer.currency).amount,
        "currency": transfer.currency,
        "reference": transfer.reference,
        "code": transfer.outcome_code,
        "created_at": transfer.created_at,
        "updated_at": transfer.updated_at,
    }


def _status(state: State) -> str:
    match state:
        case State.ACCEPTED | State.SETTLED:
            return "completed"
        case State.REJECTED:
            return "rejected"
        case State.RETURNED:
            return "returned"
        case State.CANCELED:
            return "canceled"
        case State.PENDING_APPROVAL | State.READY | State.SUBMITTING | State.UNKNOWN | State.MANUAL_REVIEW:
            return "processing"
        case _:
            assert_never(state)


def answer_request(transfer: Transfer, *, replayed: bool) -> Response:
    """The answer to a transfer request: 200 when the bank has it, 202 while that is not known. Raises
    TransferRejected.
    """
    described = describe(transfer)
    headers = {"Location": f"/banking/transfers/{transfer.transfer_id}"}
    if replayed:
        headers["Idempotent-Replayed"] = "true"
    match described.status:
        case "completed" | "returned" | "canceled":
            status_code = 200
        case "processing":
            status_code = 202
            headers["Retry-After"] = "2"
        case "rejected":
            raise errors.TransferRejected(
                "the bank declined it; to try again, send a new request under a new key",
                headers=headers,
                code=transfer.outcome_code,
                transfer_id=str(transfer.transfer_id),
                state=str(transfer.state),
                logged=transfer.logged,
            )
        case _:
            assert_never(described.status)
    return Response(described.model_dump_json(), status_code, headers, "application/json")
