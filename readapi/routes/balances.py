"""The balances."""

from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from readapi import examples, explain, listings, models, moments, store
from readapi.answers import enveloped, page_keys
from readapi.exports import exported, form_asked, not_of_then
from readapi.filters import (
    BalancesOfAccountQuery,
    BalancesQuery,
    ExplainQuery,
)
from readapi.routes.declared import (
    AGE,
    LIST_AT,
    LIST_OF_ONE,
    LIST_OF_ONE_AT,
    AccountId,
    or_file,
)

router = APIRouter()


@router.get(
    "/banking/accounts/{account_id}/balances",
    tags=["balances"],
    operation_id="list_account_balances",
    summary="An account's balances, now and before",
    response_model=models.BalancesOfAccount,
    responses={200: {"headers": AGE}, **LIST_OF_ONE_AT},
)
async def list_account_balances(
    request: Request, account_id: AccountId, query: Annotated[BalancesOfAccountQuery, Query()]
) -> Response:
    """The balances as the bank states them, or stated them at a moment, and a page of those before, newest first."""
    before = page_keys(request, query.cursor, 2)
    asked: dict[str, Any] = {"before": before, "limit": query.limit}
    if query.known_at is None and query.as_of is None:
        return await enveloped(request, partial(store.list_balance_history, account_id=account_id, **asked))
    at: dict[str, Any] = {"known_at": query.known_at, "as_of": query.as_of}
    known = partial(moments.list_balance_history, account_id=account_id, **at, **asked)
    return await enveloped(request, known, settled=query.known_at is not None)


@router.get(
    "/banking/accounts/{account_id}/balance/explain",
    tags=["balances"],
    operation_id="explain_balance",
    summary="Why a balance is what it is",
    response_model=models.BalanceExplanations,
    responses={200: {"headers": AGE}, **LIST_OF_ONE},
)
async def explain_balance(request: Request, account_id: AccountId, query: Annotated[ExplainQuery, Query()]) -> Response:
    """A balance that the bank stated before, and every entry since with its id, make the balance that it states now.

    What does not tie is told as a difference, with the reason; beside it, what is pending and what is newer.
    """
    asking = partial(
        explain.explain_balance,
        account_id=account_id,
        currency=query.currency,
        first=query.first,
        before=page_keys(request, query.cursor, 2),
        limit=query.limit,
    )
    return await enveloped(request, asking)


@router.get(
    "/banking/balances",
    tags=["balances"],
    operation_id="list_balances",
    summary="All balances",
    response_model=models.Balances,
    responses={
        200: or_file({"headers": AGE, **examples.answered(examples.BALANCES)}),
        **LIST_AT,
    },
)
async def list_balances(request: Request, query: Annotated[BalancesQuery, Query()]) -> Response:
    """The latest balance of every account, or the one at a moment, by account and currency."""
    after = page_keys(request, query.cursor, 2)
    asked: dict[str, Any] = {"currency": query.currency, "after": after, "limit": query.limit}
    form = form_asked(request)
    if query.known_at is None and query.as_of is None:
        ask = partial(store.list_balances, **asked)
        if form is not None:
            return await exported(request, form, ask, listings.BALANCES, {"currency": query.currency})
        return await enveloped(request, ask)
    if form is not None:
        raise not_of_then("known_at" if query.known_at else "as_of")
    known = partial(moments.list_balances, known_at=query.known_at, as_of=query.as_of, **asked)
    return await enveloped(request, known, settled=query.known_at is not None)
