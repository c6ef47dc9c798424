"""Reports: money in and out by period, and why past days changed."""

from datetime import UTC, date, datetime
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from readapi import examples, listings, models, moments, store
from readapi.answers import enveloped, page_keys
from readapi.exports import exported, form_asked, not_of_then
from readapi.filters import (
    CashFlowQuery,
    DiffQuery,
)
from readapi.routes.declared import (
    AGE,
    LIST_OF_ONE_AT,
    or_file,
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
    responses={
        200: or_file({"headers": AGE, **examples.answered(examples.CASH_FLOW)}),
        **LIST_OF_ONE_AT,
    },
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
    form = form_asked(request)
    if query.known_at is None:
        ask = partial(store.list_cash_flow, **asked)
        if form is not None:
            asked_for = {name: None if value is None else str(value) for name, value in asked.items()}
            return await exported(request, form, ask, listings.CASH_FLOW, asked_for)
        # It says what the view does not hold yet, and that may be any account's.
        return await enveloped(request, ask, of_all=True)
    if form is not None:
        raise not_of_then("known_at")
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
