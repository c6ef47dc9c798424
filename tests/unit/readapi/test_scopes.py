"""Every path says who may have it, or the process does not start."""

import pytest
from fastapi import FastAPI
from starlette.routing import Mount, Route

from readapi.access import RequireScope, scope_needed
from readapi.app import create_api
from readapi.metrics import Metrics
from tests.integration.readapi.mirror import settings


def test_every_route_has_a_scope() -> None:
    """What is neither open nor read is found before anything is served."""
    api = create_api(settings("postgresql://nobody"), Metrics())
    RequireScope(api, api.routes)

    for route in (Route("/reports/{report_id}", api), Mount("/files", api), Route("/health/{what}", api)):
        with pytest.raises(ValueError, match="has no scope"):
            RequireScope(api, [*api.routes, route])


def test_a_router_that_is_included_is_looked_into() -> None:
    """However deep a route lies."""
    inner, outer = FastAPI(openapi_url=None), FastAPI(openapi_url=None)
    inner.get("/secret")(lambda: None)
    outer.include_router(inner.router)

    with pytest.raises(ValueError, match="/secret has no scope"):
        RequireScope(outer, outer.routes[-1:])


@pytest.mark.parametrize(
    ("path", "needed"),
    [
        ("/banking", "read"),
        ("/banking/accounts", "read"),
        ("/banking/accounts/a/b/c", "read"),
        ("/metrics", "admin"),
        ("/mcp", "read"),
        ("/mcp/", "read"),
        ("/docs/", None),
        ("/health", None),
        ("/docs/static/docs.js", None),
        ("//banking/accounts", None),
        ("/bankingx", None),
        ("banking", None),
        ("", None),
    ],
)
def test_what_a_path_needs(path: str, needed: str | None) -> None:
    """By its first part; a spelling that is no route needs nothing, since nothing is there."""
    assert scope_needed(path) == needed
