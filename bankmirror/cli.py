"""The `bankmirror` command.

Each command imports what it needs when it runs: `--help` answers at once. What goes wrong is told in a line
with the mend, on standard error, with an exit code that is not zero; `--verbose` shows the traceback.
"""

import asyncio
import sys
from datetime import datetime
from typing import Annotated

import typer

from bankmirror import __version__
from bankmirror.audit import app as audit
from bankmirror.breaker import app as breaker
from bankmirror.identity import app as identity
from bankmirror.mcp import app as mcp
from bankmirror.parent import end_with_parent
from bankmirror.quarantine import app as quarantine
from bankmirror.token import app as token

app = typer.Typer(
    help="Your bank, mirrored in PostgreSQL.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
ingest = typer.Typer(help="Poll the bank and keep the mirror: for ever (`run`, the default), or `once`.")
app.add_typer(ingest, name="ingest", invoke_without_command=True)
app.add_typer(audit, name="audit")
app.add_typer(identity, name="identity")
app.add_typer(breaker, name="breaker")
app.add_typer(quarantine, name="quarantine")
app.add_typer(mcp, name="mcp")
app.add_typer(token, name="token")

# As shells do it, a program that was interrupted ends with this code.
_INTERRUPTED = 130


def main() -> None:
    """Run the command line and exit with its code."""
    verbose = "--verbose" in sys.argv
    end_with_parent()
    try:
        app(prog_name="bankmirror")
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)
    except Exception as error:
        from bankmirror.command import as_typed
        from bankmirror.mend import explain

        told = None if verbose else explain(error)
        if told is None:
            raise
        sys.stderr.write(f"error: {as_typed(str(told))}\n")
        sys.exit(1)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"bankmirror {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version.", callback=_show_version, is_eager=True)
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="Show tracebacks instead of one line.")] = False,
) -> None:
    """Your bank, mirrored in PostgreSQL."""


@app.command()
def up(
    port: Annotated[
        int | None, typer.Option(help="The port of the API; when taken, the next free one. Default 8000.")
    ] = None,
    accounts: Annotated[int | None, typer.Option(help="Accounts of a new sandbox bank.")] = None,
    transactions: Annotated[int | None, typer.Option(help="Transactions in the history of a new sandbox bank.")] = None,
    speed: Annotated[
        float | None, typer.Option(help="How much faster than ours the sandbox bank's clock goes.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="The source of all chance of a new sandbox bank.")] = None,
    chaos: Annotated[
        float | None, typer.Option(help="Share of requests, 0 to 1, that the sandbox bank answers with a fault.")
    ] = None,
    workers: Annotated[int | None, typer.Option(help="Processes that answer, all on one port. Default 1.")] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Begin anew: drop the embedded databases first.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before dropping.")] = False,
) -> None:
    """Run everything on this machine: database, bank, mirror, transfers and API."""
    if fresh and not yes:
        typer.confirm("Drop the mirror and the sandbox bank of this home?", abort=True)
    from bankmirror.up import Options, run

    run(Options(port, accounts, transactions, speed, seed, fresh, chaos, workers))


@app.command()
def migrate() -> None:
    """Bring the database to the schema of this version."""
    from bankmirror.database import migrate_schema
    from bankmirror.settings import UpSettings, database_url, load
    from schema.migrate import HEAD

    before = migrate_schema(database_url(load(UpSettings)))
    typer.echo(f"schema {before or 'none'} → {HEAD}" if before != HEAD else f"schema {HEAD}: nothing to do")


@app.command()
def doctor() -> None:
    """Check everything, and say what is wrong and how to mend it."""
    from bankmirror.doctor import examine

    raise typer.Exit(asyncio.run(examine()))


@app.command()
def status() -> None:
    """Show how fresh the mirror is, what runs, and what moves."""
    from bankmirror.status import show

    asyncio.run(show())


@app.command()
def diff(
    known_from: Annotated[str, typer.Option(help="The earlier moment, as 2026-02-01T00:00:00Z or a day.")],
    known_to: Annotated[str | None, typer.Option(help="The later moment. Default: the newest that is settled.")] = None,
    account: Annotated[str | None, typer.Option(help="Only this account.")] = None,
    first: Annotated[str | None, typer.Option("--from", help="The first booking date.")] = None,
    last: Annotated[str | None, typer.Option("--to", help="The last booking date.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """Say why past days changed between two moments: late, corrected, re-dated, removed …"""
    from bankmirror.diff import read_asked, show

    asyncio.run(show(read_asked(known_from, known_to, account, first, last), as_json=as_json))


@ingest.callback()
def ingest_default(context: typer.Context) -> None:
    """Poll the bank and keep the mirror: for ever (`run`, the default), or `once`."""
    if context.invoked_subcommand is None:
        ingest_run()


@ingest.command("run")
def ingest_run() -> None:
    """Poll for ever."""
    from bankmirror import process
    from ingest.app import serve
    from ingest.settings import IngestSettings

    process.run("ingest", IngestSettings, serve)


@ingest.command("once")
def ingest_once() -> None:
    """Poll every feed once, with progress."""
    from bankmirror.progress import run_once

    run_once()


@ingest.command("sweep")
def ingest_sweep() -> None:
    """Have everything read again now, to find what the bank changed or removed without telling."""
    from bankmirror.by_hand import in_mirror, refuse
    from bankmirror.plain import counted
    from ingest.decide import DEFAULT_CONNECTION
    from ingest.sweep import hasten

    feeds = in_mirror(lambda pool: hasten(pool, DEFAULT_CONNECTION))
    if not feeds:
        refuse("nothing is mirrored yet, so there is nothing to read again; run `bankmirror backfill`")
    typer.echo(
        f"asked for: the running ingest sweeps {counted(feeds, 'feed')}, each after its next poll\n"
        "what two sweeps miss is removed; the second follows within the hour\n"
        "(none runs while BANKMIRROR_SWEEP_HOURS is 0)"
    )


@app.command()
def backfill() -> None:
    """Read all that the bank has and the mirror lacks, with progress, and count what is mirrored."""
    from bankmirror.progress import run_backfill

    run_backfill()


@app.command()
def verify(
    account: Annotated[str | None, typer.Option(help="Only this account, by its id in the mirror.")] = None,
    first: Annotated[datetime | None, typer.Option("--from", formats=["%Y-%m-%d"], help="Only days from here.")] = None,
    last: Annotated[datetime | None, typer.Option("--to", formats=["%Y-%m-%d"], help="Only days up to here.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Compare the mirror with the bank, and name each difference; exits with 1 for any, 2 if it could not compare."""
    from bankmirror.verify import run

    run(account, first.date() if first else None, last.date() if last else None, as_json=as_json)


@app.command()
def readapi() -> None:
    """Serve the read API alone."""
    from bankmirror import process
    from bankmirror.workers import serve
    from readapi.settings import ReadapiSettings

    process.run("readapi", ReadapiSettings, serve, listens="readapi")


@app.command()
def transfers() -> None:
    """Serve transfers alone."""
    from bankmirror import process
    from transfers.app import serve
    from transfers.settings import TransfersSettings

    process.run("transfers", TransfersSettings, serve, listens="transfers")


@app.command(hidden=True)
def front() -> None:
    """Serve everything on one port: what `up` runs."""
    from bankmirror import process
    from bankmirror.front import FrontSettings, serve

    process.run("front", FrontSettings, serve)


# Its flags are the sandbox's own, so that they are described in one place.
@app.command(add_help_option=False, context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def sandbox(context: typer.Context) -> None:
    """Run the sandbox bank alone; `bankmirror sandbox --help` lists its flags."""
    from bankmirror.process import run_sandbox

    run_sandbox(context.args)
