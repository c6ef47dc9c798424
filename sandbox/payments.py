"""Payments within this bank: read strictly, decide purely, book both legs, answer once per key."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal, NoReturn, TypeVar

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, StrictInt, StringConstraints, ValidationError

from sandbox import problems, store
from sandbox.bank import bank_of
from sandbox.entries import Account, Book
from sandbox.schedule import own_transfer
from sandbox.store import Connection, Pool

router = APIRouter()

# Far above any payment and far below what would overflow a balance.
_AMOUNT_MAX_CENTS: Final = 10**15
_BODY_MAX_BYTES: Final = 64 * 1024
_KEY: Final = re.compile(r"[\x21-\x7e]{1,255}")

# Printable text: no control character ever reaches the books. Lone surrogates are refused by pydantic.
_Id = Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=r"^[^\x00-\x20\x7f]+$")]
_Reference = Annotated[str, StringConstraints(min_length=1, max_length=140, pattern=r"^[^\x00-\x1f\x7f]+$")]

_Model = TypeVar("_Model", bound=BaseModel)


class Order(BaseModel):
    """The body of a payment."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    source_account_id: _Id
    destination_account_id: _Id
    amount_cents: StrictInt
    type: Literal["transfer"]
    currency: Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")] | None = None
    client_reference: _Reference | None = None


@dataclass(frozen=True)
class Answer:
    """What the bank says, and whether it said so before."""

    status: int
    body: str
    replayed: bool
    account_ids: frozenset[str] = frozenset()


@router.post("/transactions")
async def create_transaction(request: Request) -> Response:
    """Move money between two accounts of this bank: 201, or 200 when the key was answered before."""
    bank = bank_of(request)
    key = read_key(request.headers.getlist("idempotency-key"))
    order = await read_body(request, Order)
    answer = await pay(bank.pool, key, order, retention_seconds=bank.settings.idempotency_retention_seconds)
    bank.changed(set(answer.account_ids))
    media_type = "application/json" if answer.status < 400 else "application/problem+json"
    headers = {"Idempotent-Replayed": "true"} if answer.replayed else None
    return Response(answer.body, answer.status, headers, media_type)


def read_key(values: list[str]) -> str:
    """The idempotency key of a request, sent exactly once."""
    if not values:
        raise problems.IdempotencyKeyMissing
    if len(values) != 1 or not _KEY.fullmatch(values[0]):
        raise problems.IdempotencyKeyInvalid
    return values[0]


async def read_body(request: Request, model: type[_Model]) -> _Model:
    """A JSON body, read strictly: bounded, UTF-8, no duplicate keys, no NaN, no unknown fields."""
    media_type = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise problems.UnsupportedMediaType
    raw = bytearray()
    async for chunk in request.stream():
        raw += chunk
        if len(raw) > _BODY_MAX_BYTES:
            raise problems.PayloadTooLarge(f"At most {_BODY_MAX_BYTES} bytes.")
    try:
        parsed = json.loads(raw.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_refuse)
    except (ValueError, RecursionError):
        raise problems.MalformedRequest("The body is not JSON in UTF-8 with unique keys.") from None
    try:
        return model.model_validate(parsed)
    except ValidationError as error:
        raise problems.ValidationFailed(errors=pointers(error.errors())) from None


def pointers(errors: list[Any]) -> list[dict[str, str]]:
    """What is wrong and where, without repeating what was sent."""
    return [{"pointer": "/" + "/".join(map(str, e["loc"])), "message": e["msg"]} for e in errors]


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({name for name, _ in pairs}) != len(pairs):
        raise ValueError("duplicate key")
    return dict(pairs)


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def decide(order: Order, accounts: Mapping[str, Account]) -> problems.Declined | None:
    """Why the bank would not make a payment, or None. What costs nothing to know is checked first."""
    if not 0 < order.amount_cents < _AMOUNT_MAX_CENTS:
        return problems.AmountInvalid()
    if order.source_account_id == order.destination_account_id:
        return problems.SameAccount()
    source, destination = accounts.get(order.source_account_id), accounts.get(order.destination_account_id)
    if source is None or destination is None:
        return problems.AccountNotFound(pointer=f"/{'source' if source is None else 'destination'}_account_id")
    if "closed" in (source.status, destination.status):
        return problems.AccountClosed()
    if not source.currency == destination.currency == (order.currency or source.currency):
        return problems.CurrencyMismatch()
    if source.available_cents < order.amount_cents:
        return problems.InsufficientFunds()
    return None


async def pay(pool: Pool, key: str, order: Order, *, retention_seconds: int) -> Answer:
    """Make a payment once per key: one transaction books it and saves the answer."""
    fingerprint = hashlib.sha256(order.model_dump_json().encode()).hexdigest()
    async with pool.connection() as conn, conn.transaction():
        # The lock is a statement of its own: the next one then sees what its former holder committed.
        if not (await store.fetch_row(conn, "key_try_lock", key=key))["locked"]:
            raise problems.RequestInProgress
        kept = await store.find_answer(conn, key, retention_seconds)
        if kept is not None:
            if kept.fingerprint != fingerprint:
                raise problems.IdempotencyKeyReused
            return Answer(200 if kept.status == 201 else kept.status, kept.body, replayed=True)
        answer = await _book(conn, order)
        await store.run(conn, "key_save", key=key, fingerprint=fingerprint, status=answer.status, body=answer.body)
        return answer


async def _book(conn: Connection, order: Order) -> Answer:
    ledger = await store.lock_ledger(conn)
    accounts = await store.lock_accounts(conn, [order.source_account_id, order.destination_account_id])
    declined = decide(order, accounts)
    if declined is not None:
        return Answer(declined.status, problems.body(declined), replayed=False)
    source, destination = accounts[order.source_account_id], accounts[order.destination_account_id]
    legs = own_transfer(
        source.account_id, source.name, destination.account_id, destination.name, order.amount_cents,
        ledger.bank_time, "Transfer", order.client_reference,
    )  # fmt: skip
    await store.apply(conn, ledger, [Book(leg) for leg in legs], bank_time=ledger.bank_time)
    body = await store.get_born(conn, ledger.head + 1)
    return Answer(201, body, replayed=False, account_ids=frozenset(accounts))
