"""`bankmirror mcp`: MCP on standard input and output, `config`: what to paste where, `call`: one question by hand."""

import asyncio
import json
import sys
from typing import Annotated, Literal

import typer

app = typer.Typer(help="Serve MCP on standard input and output for an agent (the default), or help to connect one.")

Client = Literal["claude", "cursor", "vscode", "codex", "generic"]


@app.callback(invoke_without_command=True)
def serve(context: typer.Context) -> None:
    """Serve MCP on standard input and output for an agent (the default), or help to connect one.

    What comes in is passed on to a running Bankmirror: BANKMIRROR_URL, asked with BANKMIRROR_TOKEN.
    """
    if context.invoked_subcommand is not None:
        return
    from bankmirror.mcp_bridge import find_server, pass_on

    asyncio.run(pass_on(find_server(), sys.stdin.buffer, sys.stdout.buffer))


@app.command("config")
def config(
    client: Annotated[Client, typer.Option(help="The agent's program; `generic` is what most others read.")] = "claude",
    stdio: Annotated[
        bool, typer.Option("--stdio/--http", help="Have it start `bankmirror mcp`, or ask the address itself.")
    ] = False,
) -> None:
    """Print what to paste into an agent, with the address of the Bankmirror that runs here."""
    from bankmirror.mcp_bridge import find_server, needs_token
    from bankmirror.mcp_paste import paste

    server = find_server()
    needed = needs_token(server)
    text, where = paste(client, server.url, stdio=stdio, token=bool(needed) or server.token is not None)
    typer.echo(text)
    # Beside it: standard output holds just what is to be pasted.
    typer.echo(where, err=True)
    if needed is None:
        typer.echo(f"nothing answers at {server.url} now: start `bankmirror up`, or set BANKMIRROR_URL", err=True)
    elif needed and server.token is None:
        typer.echo("a token is needed there: `bankmirror token create`, then set BANKMIRROR_TOKEN to it", err=True)


@app.command("call")
def call(
    tool: Annotated[str, typer.Argument(help="The tool, e.g. can_pay.")],
    arguments: Annotated[list[str] | None, typer.Argument(help="Its arguments, as name=value.")] = None,
) -> None:
    """Call one tool and print what an agent would read."""
    from bankmirror.by_hand import refuse
    from bankmirror.mcp_bridge import call_tool, find_server

    given = dict(argument.split("=", 1) for argument in arguments or () if "=" in argument)
    if len(given) != len(arguments or ()):
        refuse("each argument is one name=value, and each name is given once")
    done, answer = asyncio.run(call_tool(find_server(), tool, given))
    if not done:
        refuse(str(answer))
    typer.echo(json.dumps(answer, indent=2, ensure_ascii=False))
