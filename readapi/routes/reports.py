"""Reports: money in and out by period, and why past days changed."""

from datetime import UTC, date, datetime
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from readapi import examples, models, moments, store
from readapi.answers import enveloped, page_keys
from readapi.filters import (
    CashFlowQuery,
    DiffQuery,
)
from readapi.routes.declared import (
    AGE,
    LIST_OF_ONE_AT,
)

router = APIRouter()

# Days that a cash flow covers when it is not said: a quarter.
CASH_FLOW_DAYS = 90


def _days_before(day: date, days: int) -> date:
    return date.fromordinal(max(1, day.toordinal() - days))


@router.get(
    "/banking/cash-flow",
    tags=["reports"],
    operation_id="list_cash_flow",
    summary="Money in and out by period",
    response_model=models.CashFlows,
    responses={200: {"headers": AGE, **examples.answered(examples.CASH_FLOW)}, **LIST_OF_ONE_AT},
)
async def list_cash_flow(request: Request, query: Annotated[CashFlowQuery, Query()]) -> Response:
    """Posted money by account, currency and booking date; a quarter back from today unless days are given.

    Currencies are never added up. `view` says when the totals were computed.
    """
    after = page_keys(request, query.cursor, 3)
    today = (query.known_at or datetime.now(UTC)).date()
    last = query.last or max(today, query.first or date.min)
    asked: dict[str, Any] = {
        "account_id": query.account_id,
        "currency": query.currency,
        "first": query.first or _days_before(last, CASH_FLOW_DAYS),
        "last": last,
        "group": query.group,
        "after": after,
        "limit": query.limit,
    }
    if query.known_at is None:
        return await enveloped(request, partial(store.list_cash_flow, **asked))
    known = partial(moments.list_cash_flow, known_at=query.known_at, **asked)
    return await enveloped(request, known, settled=True)


@router.get(
    "/banking/diff",
    tags=["reports"],
    operation_id="list_differences",
    summary="Why past days changed",
    response_model=models.Diffs,
    responses={200: {"headers": AGE}, **LIST_OF_ONE_AT},
)
async def list_differences(request: Request, query: Annotated[DiffQuery, Query()]) -> Response:
    """Every transaction that was known otherwise at one moment than at another, with what kind of change it is.

    The summary ties: the change of each total is the sum of the differences' effects. Days are booking dates.
    """
    after = page_keys(request, query.cursor, 3)
    known = partial(
        moments.list_differences,
        known_from=query.known_from,
        known_to=query.known_to,
        account_id=query.account_id,
        first=query.first,
        last=query.last,
        after=after,
        limit=query.limit,
    )
    return await enveloped(request, known, settled=True)
