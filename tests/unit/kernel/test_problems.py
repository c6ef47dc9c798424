"""Errors leave as RFC 9457 documents, and never with anything that is not theirs to tell."""

from collections.abc import AsyncIterator

import httpx
import psycopg
import pytest
from fastapi import FastAPI
from psycopg_pool import PoolTimeout, TooManyRequests
from pydantic import BaseModel

from kernel import errors
from kernel.database import translate_error
from kernel.problems import PROBLEM_TYPE, install_problem_handlers


class Body(BaseModel):
    amount_cents: int


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    """An app whose routes fail in every way."""
    app = FastAPI()
    install_problem_handlers(app)

    @app.get("/boom")
    async def boom() -> None:
        raise RuntimeError("SELECT secret FROM table at /srv/path")

    @app.get("/down")
    async def down() -> None:
        raise psycopg.OperationalError("server closed the connection; host=10.0.0.5 password=hunter2")

    @app.get("/conflict")
    async def conflict() -> None:
        raise errors.StateConflict("too late", state="submitting")

    @app.post("/body")
    async def body(value: Body) -> None: ...

    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        yield client


@pytest.mark.parametrize(
    ("method", "path", "content", "status", "slug"),
    [
        ("GET", "/boom", None, 500, "internal"),
        ("GET", "/down", None, 503, "database-unavailable"),
        ("GET", "/conflict", None, 409, "state-conflict"),
        ("GET", "/nowhere", None, 404, "not-found"),
        ("DELETE", "/conflict", None, 405, "method-not-allowed"),
        ("POST", "/body", b'{"amount_cents": "secret-iban"}', 422, "validation-failed"),
        ("POST", "/body", b'{"amount_cents": ', 400, "malformed-body"),
    ],
)
async def test_every_error_is_a_problem_document(
    client: httpx.AsyncClient, method: str, path: str, content: bytes | None, status: int, slug: str
) -> None:
    """Same shape for all, a listed type, and neither the query, the path, the password nor the input in it."""
    response = await client.request(method, path, content=content, headers={"Content-Type": "application/json"})
    document = response.json()

    assert (response.status_code, response.headers["content-type"]) == (status, PROBLEM_TYPE)
    assert document["type"] == f"/problems/{slug}"
    assert {"title", "status", "detail", "instance", "retryable"} <= document.keys()
    assert document["retryable"] == ("retry-after" in response.headers)
    for leak in ("SELECT", "/srv", "hunter2", "10.0.0.5", "secret-iban"):
        assert leak not in response.text


async def test_a_validation_error_points_at_the_value(client: httpx.AsyncClient) -> None:
    """The pointer names the member of the body."""
    response = await client.post("/body", json={"amount_cents": "x"})

    assert [error["pointer"] for error in response.json()["errors"]] == ["/amount_cents"]


async def test_extra_members_travel_with_the_problem(client: httpx.AsyncClient) -> None:
    """What a client needs to go on is part of the document."""
    assert (await client.get("/conflict")).json()["state"] == "submitting"


@pytest.mark.parametrize(
    ("error", "slug"),
    [
        (psycopg.errors.AdminShutdown(), "database-unavailable"),
        (psycopg.OperationalError(), "database-unavailable"),
        (PoolTimeout(), "database-unavailable"),
        (TooManyRequests(), "overloaded"),
        (psycopg.errors.QueryCanceled(), "query-timeout"),
        (psycopg.errors.LockNotAvailable(), "request-in-progress"),
        (psycopg.errors.DiskFull(), "database-unavailable"),
        (psycopg.errors.ReadOnlySqlTransaction(), "database-unavailable"),
        (psycopg.errors.DeadlockDetected(), "overloaded"),
    ],
)
def test_driver_errors_have_their_problem(error: Exception, slug: str) -> None:
    """Each failure of the database that a client may meet has one documented type."""
    problem = translate_error(error)

    assert problem is not None
    assert problem.slug == slug


@pytest.mark.parametrize("error", [psycopg.errors.UniqueViolation(), psycopg.errors.UndefinedColumn(), KeyError()])
def test_our_own_bugs_are_not_dressed_up(error: Exception) -> None:
    """A broken query is an internal error, not a reason to try again."""
    assert translate_error(error) is None


def test_slugs_are_unique_and_titled() -> None:
    """Two problems never share a type, and each has a sentence."""
    kinds = errors.Problem.__subclasses__()

    assert len({kind.slug for kind in kinds}) == len(kinds) == len(errors.problem_types())
    assert all(kind.title() for kind in kinds)
