"""What a tool is: a function whose signature is its arguments, and whose docstring tells a model when to use it."""

import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar, get_type_hints

from pydantic import BaseModel, ConfigDict, create_model

from readapi.mcp.api import Api
from readapi.mcp.shapes import Page, Result

Work = Callable[..., Awaitable[Result]]
Worked = TypeVar("Worked", bound=Work)


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool as it is described to an agent, and how it is done."""

    name: str
    title: str
    description: str
    arguments: type[BaseModel]
    input_schema: dict[str, Any]
    output_schema: dict[str, Any]
    work: Work

    async def call(self, api: Api, given: dict[str, Any]) -> Result:
        """Do it. Raises pydantic's ValidationError for the arguments, Refused for what the API refuses."""
        asked = self.arguments.model_validate(given)
        result = await self.work(api, **{name: getattr(asked, name) for name in type(asked).model_fields})
        if isinstance(result, Page) and result.onward is not None:
            # All that was asked, and where it goes on: whoever sends this back loses no filter on the way.
            said = asked.model_dump(mode="json", exclude_none=True, exclude_unset=True)
            result.next = {**said, **result.onward}
        return result


TOOLS: dict[str, Tool] = {}


def tool(title: str) -> Callable[[Worked], Worked]:
    """Makes a tool of a function whose first parameter is the API. Arguments that it does not have are refused."""

    def add(work: Worked) -> Worked:
        hints = get_type_hints(work, include_extras=True)
        fields: dict[str, Any] = {
            parameter.name: (hints[parameter.name], ... if parameter.default is parameter.empty else parameter.default)
            for parameter in list(inspect.signature(work).parameters.values())[1:]
        }
        name = work.__name__
        arguments = create_model(name, __config__=ConfigDict(extra="forbid"), **fields)
        TOOLS[name] = Tool(
            name,
            title,
            inspect.cleandoc(work.__doc__ or ""),
            arguments,
            _concise(arguments.model_json_schema()),
            _members(hints["return"].model_json_schema(mode="serialization")),
            work,
        )
        return work

    return add


def _concise(schema: Any) -> Any:
    """A schema of arguments without what an agent has no use for: it reads this at the start of each conversation.

    Titles repeat the names. What may be left out is said by its default, or by not being required.
    """
    if isinstance(schema, list):
        return [_concise(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {
        name: _concise(value)
        for name, value in schema.items()
        if not (name == "title" and isinstance(value, str)) and not (name == "default" and value is None)
    }
    return _only_choice(kept)


def _members(schema: dict[str, Any]) -> dict[str, Any]:
    """The members of an answer with their types, and no more.

    What they mean the tool's description says, and what their members are called an answer says itself: with all of it,
    the tools were 57 kB.
    """
    definitions = schema.get("$defs", {})

    def kind(part: dict[str, Any]) -> dict[str, Any]:
        part = _only_choice(part)
        if "$ref" in part:
            part = definitions[part["$ref"].rsplit("/", 1)[-1]]
        kept: dict[str, Any] = {name: part[name] for name in ("type", "enum") if name in part}
        return {**kept, "items": kind(part["items"])} if "items" in part else kept

    members = {name: kind(part) for name, part in schema["properties"].items()}
    return {"type": "object", "properties": members, "required": schema["required"]}


def _only_choice(schema: dict[str, Any]) -> dict[str, Any]:
    """The other one of two types of which one is null: nothing is sent as null, and nothing need be."""
    choices = [choice for choice in schema.get("anyOf", ()) if choice != {"type": "null"}]
    if len(choices) != 1:
        return schema
    # What is said of this member goes before what is said of its type.
    return {**choices[0], **{name: value for name, value in schema.items() if name != "anyOf"}}
