"""The transactions, and what happened lately."""

from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from readapi import examples, models, moments, store
from readapi.answers import bare, enveloped, page_keys
from readapi.filters import (
    ActivityQuery,
    Nothing,
    TransactionsQuery,
)
from readapi.routes.declared import (
    ACTIVITY_HEADERS,
    AGE,
    LIST_OF_ONE_AT,
    ONE,
    AccountId,
    TransactionId,
)

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
    responses={200: {"headers": AGE, **examples.answered(examples.TRANSACTIONS)}, **LIST_OF_ONE_AT},
)
async def list_transactions(
    request: Request, account_id: AccountId, query: Annotated[TransactionsQuery, Query()]
) -> Response:
    """The transactions that the bank shows now, or that we knew at a moment, newest first. All filters must hold."""
    before = page_keys(request, query.cursor, 2)
    asked: dict[str, Any] = {"filters": query.filters(), "before": before, "limit": query.limit}
    if query.known_at is None:
        return await enveloped(request, partial(store.list_transactions, account_id=account_id, **asked))
    known = partial(moments.list_transactions, account_id=account_id, known_at=query.known_at, **asked)
    return await enveloped(request, known, settled=True)


@router.get(
    "/banking/accounts/{account_id}/transactions/{transaction_id}",
    tags=["transactions"],
    operation_id="get_transaction",
    summary="One transaction and its versions",
    response_model=models.OneTransaction,
    responses={200: {"headers": AGE}, **ONE},
)
async def get_transaction(
    request: Request, account_id: AccountId, transaction_id: TransactionId, _: Annotated[Nothing, Query()]
) -> Response:
    """A transaction as the bank shows it now, and what we believed of it before; also one that is gone."""
    return await enveloped(
        request,
        partial(store.get_transaction, account_id=account_id, transaction_id=transaction_id),
        kind="transaction",
    )
