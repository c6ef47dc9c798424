"""`bankmirror quarantine`: the rows of the bank that were refused, and what can be done about them.

Imports what it needs when it runs, as every command does.
"""

import json
import sys
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bankmirror.by_hand import ID_MAX, in_mirror, refuse, who
from bankmirror.plain import line_of

if TYPE_CHECKING:
    from ingest.quarantine import Entry

app = typer.Typer(help="Rows of the bank that were refused: list, show, retry or resolve them.", no_args_is_help=True)

# Of a row's bytes, in the list; `show` has all of them.
_EXCERPT_CHARACTERS = 100


@app.command("list")
def list_entries(
    everything: Annotated[bool, typer.Option("--all", help="Resolved ones too.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """What was refused, why, since when and how often."""
    from ingest import quarantine

    found = in_mirror(lambda pool: quarantine.entries(pool, resolved_too=everything))
    if as_json:
        sys.stdout.write(json.dumps([document(entry) for entry in found], indent=1) + "\n")
        return
    _print(found)


@app.command()
def show(quarantine_id: Annotated[int, typer.Argument(metavar="ID", min=1, max=ID_MAX)]) -> None:
    """Print the bytes of a refused row exactly as they were kept."""
    from ingest import quarantine

    found = in_mirror(lambda pool: quarantine.entries(pool, quarantine_id=quarantine_id))
    if not found:
        refuse(f"there is no entry {quarantine_id}")
    sys.stdout.buffer.write(found[0].raw + b"\n")


@app.command()
def retry(
    quarantine_ids: Annotated[list[int] | None, typer.Argument(metavar="[ID]...", min=1, max=ID_MAX)] = None,
) -> None:
    """Read refused rows again with today's adapter, all or some; exits with 1 if one stays."""
    from ingest import quarantine

    told = in_mirror(lambda pool: quarantine.retry(pool, quarantine_ids or None))
    for entry in told:
        typer.echo(f"{entry.quarantine_id}: {entry.outcome}{f', {line_of(entry.reason)}' if entry.reason else ''}")
    kept = sum(entry.outcome == "kept" for entry in told)
    typer.echo(f"{len(told) - kept} settled, {kept} kept" if told else "nothing is in quarantine")
    if kept:
        raise typer.Exit(1)


@app.command()
def resolve(
    quarantine_id: Annotated[int, typer.Argument(metavar="ID", min=1, max=ID_MAX)],
    reason: Annotated[
        str, typer.Option("--reason", "--why", help="Why these bytes need not be in the mirror; it is kept.")
    ],
    by: Annotated[str | None, typer.Option(help="Who says so; by default the user of this machine.")] = None,
) -> None:
    """Answer for a refused row that nothing else will settle: it casts no doubt any more, and is not mirrored."""
    from ingest import quarantine

    if not reason.strip():
        refuse("say why: --reason")
    if not in_mirror(lambda pool: quarantine.resolve(pool, quarantine_id, by=who(by), why=reason)):
        refuse(f"no entry {quarantine_id} is open")
    typer.echo(f"{quarantine_id}: resolved by {who(by)}; `bankmirror quarantine list --all` shows it")


def document(entry: "Entry") -> dict[str, Any]:
    """An entry for a machine: times in ISO 8601, the bytes as text in which nothing is a control character."""
    fields = asdict(entry)
    fields["raw"] = entry.raw.decode(errors="backslashreplace")
    for name in ("first_seen_at", "last_seen_at", "resolved_at", "day"):
        value = fields[name]
        fields[name] = None if value is None else value.isoformat()
    return fields


def _settled(entry: "Entry") -> str:
    person = f" by {entry.resolved_by}: {entry.resolved_why}" if entry.resolved_by else ""
    return f"{entry.resolution}{person} ({_moment(entry.resolved_at)})"


def _moment(moment: datetime | None) -> str:
    return "" if moment is None else f"{moment:%Y-%m-%d %H:%M}"


def _print(found: "list[Entry]") -> None:
    from rich.table import Table
    from rich.text import Text

    from bankmirror.command import as_typed
    from bankmirror.status import make_console

    console = make_console()
    if not found:
        console.print("nothing is in quarantine")
        return
    table = Table(box=None, pad_edge=False)
    for title in ("id", "account", "feed", "since (UTC)", "seen", "reason", "excerpt"):
        table.add_column(title, justify="right" if title in ("id", "seen") else "left", overflow="fold")
    for entry in found:
        cells = (
            str(entry.quarantine_id),
            line_of(entry.account_id) or "-",
            entry.feed,
            f"{entry.first_seen_at:%Y-%m-%d %H:%M:%S}",
            str(entry.times_seen),
            line_of(entry.reason if entry.resolution is None else _settled(entry)),
            line_of(entry.raw.decode(errors="replace"), _EXCERPT_CHARACTERS),
        )
        # As text: square brackets would be markup, and a bank could write with colours.
        table.add_row(*map(Text, cells))
    console.print(table)
    waiting = sum(entry.resolved_at is None for entry in found)
    told = f"\n{waiting} open; `bankmirror quarantine retry` reads them again, `show ID` prints what came"
    console.print(as_typed(told), soft_wrap=True)
