"""A choice of fields is a part of the answer, member by member, and never anything else."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel.errors import ValidationFailed
from readapi import examples, models
from readapi.app import create_api
from readapi.fields import choose, members, picked
from readapi.metrics import Metrics
from tests.unit.readapi.test_documentation import settings

ROW = examples.TRANSACTIONS["data"]
FLOW = examples.CASH_FLOW["data"]
WHOLE = [{"balance": {"as_of": 1, "current": 2}}]
PATHS = list(members(models.Transaction))


def of(value: Any, path: str) -> Any:
    """What stands at a path."""
    for name in path.split("."):
        value = value[name]
    return value


@pytest.mark.parametrize(
    ("answer", "asked", "data", "left"),
    [
        (models.Transactions, "amount", ROW, [{"amount": "-12.50"}]),
        (models.Transactions, "untrusted.description", ROW, [{"untrusted": {"description": "COFFEE SHOP BERLIN"}}]),
        (models.Accounts, "balance.available", [{"account_id": "a", "balance": None}], [{"balance": None}]),
        (models.Accounts, "balance,balance.as_of", WHOLE, WHOLE),
        (models.Accounts, "balance.as_of,balance", WHOLE, WHOLE),
        (models.CashFlows, "periods.in,periods.out", FLOW, {"periods": [{"in": "5000.00", "out": "-12.50"}]}),
        (list[models.Activity], "id", [{"id": "x", "kind": "y"}], [{"id": "x"}]),
    ],
)  # fmt: skip
def test_what_is_chosen_is_left(answer: Any, asked: str, data: Any, left: Any) -> None:
    """Of rows, of objects, and of lists in objects; a whole member wins over its parts, null stays null."""
    assert json.loads(picked(json.dumps(data), choose(answer, asked))) == left


@given(asked=st.lists(st.sampled_from(PATHS), min_size=1, unique=True))
def test_any_choice(asked: list[str]) -> None:
    """Each chosen member is there as it was, and no other."""
    (row,) = json.loads(picked(json.dumps(ROW), choose(models.Transactions, ",".join(asked))))

    for path in PATHS:
        is_chosen = any(path == name or path.startswith(f"{name}.") for name in asked)
        if is_chosen:
            assert of(row, path) == of(ROW[0], path)
        elif not any(name.startswith(f"{path}.") for name in asked):
            with pytest.raises(KeyError):
                of(row, path)


@given(minor=st.integers(-(10**30), 10**30))
def test_numbers_are_not_touched(minor: int) -> None:
    """A sum may be larger than what fits in 64 bits, and is never a float."""
    left = picked(f'[{{"amount_minor":{minor},"amount":"x"}}]', choose(models.Transactions, "amount_minor"))

    assert left == f'[{{"amount_minor":{minor}}}]'


@pytest.mark.parametrize("asked", ["", ",", "amount,", "Amount", "amount.x", "untrusted.x", "x", " amount", "."])
def test_what_is_not_there_is_refused(asked: str) -> None:
    """With a list of what there is."""
    with pytest.raises(ValidationFailed) as caught:
        choose(models.Transactions, asked)

    assert "untrusted.description" in str(caught.value.detail)
    assert caught.value.members["errors"][0]["pointer"] == "fields"


def test_every_answer_has_members_to_choose() -> None:
    """Each route under /banking that takes `fields` answers with a model."""
    document = create_api(settings(), Metrics()).openapi()
    routes = {
        path
        for path, operations in document["paths"].items()
        if any(parameter["name"] == "fields" for parameter in operations["get"].get("parameters", []))
    }

    assert {path for path in document["paths"] if path.startswith("/banking")} - routes <= {
        # What changed is followed and applied, and needs whole rows.
        "/banking/changes",
        "/banking/changes/stream",
    }
