"""`bankmirror identity`: which ids are one transaction or account, and what waits for somebody to say so.

Imports what it needs when it runs, as every command does.
"""

import asyncio
import getpass
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bankmirror.plain import line_of

if TYPE_CHECKING:
    from ingest.rulings import Link, RefusedFeed, Ruling
    from kernel.database import Pool

app = typer.Typer(
    help="Which ids are one transaction or account; confirm, reject or undo a link.", no_args_is_help=True
)

_LINK = Annotated[str, typer.Argument(help="The link, as `bankmirror identity list` names it.")]
_WHY = Annotated[str, typer.Option("--why", "--reason", help="The reason; it is kept with the decision.")]
_BY = Annotated[str | None, typer.Option("--by", help="Who decides. Default: the login name.")]


@app.command("list")
def list_links(
    everything: Annotated[bool, typer.Option("--all", help="Also what is decided, or was certain.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Show what is suggested and waits for somebody: links, relinked accounts, feeds whose changes were refused."""

    async def work(pool: "Pool") -> None:
        from ingest.rulings import State, list_refused
        from ingest.rulings import list_links as find

        states: list[State] = ["suggested"]
        if everything:
            states += ["linked", "confirmed", "rejected", "undone"]
        _print(await find(pool, states), await list_refused(pool), as_json=as_json)

    _run(work)


@app.command()
def confirm(link: _LINK, why: _WHY, by: _BY = None) -> None:
    """Say that the two ids are one. An account keeps its former id, and is read again."""
    from ingest.rulings import Ruling

    _rule(link, Ruling.CONFIRM, why, by)


@app.command()
def reject(link: _LINK, why: _WHY, by: _BY = None) -> None:
    """Say that the two ids are not one. An account that was held back is mirrored beside the other one."""
    from ingest.rulings import Ruling

    _rule(link, Ruling.REJECT, why, by)


@app.command()
def undo(link: _LINK, why: _WHY, by: _BY = None) -> None:
    """Take a link back that was made or confirmed. It is not made again."""
    from ingest.rulings import Ruling

    _rule(link, Ruling.UNDO, why, by)


@app.command("accept-changes")
def accept_changes(
    why: _WHY,
    account: Annotated[str, typer.Option(help="The account, where the bank is read account by account.")] = "",
    connection: Annotated[str, typer.Option(help="The connection.")] = "default",
    by: _BY = None,
) -> None:
    """Say that the changes which a feed was refused for are true corrections; it is polled and swept at once."""

    async def work(pool: "Pool") -> None:
        from ingest.rulings import ACCEPT_HOURS
        from ingest.rulings import accept_changes as accept

        await accept(pool, connection, account, by or getpass.getuser(), why)
        typer.echo(
            f"the next poll stores them, and a sweep looks for what is left over; this holds for {ACCEPT_HOURS} hours"
        )

    _run(work)


def _rule(link_id: str, ruling: "Ruling", why: str, by: str | None) -> None:
    async def work(pool: "Pool") -> None:
        from ingest.rulings import rule, ruled

        link = await rule(pool, link_id, ruling, by or getpass.getuser(), why)
        typer.echo(f"{link.former_id} -> {link.new_id} of {link.account_id}: {ruled(link.state, ruling)}")

    _run(work)


def _run(work: "Callable[[Pool], Coroutine[Any, Any, None]]") -> None:
    asyncio.run(_with_pool(work))


async def _with_pool(work: "Callable[[Pool], Coroutine[Any, Any, None]]") -> None:
    from bankmirror import settings
    from bankmirror.command import as_typed
    from bankmirror.database import check_schema
    from ingest.rulings import RulingRefused
    from ingest.store import open_mirror

    url = settings.database_url(settings.load(settings.UpSettings))
    check_schema(url)
    async with open_mirror(url) as pool:
        try:
            await work(pool)
        except RulingRefused as refused:
            typer.echo(f"error: {as_typed(str(refused))}", err=True)
            raise typer.Exit(1) from None


def _print(links: "list[Link]", refused: "list[RefusedFeed]", *, as_json: bool) -> None:
    if as_json:
        import dataclasses
        import json

        document = {name: [dataclasses.asdict(row) for row in rows] for name, rows in _named(links, refused)}
        typer.echo(json.dumps(document, default=str, indent=2))
        return
    from rich.table import Table
    from rich.text import Text

    from bankmirror.command import as_typed
    from bankmirror.status import make_console

    console = make_console()
    if links:
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
        for column in ("link", "what", "account", "former id", "new id", "evidence", "state", "decided"):
            table.add_column(column, no_wrap=True)
        for link in links:
            decided = f"{link.decided_by}: {link.note or ''}" if link.decided_by else ""
            cells = (link.link_id, f"{link.subject} {link.kind}", link.account_id, link.former_id, link.new_id)
            said = (*cells, _evidence(link), link.state, decided)
            table.add_row(*(Text(line_of(cell)) for cell in said))
        console.print(table)
        for link in links:
            console.print(Text(f"{link.link_id}  former  {_side(link.former)}"), soft_wrap=True)
            console.print(Text(f"{'':{len(link.link_id)}}  new     {_side(link.new)}"), soft_wrap=True)
    for feed in refused:
        where = f"account {feed.account_id}" if feed.account_id else f"connection {feed.connection_id}"
        console.print(
            Text(
                f"refused: {feed.rows_rewritten:,} of {feed.rows_held:,} booked transactions of {where} "
                f"changed amount, day and text at once since {feed.raised_at:%Y-%m-%d %H:%M}, "
                f"such as {', '.join(feed.sample)}"
            ),
            soft_wrap=True,
        )
    if not links and not refused:
        console.print("Nothing waits for a decision.")
    elif any(link.state == "suggested" for link in links):
        console.print(as_typed("Decide with `bankmirror identity confirm LINK --why …`, or reject, or undo."))


def _named(links: "list[Link]", refused: "list[RefusedFeed]") -> tuple[tuple[str, list[Any]], tuple[str, list[Any]]]:
    return ("links", links), ("refused_feeds", refused)


def _side(side: dict[str, Any] | None) -> str:
    """What a person decides by: amount, day and text."""
    from ingest.tally import money

    if side is None:
        return "not known any more"
    amount = side.get("amount_minor")
    words = [side.get("currency") or "" if amount is None else money(amount, side["currency"]), side.get("day") or ""]
    return "  ".join([word for word in words if word] + [line_of(side["text"] or "", 100)])


def _evidence(link: "Link") -> str:
    if link.subject == "account":
        return f"{link.evidence}, {link.rows_equal:,} of {link.rows_seen:,} rows equal"
    return f"{link.evidence} ({link.confidence})"
