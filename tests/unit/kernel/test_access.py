"""What answers without the token, and that nothing else does, however its path is written."""

import pytest

from kernel.access import is_open

OPEN = [
    "/",
    "/health",
    "/ready",
    "/openapi.json",
    "/llms.txt",
    "/docs",
    "/docs/static/docs.js",
    "/docs/static/swagger-ui.css",
    "/docs/static/swagger-ui-bundle.js",
    "/docs/transfers",
    "/docs/transfers/",
    "/docs/transfers/openapi.json",
    "/problems",
    "/problems/not-found",
]
CLOSED = [
    "",
    "//",
    "/banking/accounts",
    "//banking/accounts",
    "/banking/transfer",
    "/banking/transfers/1",
    "/metrics",
    "/docs/../banking/accounts",
    "/docs/static/../../banking/accounts",
    "/docs/static/..",
    "/docs/static/",
    "/docs/static/a/b",
    "/docs/static/.hidden",
    "/docs/static/docs.js\n",
    "/docs/transfers/../../banking/transfer",
    "/docs/transfers/banking/transfer",
    "/problems/../banking/balances",
    "/problems/..",
    "/problems/a/b",
    "/problems/a\x00",
    "/problemsx",
    "/docsx",
    "/health/",
    "/HEALTH",
    "/openapi.json/../banking/accounts",
    "/x/health",
    "docs",
]


@pytest.mark.parametrize("path", OPEN)
def test_documentation_and_health_answer_anybody(path: str) -> None:
    """They say nothing about money."""
    assert is_open(path)


@pytest.mark.parametrize("path", CLOSED)
def test_everything_else_asks_for_the_token(path: str) -> None:
    """A path is taken letter by letter: none leads out of what is open."""
    assert not is_open(path)
