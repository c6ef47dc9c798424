"""What to paste into an agent's program, and where."""

import json
import shlex
import sys
from pathlib import Path
from typing import Any

from bankmirror.programs import own_command

# Where each program looks, and how its configuration says "this variable of the environment".
_FILES = {
    "cursor": ".cursor/mcp.json of the project, or ~/.cursor/mcp.json",
    "vscode": ".vscode/mcp.json of the project",
    "codex": "~/.codex/config.toml",
    "generic": "the program's MCP settings (Claude Desktop: with --stdio, into claude_desktop_config.json)",
}
_TOKENS = {"cursor": "${env:BANKMIRROR_TOKEN}", "vscode": "${env:BANKMIRROR_TOKEN}", "generic": "<your token>"}


def paste(client: str, url: str, *, stdio: bool, token: bool) -> tuple[str, str]:
    """The text for a client, and where it goes. A token is referred to and never written out."""
    where = "paste it into a shell" if client == "claude" else f"paste it into {_FILES[client]}"
    if token and client != "generic":
        where += "; BANKMIRROR_TOKEN must be set in its environment"
    match client:
        case "claude":
            return _claude(url, stdio=stdio, token=token), where
        case "codex":
            return _codex(url, stdio=stdio, token=token), where
        case _:
            return _json(client, url, stdio=stdio, token=token), where


def _claude(url: str, *, stdio: bool, token: bool) -> str:
    if not stdio:
        header = ' --header "Authorization: Bearer $BANKMIRROR_TOKEN"' if token else ""
        return f"claude mcp add --transport http bankmirror {shlex.quote(f'{url}/mcp')}{header}"
    told = [f"BANKMIRROR_URL={url}"]
    environment = " ".join(["--env", *map(shlex.quote, told), *(['BANKMIRROR_TOKEN="$BANKMIRROR_TOKEN"'] * token)])
    return f"claude mcp add {environment} --transport stdio bankmirror -- {shlex.join(_command())}"


def _codex(url: str, *, stdio: bool, token: bool) -> str:
    if not stdio:
        lines = [f"url = {json.dumps(f'{url}/mcp')}"]
        lines += ['bearer_token_env_var = "BANKMIRROR_TOKEN"'] * token
        return "\n".join(["[mcp_servers.bankmirror]", *lines])
    program, *arguments = _command()
    return "\n".join(
        [
            "[mcp_servers.bankmirror]",
            f"command = {json.dumps(program)}",
            f"args = {json.dumps(arguments)}",
            f"env = {{ BANKMIRROR_URL = {json.dumps(url)} }}",
            *(['env_vars = ["BANKMIRROR_TOKEN"]'] * token),
        ]
    )


def _json(client: str, url: str, *, stdio: bool, token: bool) -> str:
    entry: dict[str, Any]
    if stdio:
        program, *arguments = _command()
        entry = {"command": program, "args": arguments, "env": {"BANKMIRROR_URL": url}}
        if token:
            entry["env"]["BANKMIRROR_TOKEN"] = _TOKENS[client]
    else:
        entry = {"type": "http", "url": f"{url}/mcp"}
        if token:
            entry["headers"] = {"Authorization": f"Bearer {_TOKENS[client]}"}
    if client == "vscode" and stdio:
        entry = {"type": "stdio", **entry}
    name = "servers" if client == "vscode" else "mcpServers"
    return json.dumps({name: {"bankmirror": entry}}, indent=2)


def _command() -> list[str]:
    """The command that runs this very program from any directory, which is where an agent will start it."""
    script = Path(sys.executable).parent / "bankmirror"
    return [str(script), "mcp"] if script.exists() else own_command("mcp")
