"""The ingest process: a bank, a database, and a clockwork between them."""

import asyncio
import gc
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import psycopg
import structlog
from prometheus_client import start_http_server

from banks.ports import BankReader
from banks.registry import open_reader
from ingest import decide, store
from ingest.decide import DEFAULT_CONNECTION
from ingest.poll import Desk
from ingest.scheduler import WEDGED_SECONDS, Clockwork, Watchdog, end_process
from ingest.settings import IngestSettings
from kernel.database import INGEST, Pool, make_pool
from kernel.errors import StartupError
from kernel.settings import secret

log = structlog.get_logger()

# Seconds that the database may take to let us in at the start.
CONNECT_SECONDS = 10.0


async def serve(settings: IngestSettings) -> None:
    """Poll until SIGTERM or SIGINT, then drain and return. Raises StartupError."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    try:
        async with open_desk(settings, sets_pace=True) as desk:
            with _metrics_served(settings.ingest_metrics_port):
                clockwork = Clockwork(desk, DEFAULT_CONNECTION, Watchdog(WEDGED_SECONDS, end_process))
                clockwork.start()
                log.info("ingest started", bank=desk.bank.name, url=desk.bank.base_url, worker=settings.worker)
                await stopping.wait()
                log.info("ingest is draining")
                await clockwork.stop(settings.drain_seconds)
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
    log.info("ingest stopped")


@asynccontextmanager
async def open_desk(settings: IngestSettings, *, sets_pace: bool) -> AsyncIterator[Desk]:
    """A bank and a database that know each other. Raises StartupError when they do not fit.

    Who stays sets the pace of the polls. Who is soon gone must not: another process keeps it.
    """
    # A poll holds a connection only while it stores; the rest are for the tick, the refresh and failures.
    _spare_the_collector()
    pool = make_pool(secret(settings.database_url), INGEST, max_size=settings.concurrency + 3)
    async with open_reader(settings) as bank:
        try:
            await _introduce(pool, bank, settings, sets_pace=sets_pace)
            yield Desk(bank, pool, settings)
        finally:
            await pool.close()


def _spare_the_collector() -> None:
    """A chunk is a hundred thousand objects without cycles: looking through them for some cost a backfill a fifth."""
    gc.freeze()
    gc.set_threshold(100_000, 20, 100)


async def _introduce(pool: Pool, bank: BankReader, settings: IngestSettings, *, sets_pace: bool) -> None:
    per_account = decide.feeds_per_account(bank.capabilities, settings.read_mode)
    try:
        await pool.open(wait=True, timeout=CONNECT_SECONDS)
        await store.register(
            pool,
            bank,
            settings.identity,
            DEFAULT_CONNECTION,
            per_account,
            settings.poll_seconds,
            sets_pace=sets_pace,
        )
    except psycopg.OperationalError as error:
        raise StartupError(
            "the database does not let ingest in",
            "check DATABASE_URL and that PostgreSQL runs; bankmirror doctor names the reason",
        ) from error
    except psycopg.ProgrammingError as error:
        # A table, column or grant that is not there.
        raise StartupError("the database has no current schema", "run bankmirror migrate") from error


@contextmanager
def _metrics_served(port: int) -> Iterator[None]:
    """Prometheus metrics on loopback while the context lasts; nothing for port 0."""
    if port == 0:
        yield
        return
    try:
        server, thread = start_http_server(port, addr="127.0.0.1")
    except OSError as error:
        raise StartupError(
            f"port {port} for metrics is taken", "set BANKMIRROR_INGEST_METRICS_PORT to a free port, or to 0"
        ) from error
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
