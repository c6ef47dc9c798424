"""For load balancers and Prometheus: is the process up, can it answer, how is it doing."""

import psycopg
from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST

from kernel import errors
from kernel.caller import OPERATOR
from readapi import models, store
from readapi.documentation import problem_responses
from readapi.reader import Reader

router = APIRouter(tags=["health"])


def _reader(request: Request) -> Reader:
    # How many feeds have which verdict is the process's own health, and names no account.
    return Reader(request.app.state.pool, OPERATOR)


@router.get("/health", operation_id="get_health", summary="Is the process up?", response_model=models.Health)
async def get_health() -> models.Health:
    """Answers as long as the process runs, whatever the database does."""
    return models.Health(status="up")


@router.get(
    "/ready",
    operation_id="get_ready",
    summary="Can it answer?",
    response_model=models.Ready,
    responses=problem_responses(errors.DatabaseUnavailable, errors.QueryTimeout, errors.Overloaded),
)
async def get_ready(request: Request) -> models.Ready:
    """Answers when the database does, with the read model that this version asks for."""
    try:
        feeds = await store.count_feeds(_reader(request))
    except psycopg.ProgrammingError as error:
        raise errors.DatabaseUnavailable(
            "the database has not the schema that this version reads; run `bankmirror migrate`"
        ) from error
    verdicts: dict[str, int] = {}
    for feed in feeds:
        verdicts[feed.verdict] = verdicts.get(feed.verdict, 0) + feed.accounts
    return models.Ready(status="ready", verdicts=verdicts)


@router.get(
    "/metrics",
    operation_id="get_metrics",
    summary="Prometheus metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {}}, "description": "Prometheus' text format."}},
)
async def get_metrics(request: Request) -> Response:
    """Requests, the connection pool, the age of the feeds. Answers without the database too, and says so."""
    try:
        feeds = await store.count_feeds(_reader(request))
    except (errors.Problem, psycopg.Error):
        feeds = None
    body = request.app.state.metrics.render(request.app.state.pool, feeds)
    return Response(body, headers={"Content-Type": CONTENT_TYPE_LATEST})
