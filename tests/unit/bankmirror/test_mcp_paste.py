"""What `bankmirror mcp config` prints is what each agent's program reads, and holds no secret."""

import json
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest

from bankmirror.mcp_paste import paste

URL = "http://127.0.0.1:8123"


def entry(client: str, *, stdio: bool = False, token: bool = False) -> dict[str, Any]:
    """The server in a client's file."""
    text, _ = paste(client, URL, stdio=stdio, token=token)
    document = tomllib.loads(text) if client == "codex" else json.loads(text)
    [servers] = document.values()
    found: dict[str, Any] = servers["bankmirror"]
    return found


def test_claude_by_address() -> None:
    """One line for a shell."""
    text, where = paste("claude", URL, stdio=False, token=False)

    assert text == f"claude mcp add --transport http bankmirror {URL}/mcp"
    assert "shell" in where


def test_claude_by_command() -> None:
    """Options that take several values stand before another option, and the command after two dashes."""
    text, _ = paste("claude", URL, stdio=True, token=True)
    words = shlex.split(text)

    assert words[:4] == ["claude", "mcp", "add", "--env"]
    assert words[4:9] == [
        f"BANKMIRROR_URL={URL}",
        "BANKMIRROR_TOKEN=$BANKMIRROR_TOKEN",
        "--transport",
        "stdio",
        "bankmirror",
    ]
    assert words[9] == "--"
    assert words[-1] == "mcp"


@pytest.mark.parametrize("client", ["cursor", "vscode", "codex", "generic"])
def test_files(client: str) -> None:
    """Each names the address, or a command that can be started from anywhere."""
    by_address, by_command = entry(client), entry(client, stdio=True)

    assert by_address["url"] == f"{URL}/mcp"
    assert Path(by_command["command"]).is_absolute()
    assert by_command["args"][-1] == "mcp"
    assert by_command["env"] == {"BANKMIRROR_URL": URL}


@pytest.mark.parametrize("stdio", [False, True])
@pytest.mark.parametrize("client", ["claude", "cursor", "vscode", "codex", "generic"])
def test_a_token_is_referred_to(client: str, stdio: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the name of a variable, or as a place to fill in: what is pasted is soon committed."""
    monkeypatch.setenv("BANKMIRROR_TOKEN", "bmk_test_secret")
    text, where = paste(client, URL, stdio=stdio, token=True)

    assert "secret" not in text
    assert "BANKMIRROR_TOKEN" in text or "<your token>" in text
    assert "BANKMIRROR_TOKEN" in where or client == "generic"
