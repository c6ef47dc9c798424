"""`bankmirror token`: who may ask, for what, and for how long.

Imports what it needs when it runs, as every command does.
"""

import re
import sys
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from bankmirror.by_hand import in_access, refuse, who
from bankmirror.command import as_typed
from bankmirror.plain import counted, line_of

if TYPE_CHECKING:
    from bankmirror.tokens import Row
    from kernel.database import Connection
    from kernel.tokens import Environment

app = typer.Typer(help="Tokens, by which callers are known: create, list, rotate or revoke them.", no_args_is_help=True)

T = TypeVar("T")
_BYTES_PER_MEGABYTE = 1_000_000
# What needs no quotes on a command line and looks like nothing else in a log.
_NAME = re.compile(r"[A-Za-z0-9._-]{1,100}")
# Whatever is allowed, a limit is a limit.
_COUNT_MAX = 1_000_000

Who = Annotated[str | None, typer.Option(help="Who does it; by default the user of this machine.")]
Which = Annotated[str, typer.Argument(metavar="ID|NAME")]
Expires = Annotated[str, typer.Option(help="How long it is good: 90d, 12h, 30m, 2w, or never.")]


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="Whose it is: an agent, a service, a person.")],
    scopes: Annotated[
        list[str] | None,
        typer.Option("--scope", help="What it may do; repeat for more. Without it: read."),
    ] = None,
    accounts: Annotated[
        list[str] | None, typer.Option("--account", help="An account that it sees; repeat for more. Without it: all.")
    ] = None,
    expires: Expires = "90d",
    requests_per_minute: Annotated[int, typer.Option(min=1, max=_COUNT_MAX, help="Requests that it may send.")] = 600,
    megabytes_per_day: Annotated[int, typer.Option(min=1, max=_COUNT_MAX, help="Megabytes it may be sent.")] = 1_000,
    force: Annotated[bool, typer.Option("--force", help="Also for accounts that are not mirrored.")] = False,
    by: Who = None,
) -> None:
    """Make a token, and print it: this once, since only its hash is kept."""
    from bankmirror import tokens
    from kernel.caller import SCOPES

    if not _NAME.fullmatch(name):
        refuse(f"{line_of(name, 100)}: a name is of at most 100 letters, digits, dots, underscores and hyphens")
    if unknown := sorted(set(scopes or []) - SCOPES):
        refuse(f"{', '.join(unknown)}: no such scope; there are {', '.join(sorted(SCOPES))}")
    environment = _environment()
    wanted = tokens.Wanted(
        name,
        scopes or ["read"],
        accounts,
        requests_per_minute,
        megabytes_per_day * _BYTES_PER_MEGABYTE,
        _checked(lambda: tokens.lifetime_of(expires)),
    )
    made = _in_access(
        lambda connection: tokens.create(connection, environment, wanted, actor=who(by), unknown_too=force)
    )
    sees = "all accounts" if accounts is None else counted(len(set(accounts)), "account")
    good = "for ever" if expires == "never" else f"for {expires}"
    _hand_out(made.text, f"{name} ({made.token_id}): {', '.join(sorted(set(wanted.scopes)))} on {sees}, {good}")


@app.command("list")
def list_tokens(
    everything: Annotated[bool, typer.Option("--all", help="Also those that are over.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Who has a token, for what, until when, and when it was used last."""
    from bankmirror import tokens

    found = [row for row in _in_access(tokens.select) if everything or row["state"] in ("good", "rotated")]
    if as_json:
        sys.stdout.write(tokens.as_json(found) + "\n")
    elif found:
        typer.echo("\n".join(table(found)))
    else:
        typer.echo(as_typed("no token is in use; `bankmirror token create NAME` makes one"), err=True)


@app.command()
def rotate(
    which: Which,
    overlap: Annotated[str, typer.Option(help="How long the old one is still good: 1h, 30m, 2d …")] = "1h",
    expires: Expires = "90d",
    by: Who = None,
) -> None:
    """Exchange a token for a new one with the same scopes, accounts and limits, and print that."""
    from bankmirror import tokens

    lifetime, until_then = _checked(lambda: (tokens.lifetime_of(expires), tokens.lifetime_of(overlap)))
    if until_then is None:
        refuse("the old token must end: --overlap 1h")
    made, old = _in_access(
        lambda connection: tokens.rotate(connection, which, actor=who(by), lifetime=lifetime, overlap=until_then)
    )
    _hand_out(made.text, f"{old['name']} ({made.token_id}); the old one ({old['token_id']}) is good for {overlap} more")


@app.command()
def revoke(which: Which, by: Who = None) -> None:
    """End a token at once: by its id, or all of a name."""
    from bankmirror import tokens

    for row in _in_access(lambda connection: tokens.revoke(connection, which, actor=who(by))):
        typer.echo(f"revoked: {row['name']} ({row['token_id']}); no process lets it in after 5 seconds")


def table(found: "Sequence[Row]") -> list[str]:
    """Tokens as a person reads them, a line each under a heading."""
    heading = ("TOKEN", "NAME", "SCOPES", "ACCOUNTS", "CREATED", "EXPIRES", "LAST USED", "STATE")
    rows = [heading, *(_cells(row) for row in found)]
    widths = [max(len(cells[place]) for cells in rows) for place in range(len(heading))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip() for cells in rows]


def _cells(row: "Row") -> tuple[str, ...]:
    accounts = row["accounts"]
    return (
        f"bmk_{row['environment']}_{row['token_id']}…",
        line_of(row["name"], 30),
        " ".join(row["scopes"]),
        "all" if accounts is None else line_of(" ".join(accounts), 40),
        _moment(row["created_at"]),
        _moment(row["expires_at"]) or "never",
        _moment(row["last_used_at"]) or "-",
        row["state"],
    )


def _moment(moment: Any) -> str:
    return f"{moment:%Y-%m-%d %H:%M}" if isinstance(moment, datetime) else ""


def _hand_out(text: str, told: str) -> None:
    """The token alone on standard output, so that it can be captured; the rest beside it."""
    typer.echo(told, err=True)
    typer.echo("this is shown once; send it as `Authorization: Bearer …`", err=True)
    typer.echo(text)


def _environment() -> "Environment":
    from bankmirror import settings

    return "live" if settings.load(settings.UpSettings).is_live else "test"


def _in_access(work: "Callable[[Connection], Awaitable[T]]") -> T:
    return _checked(lambda: in_access(work))


def _checked(work: Callable[[], T]) -> T:
    """What the work returns; what it refuses is told, and ends the command."""
    from bankmirror.tokens import TokenError

    try:
        return work()
    except TokenError as error:
        refuse(str(error))
