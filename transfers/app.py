"""Wires the transfers process: pool, workers, listener, HTTP."""

import asyncio
import os
import secrets
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from uuid import UUID

import structlog
from fastapi import FastAPI
from psycopg import AsyncConnection

from banks.ports import BankPayer
from banks.registry import open_payer
from kernel import database
from kernel.batch import Batch
from kernel.errors import StartupError
from kernel.http_server import AnswerHead, make_server
from kernel.problems import install_problem_handlers
from kernel.settings import secret
from transfers import store
from transfers.accept import accept
from transfers.desk import Desk
from transfers.door import Guarded
from transfers.foreign import watch_foreign
from transfers.listener import listen
from transfers.metrics import Metrics
from transfers.resolver import resolve_unknown
from transfers.routes import router
from transfers.settings import TransfersSettings
from transfers.settlement import settle_mirrored
from transfers.states import Rules
from transfers.submitter import submit_ready
from transfers.work import Gate, Worker

log = structlog.get_logger()

# The bank that this process pays through. Accounts of other connections are refused, not guessed at.
_CONNECTION_ID = "default"


def make_app(settings: TransfersSettings, payer: BankPayer, stopping: asyncio.Event | None = None) -> FastAPI:
    """The HTTP app; its lifespan runs the workers. Setting `stopping` ends their claiming at once."""
    stopping = stopping or asyncio.Event()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with run_desk(settings, payer, stopping) as desk:
            app.state.desk = desk
            yield

    app = FastAPI(
        title="Bankmirror transfers",
        version="1",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        # It would name this process's own port to clients that came through the front.
        redirect_slashes=False,
    )
    app.include_router(router)
    install_problem_handlers(app)
    app.add_middleware(AnswerHead)
    app.add_middleware(
        Guarded,
        settings=settings,
        select=lambda token_ids: store.select_tokens(app.state.desk.pool, token_ids),
        refused=lambda who, needed: store.record_refusal(app.state.desk.pool, who, needed),
    )
    return app


@asynccontextmanager
async def run_desk(settings: TransfersSettings, payer: BankPayer, stopping: asyncio.Event) -> AsyncIterator[Desk]:
    """Everything but HTTP: open the pool, run listener and workers, and at the end let them finish."""
    metrics = Metrics()
    url = secret(settings.database_url)
    pool = database.make_pool(url, database.TRANSFERS, max_size=settings.transfers_connections_max, autocommit=True)
    bank = store.Bank(_CONNECTION_ID, settings.identity)
    async with pool:
        requests = Batch(partial(accept, pool, payer, bank))
        desk = Desk(settings, pool, requests, metrics)
        worker = Worker(
            name=f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}",
            bank=bank,
            pool=pool,
            payer=payer,
            settings=settings,
            rules=Rules(
                retention=payer.capabilities.idempotency_retention,
                resend_after=timedelta(seconds=settings.transfers_resend_after_seconds),
                can_look_up=payer.capabilities.lookup_by_reference,
            ),
            findings=Batch(partial(store.record_outcomes, pool)),
            gate=Gate(settings.transfers_probe_seconds, metrics),
            metrics=metrics,
        )
        ready, unresolved, mirrored = asyncio.Event(), asyncio.Event(), asyncio.Event()

        def on_transfer(transfer_id: UUID | None) -> None:
            ready.set()
            if transfer_id is None:
                desk.waiters.wake_all()
            else:
                desk.waiters.wake(transfer_id)

        async def wake_to_stop() -> None:
            await stopping.wait()
            for wake in (ready, unresolved, mirrored):
                wake.set()

        async with asyncio.TaskGroup() as tasks:
            listener = tasks.create_task(
                listen(database.conninfo(url, database.TRANSFERS), on_transfer, mirrored.set, metrics)
            )
            tasks.create_task(wake_to_stop())
            tasks.create_task(submit_ready(worker, ready, stopping))
            tasks.create_task(resolve_unknown(worker, unresolved, stopping))
            tasks.create_task(watch_foreign(pool, bank, stopping, metrics))
            tasks.create_task(settle_mirrored(pool, settings.transfers_settle_seconds, mirrored, stopping, metrics))
            try:
                yield desk
            finally:
                stopping.set()
                listener.cancel()


async def serve(settings: TransfersSettings) -> None:
    """Run until SIGTERM or SIGINT: stop claiming, let what is on the wire finish, return."""
    settings.require_safe_exposure(settings.transfers_host)
    # Said here, an operator reads one line; in the lifespan, uvicorn would make a traceback of it.
    conninfo = database.conninfo(secret(settings.database_url), database.TRANSFERS)
    async with await AsyncConnection.connect(conninfo) as connection:
        await store.check(connection)
    stopping = asyncio.Event()
    async with open_payer(settings) as payer:
        app = make_app(settings, payer, stopping)
        await _serve_app(app, settings, stopping)


async def _serve_app(app: FastAPI, settings: TransfersSettings, stopping: asyncio.Event) -> None:
    server = make_server(
        app,
        host=settings.transfers_host,
        port=settings.transfers_port,
        # Clients wait for an outcome at most so long, and are answered before the door closes.
        drain_seconds=int(settings.transfers_wait_seconds) + 2,
        # A signal is first of all for the workers, here below.
        catch_signals=False,
    )
    signalled = False

    def on_signal() -> None:
        nonlocal signalled
        signalled = True
        stopping.set()

    async def close_when_stopping() -> None:
        await stopping.wait()
        server.should_exit = True

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    closer = asyncio.create_task(close_when_stopping())
    try:
        await server.serve()
    finally:
        closer.cancel()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
    if not signalled:
        # A worker died, or the port is taken; the log says which. Whoever supervises us starts us again.
        raise StartupError("the transfers process ended by itself", "see the error above in its log")
