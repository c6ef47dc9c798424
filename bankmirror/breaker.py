"""`bankmirror breaker`: what is suddenly missing at the bank, and a person's word on whether it is gone.

Imports what it needs when it runs, as every command does.
"""

import json
import sys
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bankmirror.by_hand import in_mirror, refuse, who
from bankmirror.command import as_typed
from bankmirror.plain import line_of

if TYPE_CHECKING:
    from ingest.breaker import BreakerState, Decision

app = typer.Typer(
    help="So much was suddenly missing at the bank that nothing is removed: list it, accept or decline it.",
    no_args_is_help=True,
)

Who = Annotated[str | None, typer.Option(help="Who decides; by default the user of this machine.")]
Why = Annotated[str, typer.Option("--reason", "--why", help="Why; it is kept.")]
Which = Annotated[int, typer.Argument(metavar="ID")]


@app.command("list")
def list_breakers(
    everything: Annotated[bool, typer.Option("--all", help="Closed ones too.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """What is missing, since when, and what was decided about it."""
    from ingest import breaker

    found = in_mirror(lambda pool: breaker.breakers(pool, all_of_them=everything))
    if as_json:
        sys.stdout.write(json.dumps([asdict(state) for state in found], indent=1, default=_iso) + "\n")
        return
    if not found:
        typer.echo("no breaker is open")
    for state in found:
        typer.echo(as_typed("\n".join(lines(state))))


@app.command()
def accept(breaker_id: Which, reason: Why, by: Who = None) -> None:
    """It is gone: the next complete pass that still misses these transactions removes them, and no others; accounts and
    balances stay as they were last seen. Holds for a day.
    """
    _decide(breaker_id, "accepted", reason, by)


@app.command()
def decline(breaker_id: Which, reason: Why, by: Who = None) -> None:
    """It is not gone: everything stays, and answers are partial until the bank shows it. Takes an accept back."""
    _decide(breaker_id, "declined", reason, by)


def lines(state: "BreakerState") -> list[str]:
    """A breaker as a person reads it."""
    where = f" of {line_of(state.account_id)}" if state.account_id else ""
    missing = f"{state.absent:,} of {state.held:,} {state.feed}{where} are not listed any more"
    told = [f"{state.breaker_id}: {missing}, first seen {_iso(state.opened_at)}, last {_iso(state.last_missed_at)}"]
    told += [f"    {line_of(entry)}" for entry in state.sample]
    if state.absent > len(state.sample):
        told.append(f"    … and {state.absent - len(state.sample):,} more")
    if state.decision is not None:
        expired = ", more than 24 hours ago: it holds no longer" if state.expired else ""
        told.append(
            f"  {state.decision} by {line_of(state.decided_by or '')} at {_iso(state.decided_at)}"
            f" ({line_of(state.reason or '')}){expired}"
        )
    if state.closed_at is not None:
        told.append(f"  closed at {_iso(state.closed_at)}: {state.closed_because}")
    elif state.decision is None or state.expired:
        told.append(f"  ask the bank; then `bankmirror breaker accept {state.breaker_id} --reason …`, or decline it")
    return told


def _decide(breaker_id: int, decision: "Decision", reason: str, by: str | None) -> None:
    from ingest import breaker

    if not reason.strip():
        refuse("say why: --reason")
    open_ones = in_mirror(lambda pool: breaker.breakers(pool, all_of_them=False))
    feed = next((state.feed for state in open_ones if state.breaker_id == breaker_id), None)
    if feed is None or not in_mirror(
        lambda pool: breaker.decide(pool, breaker_id, decision, by=who(by), reason=reason)
    ):
        refuse(f"no breaker {breaker_id} is open; `bankmirror breaker list` shows those that are")
    typer.echo(f"breaker {breaker_id}: {decision}; {consequence(feed, decision)}")


def consequence(feed: str, decision: "Decision") -> str:
    """What follows from a decision about a breaker of this feed."""
    if decision == "declined":
        return f"nothing is removed, and it closes when the bank shows the {feed} again"
    if feed == "transactions":
        return "the next complete pass within 24 hours removes what it still misses"
    return f"the next listing within 24 hours may lack these {feed}; what the mirror has of them stays as last seen"


def _iso(moment: Any) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}" if isinstance(moment, datetime) else str(moment)
