"""The accounts."""

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from readapi import models, store
from readapi.answers import enveloped, page_keys
from readapi.filters import (
    AccountsQuery,
    Nothing,
)
from readapi.routes.declared import (
    AGE,
    LIST,
    ONE,
    AccountId,
)

router = APIRouter()


@router.get(
    "/banking/accounts",
    tags=["accounts"],
    operation_id="list_accounts",
    summary="Accounts with their balances",
    response_model=models.Accounts,
    responses={200: {"headers": AGE}, **LIST},
)
async def list_accounts(request: Request, query: Annotated[AccountsQuery, Query()]) -> Response:
    """All accounts by id, each with the balance in its own currency, or null where the bank states none."""
    after = page_keys(request, query.cursor, 1)
    return await enveloped(
        request,
        partial(store.list_accounts, status=query.status, currency=query.currency, after=after, limit=query.limit),
    )


@router.get(
    "/banking/accounts/{account_id}",
    tags=["accounts"],
    operation_id="get_account",
    summary="One account",
    response_model=models.OneAccount,
    responses={200: {"headers": AGE}, **ONE},
)
async def get_account(request: Request, account_id: AccountId, _: Annotated[Nothing, Query()]) -> Response:
    """One account with the balance in its own currency."""
    return await enveloped(request, partial(store.get_account, account_id=account_id))
