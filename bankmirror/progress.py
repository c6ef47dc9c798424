"""`ingest once` and `backfill` as a person watches them: rows, rate and time left, then what arrived.

At a terminal one line moves; elsewhere a plain line is printed now and then.
"""

import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import typer
from rich.console import Console
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

from bankmirror import process
from bankmirror.command import as_typed
from bankmirror.mend import explain
from bankmirror.plain import counted
from bankmirror.status import age
from ingest.once import FeedOutcome, OnProgress, RunProgress, Summary, backfill, once
from ingest.settings import IngestSettings
from ingest.tally import money
from ingest.verify_store import Proof

# Seconds between two plain lines: the log of a long backfill stays readable.
_LINE_SECONDS = 5.0

Errand = Callable[[IngestSettings, OnProgress], Coroutine[Any, Any, Summary]]


def run_once() -> None:
    """Poll every feed once; exits with 1 if one of them failed."""
    process.run_loop(_run(once, _prepare()))


def run_backfill() -> None:
    """Read what the bank has and the mirror lacks, and prove what is mirrored then; exits with 1 if a feed failed."""
    process.run_loop(_run(backfill, _prepare()))


def _prepare() -> IngestSettings:
    # Between the lines of a progress display only what is wrong is wanted.
    return process.prepare("ingest", IngestSettings, log_level="warning", log_format="console")


async def _run(errand: Errand, settings: IngestSettings) -> None:
    console = Console(highlight=False)
    with Reading(console) as reading:
        summary = await errand(settings, reading.show)
    for feed in summary.feeds:
        if feed.error or not feed.account_id:
            console.print(_outcome(feed), soft_wrap=True)
    for mend in mends(summary.feeds):
        console.print(Text.assemble("  ", ("mend: ", "yellow"), mend), soft_wrap=True)
    took = f"{summary.elapsed_seconds:.1f} s, {_rate(summary.rows_seen, summary.elapsed_seconds)}"
    console.print(f"{summary.rows_seen:,} rows read, {summary.rows_changed:,} changed, {took}", soft_wrap=True)
    if summary.proof is not None:
        if summary.was_complete:
            console.print("the mirror was already complete: only what changed since was read", soft_wrap=True)
        for line in proof_lines(summary.proof):
            console.print(line, soft_wrap=True)
    if not summary.ok:
        raise typer.Exit(1)


class Reading:
    """The display of a run that reads the bank."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._spinner = Spinner("dots", "asking the bank", style="cyan")
        self._live = Live(self._spinner, console=console, transient=True, refresh_per_second=12)
        self._next_line = time.monotonic() + _LINE_SECONDS

    def __enter__(self) -> "Reading":
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def show(self, progress: RunProgress) -> None:
        """Show how far it is; called often."""
        line = _progress(progress)
        self._spinner.update(text=line)
        if not self._console.is_terminal and time.monotonic() >= self._next_line:
            self._next_line = time.monotonic() + _LINE_SECONDS
            self._console.print(line, soft_wrap=True)


def _progress(progress: RunProgress) -> str:
    feed = f"{progress.feed} {progress.account_id}".strip()
    parts = [f"{feed}: {progress.rows_seen:,} rows", _rate(progress.rows_seen, progress.elapsed_seconds)]
    if progress.targets_total > 1:
        parts.append(f"feed {min(progress.targets_done + 1, progress.targets_total)} of {progress.targets_total:,}")
    # A bank's change feed does not tell how long it is; then nobody can know.
    if progress.eta_seconds is not None:
        parts.append(f"{age(progress.eta_seconds)} left")
    return ", ".join(parts)


def _rate(rows: int, seconds: float) -> str:
    return f"{rows / max(seconds, 0.001):,.0f} rows/s"


def _outcome(feed: FeedOutcome) -> Text:
    mark, style = ("✓", "green") if feed.outcome == "complete" and feed.error is None else ("✗", "red")
    name = f"{feed.feed} {feed.account_id}".strip()
    said = f": {feed.error}" if feed.error else f"  {feed.rows_seen:,} rows, {feed.rows_changed:,} changed"
    return Text.assemble((mark, style), f" {name}{said}")


def mends(feeds: Sequence[FeedOutcome]) -> list[str]:
    """What to do about the failures of the bank, each once: the mends that `up` and `doctor` give."""
    told = [explain(feed.cause) for feed in feeds if feed.cause is not None]
    return list(dict.fromkeys(error.mend for error in told if error is not None))


def proof_lines(proof: Proof) -> list[Text]:
    """What is in the mirror now, to be held against the bank's own figures, and whether it ties.

    Each day's total was summed up as its rows came in; here the rows are counted as they lie in the table.
    """
    sums = ", ".join(money(total, currency) for currency, total in sorted(proof.sums_minor.items()))
    rows = f"{counted(proof.transactions, 'transaction')} of {counted(proof.accounts, 'account')}, Σ {sums or '0'}"
    refused = f"; {counted(proof.quarantined, 'row')} in quarantine" if proof.quarantined else ""
    if proof.days_untied:
        wrong = f"{proof.days_untied:,} of {proof.days:,} account-days do not tie: run `bankmirror verify`"
        return [Text.assemble(("✗", "red"), f" in the mirror: {rows}{refused}; {as_typed(wrong)}")]
    tied = f"; {proof.balances_tied:,} of {proof.balances:,} balances are the sum of their bookings"
    days = f"; each of {proof.days:,} account-days ties{tied if proof.balances else ''}"
    further = "`bankmirror verify` compares it with the bank, row by row"
    return [Text.assemble(("✓", "green"), f" in the mirror: {rows}{days}{refused}"), Text(f"  {as_typed(further)}")]
