"""What the description shows as an example works: each operation is asked as it says, and answers in its own shape."""

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import jsonschema
import pytest

from tests.integration.readapi.mirror import Mirror

# Where one of several parameters is required.
ONE_OF = {"/banking/can-pay": {"amount_minor": "1200000"}}


@pytest.fixture
def mirror(mirror: Mirror) -> Mirror:
    """The account and the transaction that the examples are about."""
    account_id = mirror.account("acct_123")
    mirror.transaction(account_id, -1250, transaction_id="tx_1")
    mirror.balance(account_id, 1_204_250, available_minor=1_201_750)
    mirror.transfer(account_id, 2500)
    mirror.feeds()
    mirror.refresh()
    # Moments in the examples are settled when ingest is seen alive after them.
    mirror.run("UPDATE sync.clock SET mark = now()")
    return mirror


async def test_every_operation_answers_its_example(mirror: Mirror, client: httpx.AsyncClient) -> None:
    """With the examples of its required parameters, 200 in the described shape; so `/docs` can be tried."""
    document = (await client.get("/openapi.json")).json()
    asked = []
    for path, operations in document["paths"].items():
        operation = operations["get"]
        examples = {item["name"]: _example(item) for item in operation.get("parameters", []) if item["required"]}
        examples |= ONE_OF.get(path, {})
        content = operation["responses"]["200"]["content"]
        if set(content) == {"text/event-stream"}:
            # It does not end.
            continue
        target = path.format(**examples)
        found = await client.get(
            target, params={name: text for name, text in examples.items() if f"{{{name}}}" not in path}
        )
        assert found.status_code == 200, (target, found.text)
        if "application/json" in content and found.headers["content-type"] == "application/json":
            schema = {**content["application/json"]["schema"], "components": document["components"]}
            jsonschema.Draft202012Validator(schema).validate(found.json())
            asked.append(path)
    assert len(asked) > 12


def _example(parameter: dict[str, Any]) -> str:
    """The first example of a parameter; a moment is one that is past and settled, whatever day the example names."""
    examples = parameter["schema"].get("examples") or [parameter.get("example")]
    assert examples[0] is not None, f"{parameter['name']} has no example"
    if parameter["schema"].get("format") == "date-time":
        return (datetime.now(UTC) - timedelta(days=1)).isoformat()
    return str(examples[0])
