"""The MCP server: JSON-RPC methods onto tools and resources. Importing this takes most of a second: only the door does.

It is the package's low-level server. The higher one would configure the process's logging, ignore arguments that it
does not know, and give every resource the same time to live.
"""

import json
import logging
from collections.abc import Mapping
from typing import Any

import structlog
from mcp.server.caching import CacheableMethod, CacheHint
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel.server import Server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.shared.exceptions import MCPError
from mcp_types import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    CallToolRequestParams,
    CallToolResult,
    GetPromptRequestParams,
    GetPromptResult,
    ListPromptsResult,
    ListResourcesResult,
    ListResourceTemplatesResult,
    ListToolsResult,
    PaginatedRequestParams,
    Prompt,
    PromptMessage,
    ReadResourceRequestParams,
    ReadResourceResult,
    Resource,
    ResourceTemplate,
    TextContent,
    TextResourceContents,
    ToolAnnotations,
)
from mcp_types import Tool as DescribedTool
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS, MODERN_PROTOCOL_VERSIONS
from pydantic import ValidationError

from kernel.errors import InternalError, Problem, StaleData, problem_types
from kernel.problems import reason
from readapi.mcp import prompts, resources
from readapi.mcp.api import Api, Refused
from readapi.mcp.tool import TOOLS, Tool
from readapi.mcp.tools import INSTRUCTIONS

log = structlog.get_logger()

Context = ServerRequestContext[Any, Any]
# Of the protocol, that are spoken.
VERSIONS = (*HANDSHAKE_PROTOCOL_VERSIONS, *MODERN_PROTOCOL_VERSIONS)
READ_ONLY = ToolAnnotations(read_only_hint=True, destructive_hint=False, idempotent_hint=True, open_world_hint=False)
# What is offered changes with a new version of the program only. Milliseconds.
_DESCRIBING: tuple[CacheableMethod, ...] = (
    "tools/list", "resources/list", "resources/templates/list", "prompts/list", "server/discover",
)  # fmt: skip
# In arguments, which are all that a tool is told: an agent sends no headers.
_WHEN_STALE = (
    "ask again after that time, or with a greater `max_age`, or without it, and then go by `freshness`, which says how "
    "old the answer is and why."
)
_DESCRIPTIONS = CacheHint(ttl_ms=3_600_000, scope="private")


def make_manager(version: str, message_bytes: int) -> StreamableHTTPSessionManager:
    """The server behind HTTP. Any process can answer any message: none remembers an agent."""
    logging.getLogger("mcp").setLevel("WARNING")
    return StreamableHTTPSessionManager(
        make_server(version), json_response=True, stateless=True, max_request_body_size=message_bytes
    )


def make_server(version: str) -> Server[Any]:
    """The server; what it is asked, it asks our own API on behalf of who asked it."""
    return Server(
        "bankmirror",
        version=version,
        title="Bankmirror",
        instructions=INSTRUCTIONS,
        cache_hints=dict.fromkeys(_DESCRIBING, _DESCRIPTIONS),
        get_tool_input_schema=_input_schema,
        on_list_tools=_list_tools,
        on_call_tool=_call_tool,
        on_list_resources=_list_resources,
        on_list_resource_templates=_list_resource_templates,
        on_read_resource=_read_resource,
        on_list_prompts=_list_prompts,
        on_get_prompt=_get_prompt,
    )


async def _call_tool(context: Context, asked: CallToolRequestParams) -> CallToolResult:
    tool = TOOLS.get(asked.name)
    if tool is None:
        raise MCPError(INVALID_PARAMS, f"there is no tool of this name; there are {', '.join(TOOLS)}")
    result = await _called(tool, context, asked.arguments or {})
    # What the tool asked of the API has receipts already. This one is of what was made of it, as the model reads it.
    read = "".join(part.text for part in result.content if isinstance(part, TextContent))
    _api(context).note(f"/mcp tools/call {tool.name}", read)
    return result


async def _called(tool: Tool, context: Context, given: dict[str, Any]) -> CallToolResult:
    try:
        result = await tool.call(_api(context), given)
    except ValidationError as error:
        return _failed(_told_of_arguments(error))
    except Refused as refused:
        return _failed(told(refused))
    said = result.model_dump(mode="json", by_alias=True, exclude_none=True)
    # What was asked for comes first, and then where it goes on and how old it is.
    said |= {name: said.pop(name) for name in ("next", "freshness") if name in said}
    # Whole in the text, too, as the protocol wants it: clients that know no structured content, and those that do not
    # show it to the model, read the text. A model reads one of both.
    text = json.dumps(said, ensure_ascii=False, separators=(",", ":"))
    return CallToolResult(content=[TextContent(type="text", text=text)], structured_content=said)


async def _read_resource(context: Context, asked: ReadResourceRequestParams) -> ReadResourceResult:
    try:
        found = await resources.read(_api(context), str(asked.uri))
    except Refused as refused:
        raise MCPError(_code(refused), told(refused), {"uri": str(asked.uri)}) from None
    if found is None:
        raise MCPError(INVALID_PARAMS, "there is no resource with this address", {"uri": str(asked.uri)})
    contents = TextResourceContents(uri=asked.uri, mime_type="application/json", text=found.text)
    return ReadResourceResult(contents=[contents], ttl_ms=found.ttl_ms, cache_scope="private")


def _api(context: Context) -> Api:
    assert context.request is not None
    return Api(context.request.scope)


async def _list_tools(context: Context, asked: PaginatedRequestParams | None) -> ListToolsResult:
    return ListToolsResult(tools=[_described(tool) for tool in TOOLS.values()])


def _described(tool: Tool) -> DescribedTool:
    return DescribedTool(
        name=tool.name,
        title=tool.title,
        description=tool.description,
        input_schema=tool.input_schema,
        output_schema=tool.output_schema,
        annotations=READ_ONLY,
    )


def _input_schema(name: str) -> Mapping[str, Any] | None:
    return TOOLS[name].input_schema if name in TOOLS else None


async def _list_resources(context: Context, asked: PaginatedRequestParams | None) -> ListResourcesResult:
    return ListResourcesResult(
        resources=[
            Resource(uri=uri, name=name, title=title, description=description, mime_type="application/json")
            for uri, name, title, description in resources.FIXED
        ]
    )


async def _list_resource_templates(
    context: Context, asked: PaginatedRequestParams | None
) -> ListResourceTemplatesResult:
    uri, name, title, description = resources.TEMPLATE
    template = ResourceTemplate(
        uri_template=uri, name=name, title=title, description=description, mime_type="application/json"
    )
    return ListResourceTemplatesResult(resource_templates=[template])


async def _list_prompts(context: Context, asked: PaginatedRequestParams | None) -> ListPromptsResult:
    return ListPromptsResult(prompts=[Prompt(name=prompts.NAME, title=prompts.TITLE, description=prompts.DESCRIPTION)])


async def _get_prompt(context: Context, asked: GetPromptRequestParams) -> GetPromptResult:
    if asked.name != prompts.NAME:
        raise MCPError(INVALID_PARAMS, f"there is no prompt of this name; there is {prompts.NAME}")
    message = PromptMessage(role="user", content=TextContent(type="text", text=prompts.TEXT))
    return GetPromptResult(description=prompts.DESCRIPTION, messages=[message])


def told(refused: Refused) -> str:
    """A problem in words for a model: what it is, what was wrong, and what to do about it."""
    slug = str(refused.problem["type"]).removeprefix("/problems/")
    kind = problem_types().get(slug, Problem)
    lines = [f"{slug}: {refused.problem.get('detail') or kind.title()}"]
    if refused.retry_after_seconds is not None:
        lines.append(f"retry after {refused.retry_after_seconds} s")
    advice = kind.what_to_do()
    if slug == StaleData.slug:
        advice = _WHEN_STALE
    elif slug == InternalError.slug:
        advice = f"It is our mistake: tell the operator {refused.problem['instance']}, which is in the log."
    return "\n".join([*lines, f"what to do: {advice}"])


def _code(refused: Refused) -> int:
    """Whether the client or we should change something, in JSON-RPC's words."""
    return INVALID_PARAMS if refused.problem["status"] < 500 else INTERNAL_ERROR


def _told_of_arguments(error: ValidationError) -> str:
    # Without the value: it may be a memo that the model copied here.
    wrong = [f"{'.'.join(map(str, item['loc'])) or 'arguments'}: {reason(item)}" for item in error.errors()]
    return "\n".join(["validation-failed: " + "; ".join(wrong), "what to do: change the arguments as said."])


def _failed(text: str) -> CallToolResult:
    return CallToolResult(content=[TextContent(type="text", text=text)], is_error=True)
