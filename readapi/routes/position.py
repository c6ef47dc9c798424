"""What there is to spend."""

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from readapi import models, position
from readapi.answers import enveloped, page_keys
from readapi.filters import CanPayQuery, CashPositionQuery
from readapi.routes.declared import AGE, LIST, ONE

router = APIRouter()


@router.get(
    "/banking/cash-position",
    tags=["position"],
    operation_id="list_cash_position",
    summary="What there is to spend, by currency",
    response_model=models.CashPositions,
    responses={200: {"headers": AGE}, **LIST},
)
async def list_cash_position(request: Request, query: Annotated[CashPositionQuery, Query()]) -> Response:
    """By currency, over all accounts that you may see: booked, available, pending, committed and spendable.

    Currencies are never converted or added up. Sums leave out the accounts whose figures are unknown and count them:
    look at `accounts_unknown` and `accounts_available_unknown` before you rely on one. The accounts are a page, the
    sums are of all pages. It is told of now only, since what was committed is not kept for the past.
    """
    after = page_keys(request, query.cursor, 2)
    asking = partial(
        position.list_cash_position, currency=query.currency, status=query.status, after=after, limit=query.limit
    )
    return await enveloped(request, asking)


@router.get(
    "/banking/can-pay",
    tags=["position"],
    operation_id="get_can_pay",
    summary="Whether an amount can be paid now",
    response_model=models.CanPayAnswer,
    responses={200: {"headers": AGE}, **ONE},
)
async def get_can_pay(request: Request, query: Annotated[CanPayQuery, Query()]) -> Response:
    """`yes`, `no` or `unknown`, with the arithmetic, what it rests on, and what would change it.

    Nothing is reserved by asking. Amounts are never converted: another currency than the balance's is `unknown`.
    """
    return await enveloped(request, partial(position.get_can_pay, account_id=query.account_id, money=query.money()))
