"""The accounts."""

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from readapi import listings, models, store
from readapi.answers import enveloped, page_keys
from readapi.exports import exported, form_asked
from readapi.filters import (
    AccountsQuery,
    Aged,
)
from readapi.routes.declared import (
    AGE,
    LIST,
    ONE,
    AccountId,
    or_file,
)

router = APIRouter()


@router.get(
    "/banking/accounts",
    tags=["accounts"],
    operation_id="list_accounts",
    summary="Accounts with their balances",
    response_model=models.Accounts,
    responses={200: or_file({"headers": AGE}), **LIST},
)
async def list_accounts(request: Request, query: Annotated[AccountsQuery, Query()]) -> Response:
    """All accounts by id, each with the balance in its own currency, or null where the bank states none."""
    after = page_keys(request, query.cursor, 1)
    ask = partial(store.list_accounts, status=query.status, currency=query.currency, after=after, limit=query.limit)
    if (form := form_asked(request)) is not None:
        filters = {"status": query.status, "currency": query.currency}
        return await exported(request, form, ask, listings.ACCOUNTS, filters)
    return await enveloped(request, ask)


@router.get(
    "/banking/accounts/{account_id}",
    tags=["accounts"],
    operation_id="get_account",
    summary="One account",
    response_model=models.OneAccount,
    responses={200: {"headers": AGE}, **ONE},
)
async def get_account(request: Request, account_id: AccountId, _: Annotated[Aged, Query()]) -> Response:
    """One account with the balance in its own currency."""
    return await enveloped(request, partial(store.get_account, account_id=account_id))
