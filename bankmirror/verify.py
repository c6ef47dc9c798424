"""`bankmirror verify`: what was compared, each difference by name, and a line that says whether both are equal."""

import json
import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import date
from typing import Any, assert_never

import typer
from rich.console import Console
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

from bankmirror import process
from bankmirror.command import as_typed
from bankmirror.mend import explain
from bankmirror.plain import counted
from bankmirror.status import age, make_console
from banks.ports import BankError
from ingest.settings import IngestSettings
from ingest.tally import Difference, NoteKind, money, shown
from ingest.verify import Report, VerifyProgress, verify
from ingest.verify_account import AccountReport
from kernel.errors import StartupError

DIFFERENT = 1
NOT_COMPARED = 2
# Seconds between two plain lines of progress, and accounts from which on only those that differ are listed.
_LINE_SECONDS = 5.0
_ACCOUNTS_LISTED = 25


def run(account_id: str | None, first: date | None, last: date | None, *, as_json: bool) -> None:
    """Compare, print, and exit with 1 if something differs, 2 if not everything could be compared."""
    try:
        process.run_loop(_run(account_id, first, last, as_json=as_json))
    except typer.Exit:
        raise
    except Exception as error:
        told = None if "--verbose" in sys.argv else explain(error)
        if told is None:
            raise
        sys.stderr.write(f"error: {as_typed(str(told))}\n")
        raise typer.Exit(NOT_COMPARED) from error


async def _run(account_id: str | None, first: date | None, last: date | None, *, as_json: bool) -> None:
    if first and last and first > last:
        raise StartupError("--from is after --to, so there is no day to compare", "name the earlier day first")
    settings = process.prepare("ingest", IngestSettings, log_level="warning", log_format="console")
    console = make_console()
    # Beside a document for a machine, progress goes to whoever watches.
    with _Progress(Console(stderr=True, highlight=False) if as_json else console) as progress:
        report = await verify(settings, progress.show, account_id=account_id, first=first, last=last)
    if account_id is not None and not report.accounts and report.error is None:
        # Nothing compared is not nothing different: a name that is mistyped would be green for ever.
        raise StartupError(
            f"neither the bank nor the mirror has an account {account_id}", "name it by its id in the mirror"
        )
    if as_json:
        sys.stdout.write(json.dumps(document(report), indent=1, ensure_ascii=False) + "\n")
    else:
        for line in lines(report):
            console.print(line, soft_wrap=True)
    if code := exit_code(report):
        raise typer.Exit(code)


def exit_code(report: Report) -> int:
    """0 only if everything was compared and nothing differs."""
    if report.differences or any(account.days_unnamed for account in report.accounts):
        return DIFFERENT
    return 0 if report.is_compared else NOT_COMPARED


class _Progress:
    """One moving line at a terminal, a plain one now and then elsewhere."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._spinner = Spinner("dots", "asking the bank", style="cyan")
        self._live = Live(self._spinner, console=console, transient=True, refresh_per_second=12)
        self._next_line = time.monotonic() + _LINE_SECONDS

    def __enter__(self) -> "_Progress":
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def show(self, progress: VerifyProgress) -> None:
        line = _progress(progress)
        self._spinner.update(text=line)
        if not self._console.is_terminal and time.monotonic() >= self._next_line:
            self._next_line = time.monotonic() + _LINE_SECONDS
            self._console.print(line, soft_wrap=True)


def _progress(progress: VerifyProgress) -> str:
    what = "comparing" if progress.look == 1 else "looking again at what differs"
    done, total, elapsed = progress.accounts_done, progress.accounts_total, progress.elapsed_seconds
    rate = f"{progress.rows / max(elapsed, 0.001):,.0f} rows/s"
    parts = [f"{what}: {progress.rows:,} rows", rate, f"{done:,} of {counted(total, 'account')}"]
    if progress.look == 1 and done and total - done:
        parts.append(f"{age(elapsed / done * (total - done))} left")
    return ", ".join(parts)


# ── for people ──────────────────────────────────────────────────────────────────────────────────────────────


def lines(report: Report) -> Iterable[Text]:
    """What is printed, the verdict last."""
    by_account: dict[str, list[Difference]] = {}
    for difference in report.differences:
        by_account.setdefault(difference.account_id, []).append(difference)
    for account in report.accounts:
        differences = by_account.pop(account.account_id, [])
        if differences or account.error or account.days_unnamed or len(report.accounts) <= _ACCOUNTS_LISTED:
            yield from _account(account, differences)
    for account_id, differences in by_account.items():
        yield Text.assemble(("✗", "red"), f" {shown(account_id)}")
        yield from map(_difference, differences)
    for difference in report.moving:
        yield Text.assemble(
            ("?", "yellow"), f" {difference.account_id}: {_named(difference)} was different at every look"
        )
    yield from _notes(report)
    yield _verdict(report)


def _account(account: AccountReport, differences: Sequence[Difference]) -> Iterable[Text]:
    name = shown(account.account_id)
    if account.error is not None:
        yield Text.assemble(("?", "yellow"), f" {name}: could not be compared: {account.error}")
        return
    what = f"{counted(account.rows, 'transaction')} on {counted(account.days, 'day')}, {_sums(account.sums_minor)}"
    mark = ("✗", "red") if differences or account.days_unnamed else ("✓", "green")
    yield Text.assemble(mark, f" {name}: {what}")
    yield from map(_difference, differences)
    if account.days_unnamed:
        yield Text(f"    and differences on {counted(account.days_unnamed, 'more day')}")


def _difference(difference: Difference) -> Text:
    return Text.assemble("    ", (_named(difference), "bold"), f": {said(difference)}")


def _named(difference: Difference) -> str:
    on = f" on {difference.day}" if difference.day else ""
    match difference.subject:
        case "account":
            return "account"
        case "balance":
            return f"balance in {difference.key}"
        case "day":
            return f"total{on} in {difference.key}"
        case "transaction":
            return f"{shown(difference.key)}{on}"
        case _:
            assert_never(difference.subject)


def said(difference: Difference) -> str:
    """What is different, in words."""
    fields = difference.fields
    match difference.kind:
        case "differs":
            return "; ".join(f"{field.field}: bank {field.bank}, mirror {field.mirror}" for field in fields)
        case "missing-here":
            return ", ".join(["the bank has it, the mirror lacks it", *(f"{f.field} {f.bank}" for f in fields)])
        case "missing-at-bank":
            return ", ".join(["the mirror has it, the bank lacks it", *(f"{f.field} {f.mirror}" for f in fields)])
        case "refused-unkept":
            return f"the bank shows a row that was refused ({fields[0].bank}), and it is not in quarantine"
        case "untied" if difference.subject == "balance":
            told = "; ".join(f"{field.field}: history {field.bank}, mirror {field.mirror}" for field in fields)
            return f"the mirror contradicts its own history: {told}"
        case "untied":
            told = "; ".join(f"{field.field}: total {field.bank}, rows {field.mirror}" for field in fields)
            return f"the mirror's rows do not add up to its total: {told}"
        case _:
            assert_never(difference.kind)


# Of one, and of several.
_NOTES: dict[NoteKind, tuple[str, str]] = {
    "quarantined": (
        "refused row is in quarantine: `bankmirror quarantine list`",
        "refused rows are in quarantine: `bankmirror quarantine list`",
    ),
    "settled-hold": (
        "hold is not shown, because the bank shows what it was booked as too",
        "holds are not shown, because the bank shows what they were booked as too",
    ),
    "awaits-second-look": (
        "row was not shown by the bank once; a second complete look removes it",
        "rows were not shown by the bank once; a second complete look removes them",
    ),
    "unlisted-account": (
        "account is not listed by the bank any more; what it had stays in the mirror",
        "accounts are not listed by the bank any more; what they had stays in the mirror",
    ),
    "gone-at-bank": (
        "account is gone at the bank; what it had stays in the mirror",
        "accounts are gone at the bank; what they had stays in the mirror",
    ),
    "held-back": (
        "account may be a known one under a new id, and waits for a decision: `bankmirror identity list`",
        "accounts may be known ones under a new id, and wait for a decision: `bankmirror identity list`",
    ),
    "unseen-balance": (
        "balance is not shown by the bank any more; the last one it had stays",
        "balances are not shown by the bank any more; the last one of each stays",
    ),
}


def _notes(report: Report) -> Iterable[Text]:
    counts = Counter(note.kind for note in report.notes)
    for kind, (one, many) in _NOTES.items():
        if counts[kind]:
            yield Text.assemble(("·", "dim"), f" {as_typed(counted(counts[kind], one, many))}")


def _sums(sums_minor: dict[str, int]) -> str:
    return "Σ " + (", ".join(money(total, currency) for currency, total in sorted(sums_minor.items())) or "0")


def _verdict(report: Report) -> Text:
    took = f"{report.elapsed_seconds:.1f} s"
    if report.error is not None:
        return Text.assemble(("not compared", "bold yellow"), f": {report.error}{_mend(report.error)}")
    compared = [account for account in report.accounts if account.error is None]
    sums: dict[str, int] = {}
    for account in compared:
        for currency, total in account.sums_minor.items():
            sums[currency] = sums.get(currency, 0) + total
    rows = sum(account.rows for account in compared)
    what = f"{counted(rows, 'transaction')} of {counted(len(compared), 'account')}, {_sums(sums)}"
    match exit_code(report):
        case 0:
            return Text.assemble(("equal", "bold green"), f": {what}; every day ties with the bank ({took})")
        case code if code == DIFFERENT:
            named = counted(len(report.differences), "difference")
            return Text.assemble(("different", "bold red"), f": {named} in {what} ({took}){as_typed(remedies(report))}")
        case _:
            errors = [account.error for account in report.accounts if account.error is not None]
            why = "what moves at the bank was never seen at rest"
            if errors:
                why = f"{counted(len(errors), 'account')} could not be read"
            mend = _mend(errors[0]) if errors else ""
            return Text.assemble(("not compared", "bold yellow"), f": {why}; no difference in {what} ({took}){mend}")


def _mend(error: BankError) -> str:
    told = explain(error)
    return "" if told is None else f"\n  mend: {told.mend}"


def remedies(report: Report) -> str:
    """What to do about the differences, a line for each kind of cause."""
    kinds = {difference.kind for difference in report.differences}
    told = ""
    # Where the mirror contradicts itself, it is not the bank that a sweep would have to ask again.
    if "untied" in kinds:
        told += "\n  mend: something else than ingest has written to the mirror: see docs/how-to/verify-the-mirror.md"
    if kinds - {"untied"} or not kinds:
        told += (
            "\n  mend: `bankmirror ingest sweep` has everything read again; what the bank lacks twice is removed then"
        )
    return told


# ── for machines ────────────────────────────────────────────────────────────────────────────────────────────


def document(report: Report) -> dict[str, Any]:
    """The same as JSON: sums are integers of minor units."""
    return {
        "verdict": ("equal", "different", "not-compared")[exit_code(report)],
        "error": None if report.error is None else str(report.error),
        "looks": report.looks,
        "elapsed_seconds": round(report.elapsed_seconds, 3),
        "accounts": [
            {
                "account_id": account.account_id,
                "transactions": account.rows,
                "days": account.days,
                "sums_minor": account.sums_minor,
                "more_days_differ": account.days_unnamed,
                "error": None if account.error is None else str(account.error),
            }
            for account in report.accounts
        ],
        "differences": [_difference_document(difference) for difference in report.differences],
        "moving": [_difference_document(difference) for difference in report.moving],
        "notes": [note._asdict() for note in report.notes],
    }


def _difference_document(difference: Difference) -> dict[str, Any]:
    return {
        "account_id": difference.account_id,
        "subject": difference.subject,
        "key": difference.key,
        "day": None if difference.day is None else difference.day.isoformat(),
        "kind": difference.kind,
        "fields": [field._asdict() for field in difference.fields],
    }
