"""What happened in some days, in few words."""

from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from readapi import models, summary
from readapi.answers import enveloped
from readapi.filters import ActivitySummaryQuery, AllActivitySummaryQuery
from readapi.routes.declared import AGE, ONE, AccountId

router = APIRouter()

# Days that are summed up when it is not said.
SUMMARY_DAYS = 30


@router.get(
    "/banking/accounts/{account_id}/activity-summary",
    tags=["transactions"],
    operation_id="get_activity_summary",
    summary="What happened in an account, summed up",
    response_model=models.ActivitySummaries,
    responses={200: {"headers": AGE}, **ONE},
)
async def get_activity_summary(
    request: Request, account_id: AccountId, query: Annotated[ActivitySummaryQuery, Query()]
) -> Response:
    """Money in and out by status, type and counterparty, and the largest entries; of 30 days unless days are given."""
    return await _summed_up(request, account_id, query)


@router.get(
    "/banking/activity-summary",
    tags=["transactions"],
    operation_id="get_all_activity_summary",
    summary="What happened in all accounts, summed up",
    response_model=models.ActivitySummaries,
    responses={200: {"headers": AGE}, **ONE},
)
async def get_all_activity_summary(request: Request, query: Annotated[AllActivitySummaryQuery, Query()]) -> Response:
    """The same over all accounts that you may see. Currencies are never added up."""
    return await _summed_up(request, query.account_id, query)


async def _summed_up(request: Request, account_id: str | None, query: ActivitySummaryQuery) -> Response:
    last = query.last or max(datetime.now(UTC).date(), query.first or date.min)
    first = query.first or max(last, date.min + timedelta(days=SUMMARY_DAYS)) - timedelta(days=SUMMARY_DAYS)
    asking = partial(
        summary.get_activity_summary,
        account_id=account_id,
        currency=query.currency,
        first=first,
        last=last,
        top=query.top,
    )
    return await enveloped(request, asking)
