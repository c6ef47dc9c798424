"""The ingest process: a bank, a database, and a clockwork between them."""

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import structlog
from prometheus_client import start_http_server

from ingest import webhooks
from ingest.decide import DEFAULT_CONNECTION
from ingest.demand import Demands, listen
from ingest.desk import open_desk
from ingest.poll import Desk
from ingest.scheduler import WEDGED_SECONDS, Clockwork, Watchdog, end_process
from ingest.settings import IngestSettings
from kernel.database import INGEST, conninfo
from kernel.errors import StartupError
from kernel.settings import secret

log = structlog.get_logger()


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
                async with _hints_heard(desk, clockwork):
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
async def _hints_heard(desk: Desk, clockwork: Clockwork) -> AsyncIterator[None]:
    """Readers and the bank are heard while the context lasts."""
    settings = desk.settings
    demands = Demands(desk.pool, DEFAULT_CONNECTION, settings.poll_seconds, clockwork.look)
    given = settings.webhook_secret
    app = webhooks.make_app(desk.pool, DEFAULT_CONNECTION, None if given is None else secret(given), demands.hasten)
    async with webhooks.serve(app, settings.webhook_port):
        working = [
            asyncio.create_task(demands.work()),
            asyncio.create_task(
                listen(conninfo(secret(settings.database_url), INGEST), DEFAULT_CONNECTION, demands, desk.budget)
            ),
            asyncio.create_task(webhooks.register(desk.bank, settings.webhook_url)),
        ]
        try:
            yield
        finally:
            for task in working:
                task.cancel()
            await asyncio.gather(*working, return_exceptions=True)


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
