"""Wiring: `create_app(settings)` makes a bank that prepares its database, serves, lives and tells."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import psycopg
import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from psycopg_pool import PoolTimeout
from starlette.exceptions import HTTPException

from sandbox import payments, problems, routes, seed, store, ticker
from sandbox.bank import Bank
from sandbox.chaos import happening
from sandbox.chaos import routes as chaos_routes
from sandbox.chaos.catalogue import read_names
from sandbox.chaos.dealer import Chaos
from sandbox.chaos.middleware import ChaosMiddleware
from sandbox.gate import Gate
from sandbox.settings import Settings
from sandbox.store import Connection
from sandbox.webhooks import Announcer

log = logging.getLogger(__name__)


def create_app(settings: Settings | None = None) -> FastAPI:
    """The sandbox bank as an ASGI application. Its database is prepared when it starts."""
    settings = settings or Settings()
    chaos = Chaos(
        settings.chaos, settings.chaos_seed, read_names(settings.chaos_faults),
        settings.chaos_writes, settings.chaos_events_per_minute,
    )  # fmt: skip
    app = FastAPI(
        title="Sandbox bank",
        version="1",
        lifespan=_lifespan(settings, chaos),
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.include_router(routes.router)
    app.include_router(payments.router)
    app.include_router(chaos_routes.router)
    app.exception_handler(problems.Problem)(_problem)
    app.exception_handler(RequestValidationError)(_invalid)
    app.exception_handler(HTTPException)(_plain)
    app.exception_handler(psycopg.OperationalError)(_unavailable)
    app.exception_handler(PoolTimeout)(_unavailable)
    app.exception_handler(Exception)(_internal)
    # Middleware is added from the inside out. Chaos stands outside of the gate: it breaks the answers of a bank
    # that is right, and knows nothing of how they came about.
    app.add_middleware(
        Gate,
        api_key=settings.api_key.get_secret_value(),
        rate_limit_per_second=settings.rate_limit_per_second,
    )
    app.add_middleware(ChaosMiddleware, chaos=chaos)
    return app


async def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT, then stop within two seconds."""
    config = uvicorn.Config(
        create_app(settings), host=settings.host, port=settings.port, log_level=settings.log_level,
        access_log=False, server_header=False, lifespan="on",
        timeout_graceful_shutdown=1, timeout_keep_alive=60,
    )  # fmt: skip
    await uvicorn.Server(config).serve()


def _lifespan(settings: Settings, chaos: Chaos) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await _prepare(settings)
        async with store.make_pool(settings.database_url, settings.pool_size) as pool:
            announcer = Announcer(pool, settings.webhook_secret.get_secret_value(), chaos)
            app.state.bank = Bank(settings, pool, announcer.changed, chaos)
            async with _background(
                ticker.live(settings, announcer.changed),
                announcer.announce(),
                happening.by_themselves(pool, chaos, announcer.changed),
            ):
                yield

    return lifespan


async def _prepare(settings: Settings) -> None:
    conn = await Connection.connect(settings.database_url, **store.connection_options(timeout_ms=0))
    async with conn:
        new = await seed.prepare(
            conn, seed=settings.seed, accounts=settings.accounts, transactions=settings.transactions,
            now=datetime.now(UTC),
        )  # fmt: skip
        ledger = await store.get_ledger(conn)
    log.info("%s bank, %d positions in its log", "a new" if new else "the same", ledger.head)
    if ledger.seed != settings.seed:
        log.warning("this database keeps the seed it began with, %d", ledger.seed)


@asynccontextmanager
async def _background(*works: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run while the body runs. What dies is logged at once: a bank that stopped living must not be silent."""
    tasks = [asyncio.create_task(work) for work in works]
    for task in tasks:
        task.add_done_callback(_log_death)
    try:
        yield
    finally:
        left = set(tasks)
        while left:
            for task in left:
                task.cancel()
            # Asked again, since Python 3.11 loses a cancellation that arrives just as a wait_for is over.
            _, left = await asyncio.wait(left, timeout=1)


def _log_death(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("a background task of the bank died", exc_info=error)


async def _problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, problems.Problem)
    return problems.response(error)


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return problems.response(problems.ValidationFailed(errors=payments.pointers(list(error.errors()))))


async def _plain(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return problems.plain(error.status_code, str(error.detail), dict(error.headers or {}))


async def _unavailable(request: Request, error: Exception) -> Response:
    log.warning("the database does not answer: %s", error)
    return problems.response(problems.DatabaseUnavailable())


async def _internal(request: Request, error: Exception) -> Response:
    return problems.plain(500)
