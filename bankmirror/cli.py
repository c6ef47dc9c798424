"""The `bankmirror` command.

Each command imports what it needs when it runs: `--help` answers at once. What goes wrong is told in a line
with the mend, on standard error, with an exit code that is not zero; `--verbose` shows the traceback.
"""

import asyncio
import sys
from typing import Annotated

import typer

from bankmirror import __version__
from bankmirror.parent import end_with_parent

app = typer.Typer(
    help="Your bank, mirrored in PostgreSQL.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
ingest = typer.Typer(help="Poll the bank and keep the mirror: for ever (`run`, the default), or `once`.")
app.add_typer(ingest, name="ingest", invoke_without_command=True)

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
    fresh: Annotated[bool, typer.Option("--fresh", help="Begin anew: drop the embedded databases first.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before dropping.")] = False,
) -> None:
    """Run everything on this machine: database, bank, mirror, transfers and API."""
    if fresh and not yes:
        typer.confirm("Drop the mirror and the sandbox bank of this home?", abort=True)
    from bankmirror.up import Options, run

    run(Options(port, accounts, transactions, speed, seed, fresh))


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


@app.command()
def backfill() -> None:
    """Read all that the bank has and the mirror lacks, with progress, and count what is mirrored."""
    from bankmirror.progress import run_backfill

    run_backfill()


@app.command()
def readapi() -> None:
    """Serve the read API alone."""
    from bankmirror import process
    from readapi.app import serve
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
