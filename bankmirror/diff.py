"""`bankmirror diff`: why past days changed between two moments, for a person who closes the books, or as JSON."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import IO, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from bankmirror import settings
from bankmirror.database import check_schema
from bankmirror.settings import UpSettings
from bankmirror.status import make_console
from kernel.caller import OPERATOR
from kernel.database import READER, make_pool
from kernel.errors import NotFound, Problem, StartupError
from readapi import moments
from readapi.reader import Reader
from readapi.values import read_moment

# Lines in one question to the database; all pages are read.
_PAGE_LINES = 500
_KIND_STYLES = {"late": "yellow", "removed": "red", "absent": "red", "corrected": "yellow", "re-dated": "yellow"}
# A person waits longer than an agent: the difference of a whole first load is computed in seconds, not milliseconds.
_SESSION = replace(READER, application_name="bankmirror diff", statement_timeout_ms=60_000)
# The fields that text of third parties is in.
_UNTRUSTED = ("description", "counterparty_name")
_CELLS = 40


@dataclass(frozen=True, slots=True)
class Asked:
    """What is compared: two moments, one account or all, and the booking dates (null: endless)."""

    known_from: datetime
    known_to: datetime | None
    account_id: str | None = None
    first: date | None = None
    last: date | None = None


def read_asked(
    known_from: str, known_to: str | None, account_id: str | None, first: str | None, last: str | None
) -> Asked:
    """What was typed. Raises StartupError that names the flag."""
    return Asked(
        _moment("--known-from", known_from),
        None if known_to is None else _moment("--known-to", known_to),
        account_id,
        None if first is None else _day("--from", first),
        None if last is None else _day("--to", last),
    )


def _moment(flag: str, text: str) -> datetime:
    # A day alone is its beginning in UTC.
    written = f"{text}T00:00:00Z" if len(text) == len("2026-01-31") else text
    try:
        moment: datetime = read_moment(written)
    except ValueError:
        raise StartupError(
            f"{flag} is no moment: {text}", "write it with its offset, as 2026-02-01T00:00:00Z, or name a day"
        ) from None
    return moment


def _day(flag: str, text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise StartupError(f"{flag} is no day: {text}", "write it as 2026-01-31") from None


async def show(asked: Asked, *, as_json: bool, file: IO[str] | None = None) -> None:
    """Print what changed. Raises StartupError for moments that cannot be compared, a Problem, or psycopg.Error."""
    url = settings.database_url(settings.load(UpSettings))
    check_schema(url)
    async with make_pool(url, _SESSION, max_size=1, autocommit=True) as pool:
        try:
            found = await compare(Reader(pool, OPERATOR), asked)
        except Problem as problem:
            raise StartupError(str(problem), problem.what_to_do()) from problem
    console = make_console(file)
    if as_json:
        console.file.write(json.dumps(found, indent=2, ensure_ascii=False) + "\n")
    else:
        print_found(console, asked, found)


async def compare(reader: Reader, asked: Asked) -> dict[str, Any]:
    """The whole difference: that of `GET /banking/diff`, all pages in one."""
    known_to = asked.known_to or await moments.latest(reader, asked.account_id)
    if known_to is None:
        raise StartupError("nothing was read from a bank yet", "start `bankmirror up` or `bankmirror ingest`")
    if asked.known_from > known_to:
        raise StartupError(f"--known-from is after --known-to, {known_to.isoformat()}", "name the earlier moment first")
    whole: dict[str, Any] = {}
    after: list[str] | None = None
    while True:
        answer = await moments.list_differences(
            reader,
            known_from=asked.known_from,
            known_to=known_to,
            account_id=asked.account_id,
            first=asked.first,
            last=asked.last,
            after=after,
            limit=_PAGE_LINES,
        )
        if not answer.found:
            raise NotFound(f"no account had the id {asked.account_id} by then")
        data = json.loads(answer.data)
        if whole:
            whole["differences"] += data["differences"]
        else:
            whole = {**data, "freshness": json.loads(answer.freshness)}
        if answer.next is None:
            return whole
        after = json.loads(answer.next)


def print_found(console: Console, asked: Asked, found: dict[str, Any]) -> None:
    """What `compare` found, for a person: a summary for each account first, then the lines."""
    days = ""
    if asked.first or asked.last:
        days = f", booked {asked.first or 'from the beginning'} to {asked.last or 'the end'}"
    console.print(f"What was known at {found['known_from']} against {found['known_to']}{days}", soft_wrap=True)
    freshness = found["freshness"]
    if freshness["verdict"] != "fresh":
        console.print(Text(f"{freshness['verdict']}: {freshness['reason']}", "yellow"), soft_wrap=True)
    if not found["differences"]:
        console.print("No difference.")
        return
    console.print()
    console.print(_summary(found["summary"]))
    console.print()
    console.print(_lines(found["differences"]))
    if broken := [line["account_id"] for line in found["summary"] if not line["ties"]]:
        # It never should: then the mirror's totals are wrong, and nothing here is to be trusted.
        console.print(Text(f"DOES NOT TIE: {', '.join(broken)}", "bold red"), soft_wrap=True)


def _summary(summary: Iterable[dict[str, Any]]) -> Table:
    table = _table("account", "", "booked then", "booked later", "change", "because of", right=(2, 3, 4))
    for line in summary:
        kinds = ", ".join(f"{kind['entries']} {kind['kind']} ({_signed(kind['effect'])})" for kind in line["kinds"])
        table.add_row(
            _plain(line["account_id"]), line["currency"], line["known_from"], line["known_to"], _signed(line["change"]),
            kinds if line["ties"] else Text(f"{kinds}: DOES NOT TIE", "bold red"),
        )  # fmt: skip
    return table


def _lines(differences: Iterable[dict[str, Any]]) -> Table:
    table = _table("account", "day", "what", "effect", "", "transaction", "", right=(3,))
    for line in differences:
        for number, effect in enumerate(line["effects"]):
            first = number == 0
            table.add_row(
                _plain(line["account_id"]) if first else "",
                line["day"] if first else "",
                Text(line["kind"], _KIND_STYLES.get(line["kind"], "")) if first else "",
                _signed(effect["effect"]),
                effect["currency"],
                _plain(line["transaction_id"]) if first else "",
                _plain(_told(line)) if first else "",
            )
    return table


def _told(line: dict[str, Any]) -> str:
    """What happened to one transaction, in words."""
    before, after = line["before"], line["after"]
    parts = [f"{name}: {_value(before, name)} → {_value(after, name)}" for name in line["changed"]]
    if before and after and before["transaction_id"] != after["transaction_id"]:
        parts.insert(0, f"now {after['transaction_id']}")
    elif line["successor_id"]:
        parts.append(f"became {line['successor_id']}")
    shown = after or before
    words = shown["untrusted"]["description"] or shown["type"]
    return f"{shown['amount']} {shown['status']} “{words[:_CELLS]}”" + "".join(f"; {part}" for part in parts)


def _value(row: dict[str, Any], name: str) -> str:
    if name == "amount_minor":
        return str(row["amount"])
    value = row["untrusted"][name] if name in _UNTRUSTED else row.get(name)
    return "none" if value is None else str(value)[:_CELLS]


def _signed(amount: str) -> str:
    """With its sign, but for nothing."""
    return amount if amount.startswith("-") or not amount.strip("0.") else f"+{amount}"


def _plain(text: str) -> Text:
    # Ids are the bank's own: never markup, and never a control sequence.
    return Text("".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text))


def _table(*columns: str, right: tuple[int, ...]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for number, name in enumerate(columns):
        # The last is for words, and the only one that may be broken.
        table.add_column(name, justify="right" if number in right else "left", no_wrap=number + 1 < len(columns))
    return table
