"""`bankmirror audit`: who asked what, when, and which answer it was.

Imports what it needs when it runs, as every command does.
"""

import asyncio
import json
import re
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

import typer

from bankmirror.by_hand import refuse
from bankmirror.plain import counted, line_of

if TYPE_CHECKING:
    from psycopg.rows import DictRow

app = typer.Typer(help="What was asked and answered: read receipts.", no_args_is_help=True)

_HASH_CHARACTERS = 64
# What is printed of a hash; `--hash` takes as much of one as is given.
_HASH_SHOWN = 12
_TARGET_CHARACTERS = 90


@app.callback()
def group() -> None:
    """What was asked and answered: read receipts."""


@app.command()
def reads(
    token: Annotated[str | None, typer.Option(metavar="ID|NAME", help="Only this token's, by its id or name.")] = None,
    account: Annotated[str | None, typer.Option(help="Only questions that name this account.")] = None,
    first: Annotated[
        str | None, typer.Option("--from", help="From this moment, as 2026-02-01T09:30:00Z or a day.")
    ] = None,
    last: Annotated[str | None, typer.Option("--to", help="Up to this moment.")] = None,
    answer: Annotated[str | None, typer.Option("--hash", help="Only answers whose SHA-256 begins so.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1_000_000, help="At most so many, the newest.")] = 100,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Who asked what, when first, when last and how often, at which version of the mirror, with which answer."""
    parameters = {
        "who": token,
        "account_ids": None if account is None else spellings(account),
        "since": _moment("--from", first),
        "until": _moment("--to", last),
        **_hashes(answer),
        "limit": limit,
    }
    found = asyncio.run(_select(parameters))
    if as_json:
        sys.stdout.write(json.dumps([document(row) for row in found], indent=1, ensure_ascii=False) + "\n")
    elif found:
        typer.echo("\n".join(lines(found)))
        if len(found) == limit:
            typer.echo(f"the newest {limit:,}; --limit shows more", err=True)
    else:
        typer.echo("no receipt: nobody asked so, or it is older than BANKMIRROR_RECEIPT_DAYS", err=True)


def spellings(account_id: str) -> list[str]:
    """An account's id as it may stand in an address."""
    return sorted({quote(account_id, safe=""), quote(account_id, safe="!$&'()*+,;=:@"), account_id})


def document(row: "DictRow") -> dict[str, Any]:
    """A receipt for a machine: times in ISO 8601."""
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in row.items()}


def lines(found: "list[DictRow]") -> list[str]:
    """Receipts as a person reads them, a line each under a heading, the newest first."""
    heading = ("LAST (UTC)", "SINCE", "TIMES", "CALLER", "STATUS", "VERSION", "ANSWER", "QUESTION")
    rows = [heading, *(_cells(row) for row in found)]
    widths = [max(len(cells[place]) for cells in rows) for place in range(len(heading) - 1)]
    told = ["  ".join([*(c.ljust(w) for c, w in zip(cells, widths, strict=False)), cells[-1]]) for cells in rows]
    callers = len({(row["token_id"], row["caller"]) for row in found})
    answers = sum(row["times"] for row in found)
    return [*told, f"{counted(answers, 'answer')} to {counted(callers, 'caller')}"]


def _cells(row: "DictRow") -> tuple[str, ...]:
    name = line_of(row["caller"], 30)
    return (
        f"{row['last_at'].astimezone(UTC):%Y-%m-%d %H:%M:%S}",
        f"{row['first_at'].astimezone(UTC):%H:%M:%S.%f}"[:-3],
        f"{row['times']:,}",
        name if row["token_id"] is None else f"{name} ({row['token_id']})",
        str(row["status"]),
        row["version"] or "-",
        row["result_sha256"][:_HASH_SHOWN],
        line_of(row["target"], _TARGET_CHARACTERS),
    )


async def _select(parameters: dict[str, Any]) -> "list[DictRow]":
    from bankmirror import settings, store
    from bankmirror.database import check_schema
    from kernel.access import STATIC
    from kernel.caller import ANONYMOUS

    url = settings.database_url(settings.load(settings.UpSettings))
    check_schema(url)
    async with await store.connect(url) as connection:
        found = await store.fetch_all(connection, "reads_list", **parameters)
        who = parameters["who"]
        # Who needs no token of the database is a caller too, with receipts under a name.
        if (
            found
            or who in (None, ANONYMOUS.name, STATIC.name)
            or await store.fetch_all(connection, "tokens_list", which=who)
        ):
            return found
    refuse(f"there is no token {line_of(who, 100)}; `bankmirror token list --all` shows all")


def _moment(flag: str, text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        refuse(f"{flag} {text}: not a moment; write it as 2026-02-01T09:30:00Z, or a day as 2026-02-01")
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _hashes(answer: str | None) -> dict[str, bytes | None]:
    """The lowest and the highest hash that begins so."""
    if answer is None:
        return {"hash_from": None, "hash_to": None}
    given = answer.lower().removeprefix("sha256:")
    if not re.fullmatch(f"[0-9a-f]{{1,{_HASH_CHARACTERS}}}", given):
        refuse(f"--hash {line_of(answer, 80)}: not the beginning of a SHA-256 in hexadecimal")
    low, high = given.ljust(_HASH_CHARACTERS, "0"), given.ljust(_HASH_CHARACTERS, "f")
    return {"hash_from": bytes.fromhex(low), "hash_to": bytes.fromhex(high)}
