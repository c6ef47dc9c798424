"""Passes MCP messages on between standard input and output and the `/mcp` of a running Bankmirror.

A message goes through as it came, of whatever version of the protocol; what is added is the headers that its way over
HTTP needs. So the running Bankmirror answers, with its tokens, scopes, limits and receipts, and nothing here reads a
database. Whatever goes wrong is an answer too: an agent that hears nothing tells its user nothing.
"""

import asyncio
import base64
import json
import re
import threading
from dataclasses import dataclass
from typing import IO, Any

import httpx
from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from bankmirror import __version__, settings
from bankmirror.home import Home
from kernel.settings import is_loopback, secret

# The running Bankmirror may wait ten seconds for fresh data before it answers.
_ANSWER_SECONDS = 30.0
_CONNECT_SECONDS = 5.0
# The protocol in which `call` asks, and where a message of it says its own.
_VERSION = "2026-07-28"
_META = "io.modelcontextprotocol/"
# Which parameter goes into the header that names what is asked for.
_NAMES = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}
_PRINTABLE = re.compile(r"[\x21-\x7E]([\x20-\x7E]*[\x21-\x7E])?")

# Codes of JSON-RPC.
_NO_JSON, _NO_REQUEST, _NO_ANSWER = -32700, -32600, -32000

Message = dict[str, Any]


class McpSettings(BaseSettings):
    """What `bankmirror mcp` is told."""

    model_config = SettingsConfigDict(
        env_prefix="BANKMIRROR_", env_file=".env", env_file_encoding="utf-8", extra="ignore", frozen=True,
        env_ignore_empty=True,
    )  # fmt: skip

    url: str | None = Field(
        None,
        description="The address of the Bankmirror that answers agents. Without it: that of the `up` of this home if "
        "it runs, else `http://127.0.0.1:8000`.",
    )
    token: SecretStr | None = Field(
        None, description="The bearer token that the agent asks with, where the running Bankmirror wants one."
    )


@dataclass(frozen=True, slots=True)
class Server:
    """A running Bankmirror, by its address, and the token to ask it with."""

    url: str
    token: SecretStr | None

    def client(self) -> httpx.AsyncClient:
        headers = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}
        if self.token is not None:
            headers["Authorization"] = f"Bearer {secret(self.token)}"
        return httpx.AsyncClient(
            headers=headers,
            timeout=httpx.Timeout(_ANSWER_SECONDS, connect=_CONNECT_SECONDS),
            # A proxy of the environment is for what is far away. No redirect either: the token is for this address.
            trust_env=not is_loopback(httpx.URL(self.url).host),
            follow_redirects=False,
        )


def find_server() -> Server:
    """The Bankmirror that is named, or runs in this home. Raises StartupError."""
    given = settings.load(McpSettings)
    url = given.url
    if url is None:
        running = Home(settings.load(settings.UpSettings).home).find_running()
        url = running.url if running else None
    return Server((url or "http://127.0.0.1:8000").rstrip("/").removesuffix("/mcp"), given.token)


def needs_token(server: Server) -> bool | None:
    """Whether it answers nobody without a token; None when it does not answer at all."""
    try:
        answer = httpx.get(
            f"{server.url}/banking/accounts?limit=1",
            timeout=_CONNECT_SECONDS,
            trust_env=not is_loopback(httpx.URL(server.url).host),
        )
    except (httpx.TransportError, httpx.InvalidURL):
        return None
    return answer.status_code == httpx.codes.UNAUTHORIZED


async def pass_on(server: Server, incoming: IO[bytes], outgoing: IO[bytes]) -> None:
    """Answer every message until the end of the input, and then what is still under way."""
    async with server.client() as client:
        bridge = Bridge(server, client, outgoing)
        lines = _lines_of(incoming)
        async with asyncio.TaskGroup() as group:
            while (line := await lines.get()) is not None:
                if line.strip():
                    group.create_task(bridge.take(line))


async def call_tool(server: Server, tool: str, arguments: dict[str, str]) -> tuple[bool, Any]:
    """Whether a tool did it, and its structured answer, or what went wrong."""
    info = {"name": "bankmirror mcp call", "version": __version__}
    meta = {f"{_META}protocolVersion": _VERSION, f"{_META}clientInfo": info, f"{_META}clientCapabilities": {}}
    params = {"name": tool, "arguments": arguments, "_meta": meta}
    async with server.client() as client:
        answer = await ask(server, client, {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}, None)
    if answer is None or "error" in answer:
        return False, (answer or {}).get("error", {}).get("message", "no answer")
    result = answer["result"]
    if result.get("isError"):
        return False, "\n".join(block.get("text", "") for block in result["content"])
    return True, result["structuredContent"]


class Bridge:
    """One agent's connection."""

    def __init__(self, server: Server, client: httpx.AsyncClient, outgoing: IO[bytes]) -> None:
        self._server, self._client, self._outgoing = server, client, outgoing
        # Agreed on in the answer to `initialize`; newer agents say it in each message instead.
        self._version: str | None = None
        self._under_way: dict[Any, asyncio.Task[None]] = {}

    async def take(self, line: bytes) -> None:
        """Pass one message on, and its answer back."""
        try:
            message = json.loads(line)
        except ValueError:
            self._send(_error(None, _NO_JSON, "this line is not JSON"))
            return
        if not isinstance(message, dict):
            self._send(_error(None, _NO_REQUEST, "one message at a time, please: batches are not taken"))
            return
        if message.get("method") == "notifications/cancelled":
            self._cancel(message)
            return
        number = message.get("id")
        task = asyncio.current_task()
        assert task is not None
        self._under_way[str(number)] = task
        try:
            answer = await ask(self._server, self._client, message, self._version)
        finally:
            self._under_way.pop(str(number), None)
        if answer is None:
            return
        if message.get("method") == "initialize" and "result" in answer:
            self._version = answer["result"].get("protocolVersion")
        self._send(answer)

    def _cancel(self, message: Message) -> None:
        # Hanging up is what tells the server, which remembers no message once it is answered.
        task = self._under_way.get(str((message.get("params") or {}).get("requestId")))
        if task is not None:
            task.cancel()

    def _send(self, answer: Message) -> None:
        # One line, whatever is in it: JSON escapes the line breaks in its strings.
        self._outgoing.write(json.dumps(answer, ensure_ascii=False, separators=(",", ":")).encode() + b"\n")
        self._outgoing.flush()


async def ask(server: Server, client: httpx.AsyncClient, message: Message, agreed: str | None) -> Message | None:
    """The answer to a message; None where none is owed. It never raises: what goes wrong is an answer."""
    owed = "id" in message and "method" in message
    try:
        response = await client.post(
            f"{server.url}/mcp", content=json.dumps(message).encode(), headers=_headers(message, agreed)
        )
        answer = _read(response, message.get("id"))
    except httpx.TimeoutException:
        answer = _error(message.get("id"), _NO_ANSWER, f"Bankmirror at {server.url} took too long; ask again")
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        told = f"Bankmirror does not answer at {server.url} ({type(error).__name__}): start it with `bankmirror up`"
        answer = _error(message.get("id"), _NO_ANSWER, f"{told}, or set BANKMIRROR_URL to where it runs")
    return answer if owed else None


def _headers(message: Message, agreed: str | None) -> dict[str, str]:
    """What HTTP wants to know of a message without reading it."""
    params = message.get("params")
    params = params if isinstance(params, dict) else {}
    meta = params.get("_meta")
    own = meta.get(f"{_META}protocolVersion") if isinstance(meta, dict) else None
    if not isinstance(own, str):
        return {} if agreed is None else {"Mcp-Protocol-Version": agreed}
    method = str(message.get("method"))
    headers = {"Mcp-Protocol-Version": own, "Mcp-Method": method}
    name = params.get(_NAMES.get(method, ""))
    if isinstance(name, str):
        plain = _PRINTABLE.fullmatch(name) and not name.startswith("=?base64?")
        headers["Mcp-Name"] = name if plain else f"=?base64?{base64.b64encode(name.encode()).decode()}?="
    return headers


def _read(response: httpx.Response, number: Any) -> Message:
    """The message in a response, or the problem in it as one."""
    try:
        document = response.json()
    except ValueError:
        document = None
    if isinstance(document, dict) and document.get("jsonrpc") == "2.0":
        # An error that was found before the id was read belongs to this message all the same.
        return document if document.get("id") is not None else {**document, "id": number}
    if isinstance(document, dict) and "title" in document:
        told = f"{document.get('detail') or document['title']} ({document.get('type')})"
    else:
        told = f"this is no Bankmirror that answers agents (HTTP {response.status_code}): is BANKMIRROR_URL right?"
    if response.status_code == httpx.codes.UNAUTHORIZED:
        told += "; set BANKMIRROR_TOKEN to a token of `bankmirror token create`"
    return _error(number, _NO_ANSWER, told)


def _error(number: Any, code: int, told: str) -> Message:
    return {"jsonrpc": "2.0", "id": number, "error": {"code": code, "message": told}}


def _lines_of(incoming: IO[bytes]) -> "asyncio.Queue[bytes | None]":
    """The lines as they come, and None at the end.

    A thread of its own reads them: standard input may be a pipe, a terminal or a file, and what works with each of them
    is to block.
    """
    lines: asyncio.Queue[bytes | None] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def read() -> None:
        for line in incoming:
            loop.call_soon_threadsafe(lines.put_nowait, line)
        loop.call_soon_threadsafe(lines.put_nowait, None)

    threading.Thread(target=read, name="standard input", daemon=True).start()
    return lines
