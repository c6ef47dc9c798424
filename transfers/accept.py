"""Accept transfers: check them against the mirror, freeze what will be sent, record, and only then answer."""

import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from banks.ports import BankPayer, Payment
from kernel import errors
from kernel.database import Pool
from transfers import store
from transfers.requests import TransferRequest, differing_fields
from transfers.store import Account, Bank, NewTransfer


@dataclass(frozen=True, slots=True)
class Asked:
    """A request of somebody, under a key of theirs or none."""

    principal: str
    client_key: str | None
    request: TransferRequest
    # The only accounts that they may move money from; None: all.
    accounts: Sequence[str] | None = None


@dataclass(frozen=True, slots=True)
class Accepted:
    """The transfer that answers a request; `replayed` when the key had it already."""

    transfer_id: UUID
    replayed: bool


async def accept(pool: Pool, payer: BankPayer, bank: Bank, asked: Sequence[Asked]) -> list[Accepted | errors.Problem]:
    """Record requests together, in one transaction; for each its transfer, or why there is none.

    A key that is known is answered with its transfer whatever the mirror says now, and never with a second
    one. Whether it is known is decided by the unique constraint and nothing else.
    """
    named = {name for one in asked for name in (one.request.account_id, one.request.destination_account_id)}
    accounts = await store.select_accounts(pool, named)
    drafts = [_draft(one, accounts, payer, bank) for one in asked]
    new = [draft for draft in drafts if isinstance(draft, NewTransfer)]
    inserted = await store.insert_transfers(pool, new) if new else set()
    doubtful = [
        (one.principal, one.client_key)
        for one, draft in zip(asked, drafts, strict=True)
        if one.client_key is not None and not _is_in(draft, inserted)
    ]
    known = await store.find_transfers(pool, doubtful) if doubtful else {}
    return [_conclude(one, draft, inserted, known) for one, draft in zip(asked, drafts, strict=True)]


def _draft(asked: Asked, accounts: Mapping[str, Account], payer: BankPayer, bank: Bank) -> NewTransfer | errors.Problem:
    request = asked.request
    try:
        source = check(request, accounts, bank.connection_id, asked.accounts)
    except errors.ValidationFailed as problem:
        return problem
    transfer_id = uuid7()
    payment = Payment(
        source_account_id=request.account_id,
        destination_account_id=request.destination_account_id,
        amount_minor=request.amount_cents,
        currency=source.currency,
        bank_key=f"tr_{transfer_id.hex}",
    )
    return NewTransfer(
        transfer_id=transfer_id,
        principal=asked.principal,
        client_key=asked.client_key,
        fingerprint=request.fingerprint(source.currency),
        account_id=request.account_id,
        destination_account_id=request.destination_account_id,
        amount_minor=request.amount_cents,
        currency=source.currency,
        reference=request.reference,
        memo=request.memo,
        connection_id=bank.connection_id,
        bank_id=bank.bank_id,
        bank_key=payment.bank_key,
        request_bytes=payer.encode(payment),
    )


def check(
    request: TransferRequest,
    accounts: Mapping[str, Account],
    connection_id: str,
    sources: Sequence[str] | None = None,
) -> Account:
    """The source account, if the mirror knows both accounts well enough to move money. Raises
    ValidationFailed.

    What the mirror does not show is refused: an account that we cannot see is one where we could not see the
    money go. An account that is none of `sources` is to the caller one that does not exist.
    """
    if sources is not None and request.account_id not in sources:
        accounts = {name: account for name, account in accounts.items() if name != request.account_id}
    for pointer, name in (
        ("/account_id", request.account_id),
        ("/destination_account_id", request.destination_account_id),
    ):
        account = accounts.get(name)
        if account is None:
            raise errors.ValidationFailed.at(pointer, "is not an account that we mirror")
        if account.status != "open":
            raise errors.ValidationFailed.at(pointer, "is closed")
        if account.connection_id != connection_id:
            raise errors.ValidationFailed.at(pointer, "is at a bank that this process does not pay through")
    source, destination = accounts[request.account_id], accounts[request.destination_account_id]
    if request.currency not in (None, source.currency):
        raise errors.ValidationFailed.at("/currency", f"the account is in {source.currency}")
    if destination.currency != source.currency:
        raise errors.ValidationFailed.at("/destination_account_id", "is in another currency, and nothing is converted")
    return source


def _is_in(draft: NewTransfer | errors.Problem, inserted: set[UUID]) -> bool:
    return isinstance(draft, NewTransfer) and draft.transfer_id in inserted


def _conclude(
    asked: Asked,
    draft: NewTransfer | errors.Problem,
    inserted: set[UUID],
    known: Mapping[tuple[str, str], Mapping[str, Any]],
) -> Accepted | errors.Problem:
    if isinstance(draft, NewTransfer) and draft.transfer_id in inserted:
        return Accepted(draft.transfer_id, replayed=False)
    stored = known.get((asked.principal, asked.client_key)) if asked.client_key is not None else None
    if stored is not None:
        if asked.request.fingerprint(stored["currency"]) == stored["fingerprint"]:
            return Accepted(stored["transfer_id"], replayed=True)
        fields = differing_fields(asked.request, stored)
        return errors.IdempotencyKeyReused(f"it differs in {', '.join(fields)}", differs=fields)
    # Refused by the mirror, or by a constraint that only another request under way can have held.
    return draft if isinstance(draft, errors.Problem) else errors.RequestInProgress()


def uuid7() -> UUID:
    """A UUID whose first 48 bits are the time in milliseconds: rows of one time lie together in the index
    (RFC 9562).
    """
    milliseconds = time.time_ns() // 1_000_000
    value = (milliseconds & (1 << 48) - 1) << 80 | secrets.randbits(80)
    value = value & ~(0xF << 76) | 7 << 76
    value = value & ~(0b11 << 62) | 0b10 << 62
    return UUID(int=value)
