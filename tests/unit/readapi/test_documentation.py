"""The API describes itself completely, and its page needs nothing from outside."""

import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import TypeAdapter

import readapi
from kernel import errors
from readapi import examples, models
from readapi.answers import JSON
from readapi.app import create_api, create_app
from readapi.changes import PATH
from readapi.exports import CSV, FORMS
from readapi.metrics import Metrics
from readapi.routes.changes import EVENTS
from readapi.settings import ReadapiSettings

STATIC = Path(readapi.__file__).parent / "static"


def settings(**given: Any) -> ReadapiSettings:
    """Settings for an app that is never asked for data."""
    return ReadapiSettings(_env_file=None, **{"DATABASE_URL": "postgresql://x", "mode": "sandbox", **given})


@pytest.fixture
def document() -> dict[str, Any]:
    """The OpenAPI document."""
    return create_api(settings(), Metrics()).openapi()


@pytest.fixture
def client() -> httpx.AsyncClient:
    """A client of an app without a database."""
    return httpx.AsyncClient(transport=httpx.ASGITransport(create_app(settings())), base_url="http://127.0.0.1")


def test_every_operation_is_described(document: dict[str, Any]) -> None:
    """An id, a tag, a summary, a sentence, a shape; and problems as problem+json, by their names."""
    ids = []
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            ids.append(operation["operationId"])
            assert method == "get", path
            assert operation["tags"], path
            assert operation["summary"], path
            assert operation["description"], path
            for status, response in operation["responses"].items():
                answered = {"/metrics": "text/plain", f"{PATH}/stream": EVENTS}.get(path, JSON)
                expected = "application/problem+json" if status >= "400" else answered
                # The lists that may leave as files, and the changes that may come as events.
                others = {*FORMS, EVENTS} if {CSV, EVENTS} & response["content"].keys() else set()
                assert expected in response["content"], path
                assert response["content"].keys() <= {expected, *others}, path
                if status >= "400":
                    assert re.match("`[a-z-]+`: ", response["description"]), path
            if path.startswith("/banking"):
                assert {"200", "422", "503"} <= set(operation["responses"]), path
                assert ("404" in operation["responses"]) >= ("{" in path), path
    assert len(ids) == len(set(ids)) == 23


def test_every_schema_explains_itself(document: dict[str, Any]) -> None:
    """And each field that is not obvious has a text or an example."""
    for name, schema in document["components"]["schemas"].items():
        assert schema.get("description"), name


def test_nobody_may_call_without_a_token_when_there_is_one() -> None:
    """The document says so where it is so, and only there."""
    closed = create_api(settings(api_token="t" * 32), Metrics()).openapi()
    open_ = create_api(settings(), Metrics()).openapi()

    assert closed["security"] == [{"token": []}]
    assert "401" in closed["paths"]["/banking/accounts"]["get"]["responses"]
    assert "security" not in open_
    for path in ("/health", "/problems", "/problems/{slug}"):
        assert closed["paths"][path]["get"]["security"] == []
        assert "401" not in closed["paths"][path]["get"]["responses"]


def test_every_parameter_is_described(document: dict[str, Any]) -> None:
    """In words, and not only by its name."""
    for path, operations in document["paths"].items():
        for parameter in operations["get"].get("parameters", []):
            assert parameter.get("description"), (path, parameter["name"])


def test_bounds_are_documented(document: dict[str, Any]) -> None:
    """What is refused for its size says so beforehand."""
    listed = document["paths"]["/banking/accounts/{account_id}/transactions"]["get"]["parameters"]
    schemas = {parameter["name"]: parameter["schema"] for parameter in listed}

    assert (schemas["limit"]["minimum"], schemas["limit"]["maximum"], schemas["limit"]["default"]) == (1, 500, 50)
    assert schemas["min_amount_minor"]["anyOf"][0]["minimum"] == 0
    assert schemas["from"]["anyOf"][0]["format"] == "date"


async def test_the_page_works_offline(client: httpx.AsyncClient) -> None:
    """Everything that it loads comes from here, under a policy that allows nothing else."""
    page = await client.get("/docs")
    policy = page.headers["content-security-policy"]
    loaded = re.findall(r'(?:src|href)="([^"]+)"', page.text)

    assert page.status_code == 200
    assert len(loaded) == 3
    for address in loaded:
        assert (await client.get(f"/{address}")).status_code == 200
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy
    assert re.search(r"<script>|<style|style=| on\w+=", page.text) is None
    assert (await client.get("/openapi.json")).json()["info"]["title"] == "Bankmirror read API"


def test_what_is_vendored_says_where_it_is_from() -> None:
    """The licence and the version stand beside it."""
    version = re.search(r"Swagger UI (\d+\.\d+\.\d+)", (STATIC / "README.md").read_text())

    assert version is not None
    assert version[1] in (STATIC / "swagger-ui-bundle.js").read_text()
    assert "Apache License" in (STATIC / "swagger-ui.LICENSE.txt").read_text()


async def test_every_problem_has_a_page(client: httpx.AsyncClient) -> None:
    """What `type` points to says what it means and what to do."""
    listed = (await client.get("/problems")).json()

    assert {answer["type"] for answer in listed} == {f"/problems/{slug}" for slug in errors.problem_types()}
    for answer in listed:
        assert (await client.get(answer["type"])).json() == answer
        assert answer["title"]
        assert ("Retry-After" in answer["what_to_do"]) == bool(answer["retryable"])


async def test_no_advice_makes_anybody_pay_twice(client: httpx.AsyncClient) -> None:
    """Where a transfer may have been made, the way on is the same key, or a look at the account; never a new key."""
    told = {answer["type"]: answer for answer in (await client.get("/problems")).json()}
    unknown = told["/problems/outcome-unknown"]

    assert unknown["retryable"] is None, "with a key yes, without one no: each answer says it"
    for slug in ("outcome-unknown", "request-in-progress", "internal", "database-unavailable", "overloaded"):
        assert "same Idempotency-Key" in told[f"/problems/{slug}"]["what_to_do"], slug
        assert "change the request" not in told[f"/problems/{slug}"]["what_to_do"], slug
    assert "never send it under a new key" in unknown["what_to_do"]
    assert "activity" in unknown["what_to_do"]
    assert "new request under a new key" in told["/problems/transfer-rejected"]["what_to_do"]
    assert "really another payment" in told["/problems/idempotency-key-reused"]["what_to_do"]


@pytest.mark.parametrize(
    ("model", "example"),
    [
        (list[models.Activity], examples.ACTIVITY),
        (models.Transactions, examples.TRANSACTIONS),
        (models.Balances, examples.BALANCES),
        (models.CashFlows, examples.CASH_FLOW),
    ],
)
def test_examples_are_what_is_answered(model: Any, example: Any) -> None:
    """Every member, and nothing else."""
    TypeAdapter(model).validate_python(example)


async def test_a_problem_has_a_page_for_people(client: httpx.AsyncClient) -> None:
    """A link in an error can be opened in a browser; it says the same, and loads nothing."""
    page = await client.get("/problems/not-found", headers={"Accept": "text/html,application/xhtml+xml"})
    told = (await client.get("/problems/not-found")).json()

    assert page.headers["content-type"].startswith("text/html")
    assert told["what_to_do"] in page.text
    assert re.search(r"<script|<style|src=", page.text) is None


async def test_llms_txt_names_every_endpoint(client: httpx.AsyncClient, document: dict[str, Any]) -> None:
    """Whoever reads only this page knows what there is, and how far to trust it."""
    page = await client.get("/llms.txt")

    assert page.headers["content-type"].startswith("text/plain")
    for path in document["paths"]:
        assert f"`GET {path}`" in page.text
    for word in ("max_age", "If-None-Match", "untrusted", "never an", "minor units", "/mcp", "Retry-After"):
        assert word in page.text
    assert len(page.text) < 12_000, "it is read whole by an agent that pays by the word"


async def test_an_unknown_problem_is_not_found(client: httpx.AsyncClient) -> None:
    """As everything else."""
    assert (await client.get("/problems/none")).status_code == 404
