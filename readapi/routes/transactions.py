"""The transactions, and what happened lately."""

from collections.abc import Collection, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from kernel.errors import Forbidden
from readapi import examples, listings, models, moments, store, transactions
from readapi.answers import bare, enveloped, page_keys
from readapi.exports import exported, form_asked
from readapi.filters import (
    ActivityQuery,
    Aged,
    AllTransactionsQuery,
    TransactionsQuery,
)
from readapi.patience import Ask
from readapi.reader import reader_of
from readapi.routes.declared import (
    ACTIVITY_HEADERS,
    AGE,
    LIST_OF_ONE_AT,
    MEMO,
    ONE,
    AccountId,
    TransactionId,
    or_file,
)
from readapi.transactions import DAYS_READ, MEMO_FILTERS, reads_all

router = APIRouter()


@router.get(
    "/banking/accounts/{account_id}/activity",
    tags=["transactions"],
    operation_id="list_activity",
    summary="What happened lately, our own transfers included",
    response_model=list[models.Activity],
    responses={200: {"headers": ACTIVITY_HEADERS, **examples.answered(examples.ACTIVITY)}, **ONE},
)
async def list_activity(request: Request, account_id: AccountId, query: Annotated[ActivityQuery, Query()]) -> Response:
    """The newest as a bare list: the bank's transactions, and transfers that it does not show yet, each once.

    Freshness is in the headers here.
    """
    return await bare(request, partial(store.list_activity, account_id=account_id, limit=query.limit))


@router.get(
    "/banking/accounts/{account_id}/transactions",
    tags=["transactions"],
    operation_id="list_transactions",
    summary="Transactions by filters",
    response_model=models.Transactions,
    responses={
        200: or_file({"headers": AGE, **examples.answered(examples.TRANSACTIONS)}),
        **LIST_OF_ONE_AT,
        **MEMO,
    },
)
async def list_transactions(
    request: Request, account_id: AccountId, query: Annotated[TransactionsQuery, Query()]
) -> Response:
    """The transactions that the bank shows now, or that we knew at a moment, newest first. All filters must hold."""
    return await _page(request, account_id, query, query.filters())


@router.get(
    "/banking/transactions",
    tags=["transactions"],
    operation_id="list_all_transactions",
    summary="Transactions of all accounts by filters",
    response_model=models.Transactions,
    responses={200: or_file({"headers": AGE}), **LIST_OF_ONE_AT, **MEMO},
)
async def list_all_transactions(request: Request, query: Annotated[AllTransactionsQuery, Query()]) -> Response:
    """The transactions of all accounts that you may see, newest first. All filters must hold.

    What has to look at every row (`text`, `counterparty`, and any `sort` but by `created_at`) looks 90 days back unless
    `from`, `to` or `account_id` is given.
    """
    filters = query.filters()
    if (
        query.account_id is None
        and not {"first", "last"} & filters.keys()
        and reads_all(frozenset(filters), query.sort)
    ):
        today = (query.known_at or datetime.now(UTC)).date()
        filters["first"] = (today - timedelta(days=DAYS_READ)).isoformat()
    return await _page(request, query.account_id, query, filters)


async def _page(
    request: Request, account_id: str | None, query: TransactionsQuery, filters: Mapping[str, str]
) -> Response:
    if asked := MEMO_FILTERS & filters.keys():
        _require_memo(request, asked)
    asking: dict[str, Any] = {
        "account_id": account_id,
        "filters": filters,
        "sort": query.sort,
        "after": page_keys(request, query.cursor, 3),
        "limit": query.limit,
    }
    ask: Ask = partial(transactions.list_transactions, **asking)
    if query.known_at is not None:
        ask = partial(moments.list_transactions, known_at=query.known_at, **asking)
    if (form := form_asked(request)) is not None:
        known_at = None if query.known_at is None else query.known_at.isoformat()
        listing = listings.transactions(
            frozenset(filters),
            query.sort,
            everybody=account_id is None,
            known=known_at is not None,
            limited="limit" in query.model_fields_set,
        )
        parameters = {"account_id": account_id, "known_at": known_at, **filters}
        return await exported(request, form, ask, listing, parameters)
    return await enveloped(request, ask, settled=query.known_at is not None)


@router.get(
    "/banking/accounts/{account_id}/transactions/{transaction_id}",
    tags=["transactions"],
    operation_id="get_transaction",
    summary="One transaction and its versions",
    response_model=models.OneTransaction,
    responses={200: {"headers": AGE}, **ONE},
)
async def get_transaction(
    request: Request, account_id: AccountId, transaction_id: TransactionId, _: Annotated[Aged, Query()]
) -> Response:
    """A transaction as the bank shows it now, and what we believed of it before; also one that is gone."""
    return await enveloped(
        request,
        partial(store.get_transaction, account_id=account_id, transaction_id=transaction_id),
        kind="transaction",
    )


def _require_memo(request: Request, asked: Collection[str]) -> None:
    """A search in a text tells the text, a letter at a time. Raises Forbidden."""
    if not reader_of(request).caller.may("read:memo"):
        raise Forbidden(f"{', '.join(sorted(asked))}: the token has not the scope read:memo", needs="read:memo")
