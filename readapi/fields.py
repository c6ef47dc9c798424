"""`fields`: which members of an answer are wanted. What there is to choose from is what the answer's model says.

Members are named from `data` on, and in a list from its rows on; those of members by a dot: `balance.available`.
"""

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, Union, get_args, get_origin

import msgspec
from fastapi import Request
from pydantic import BaseModel

from kernel.errors import ValidationFailed
from readapi.models import Envelope
from readapi.values import FIELDS_LENGTH

PARAMETER = "fields"

# The chosen members by name, each with those of its own that are chosen; None: all of it.
Chosen = Mapping[str, "Chosen | None"]


def chosen_fields(request: Request) -> Chosen | None:
    """What a request chooses of its route's answer; None: everything. Raises ValidationFailed, naming what there is."""
    asked = request.query_params.get(PARAMETER)
    return None if asked is None else choose(request.scope["route"].response_model, asked)


# Answers are few, and so are the choices that agents have in their prompts.
@lru_cache(maxsize=512)
def choose(answer: Any, asked: str) -> Chosen:
    """The members of an answer's data that a text like `amount,balance.available` names. Raises ValidationFailed."""
    known = list(members(_data(answer)))
    chosen: dict[str, Any] = {}
    for path in asked.split(","):
        if path not in known:
            raise ValidationFailed.at(PARAMETER, f"there is no such member; there are: {', '.join(known)}")
        *above, name = path.split(".")
        place = chosen
        for step in above:
            # Whoever names a member and one of its own gets all of it, in either order.
            within = place.setdefault(step, {})
            if within is None:
                break
            place = within
        else:
            place[name] = None
    return chosen


def picked(data: str, chosen: Chosen) -> str:
    """The JSON of an answer's data with the chosen members only, in the order in which it has them."""
    return msgspec.json.encode(_pick(msgspec.json.decode(data), chosen)).decode()


def members(shape: Any, above: str = "") -> Iterator[str]:
    """The paths of all members of a shape, those of members after them."""
    model = _model(shape)
    if model is None:
        return
    for name, field in model.model_fields.items():
        path = above + (field.alias or name)
        yield path
        yield from members(field.annotation, path + ".")


def describe_choice(document: dict[str, Any], answers: Mapping[str, Any]) -> None:
    """Say in an OpenAPI document, of each route that takes `fields`, what there is to choose from, and that its answer
    may be a part of the whole. `answers` are the models of the answers by path.
    """
    schemas = document["components"]["schemas"]
    for template, path in document["paths"].items():
        operation = path["get"]
        asked = [parameter for parameter in operation.get("parameters", []) if parameter["name"] == PARAMETER]
        if not asked:
            continue
        known = list(members(_data(answers[template])))
        one = "|".join(re.escape(name) for name in known)
        schema = {"type": "string", "maxLength": FIELDS_LENGTH, "pattern": f"^({one})(,({one}))*$"}
        asked[0]["schema"] = {**schema, "examples": [",".join(known[:2])]}
        content = operation["responses"]["200"]["content"]["application/json"]
        is_bare = content["schema"].get("type") == "array"
        part = "ChosenRows" if is_bare else "ChosenAnswer"
        schemas[part] = _CHOSEN_ROWS if is_bare else _CHOSEN_ANSWER
        content["schema"] = {"anyOf": [content["schema"], {"$ref": f"#/components/schemas/{part}"}]}


_CHOSEN_ROWS = {
    "type": "array",
    "items": {"type": "object"},
    "description": "With `fields`: the same, with the chosen members only.",
}
_CHOSEN_ANSWER = {
    "type": "object",
    "properties": {
        "data": {"anyOf": [{"type": "object"}, {"type": "array", "items": {"type": "object"}}]},
        "freshness": {
            "anyOf": [{"$ref": f"#/components/schemas/{name}"} for name in ("Freshness", "FreshnessThen")],
        },
        "next_cursor": {"anyOf": [{"type": "string"}, {"type": "null"}]},
    },
    "required": ["data", "freshness", "next_cursor"],
    "additionalProperties": False,
    "description": "With `fields`: the same, with the chosen members of `data` only.",
}


def _pick(value: Any, chosen: Chosen) -> Any:
    if isinstance(value, list):
        return [_pick(item, chosen) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        name: item if (within := chosen[name]) is None else _pick(item, within)
        for name, item in value.items()
        if name in chosen
    }


def _data(answer: Any) -> Any:
    """What stands in an answer's data; a bare answer is its own."""
    if isinstance(answer, type) and issubclass(answer, Envelope):
        return answer.model_fields["data"].annotation
    return answer


def _model(shape: Any) -> type[BaseModel] | None:
    """The model of a shape, of a list's items, or of what may be null; None where it has no members to name."""
    if isinstance(shape, type) and issubclass(shape, BaseModel):
        return shape
    if get_origin(shape) is list or get_origin(shape) in (Union, type(int | None)):
        return next((model for part in get_args(shape) if (model := _model(part)) is not None), None)
    return None
