"""How the mirror is kept."""

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from readapi import models, store
from readapi.answers import enveloped, page_keys
from readapi.filters import (
    FeedsQuery,
)
from readapi.routes.declared import (
    AGE,
    LIST_OF_ONE,
)

router = APIRouter()


@router.get(
    "/banking/sync",
    tags=["health"],
    operation_id="list_feeds",
    summary="How the mirror is kept",
    response_model=models.Sync,
    responses={200: {"headers": AGE}, **LIST_OF_ONE},
)
async def list_feeds(request: Request, query: Annotated[FeedsQuery, Query()]) -> Response:
    """Every feed of every account with its verdict and, where it is not fresh, why and what to do."""
    after = page_keys(request, query.cursor, 2)
    return await enveloped(
        request,
        partial(
            store.list_feeds,
            account_id=query.account_id,
            feed=query.feed,
            verdict=query.verdict,
            after=after,
            limit=query.limit,
        ),
        # The verdicts are counted over all feeds, whichever are listed.
        of_all=True,
    )
