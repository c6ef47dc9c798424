"""Wiring: the read API as an ASGI application, and as a process of its own."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import structlog
from fastapi import FastAPI
from starlette.routing import Route

from kernel.database import READER, make_pool
from kernel.http_server import END_STREAMS, make_server
from kernel.problems import install_problem_handlers
from kernel.settings import secret
from readapi import health, routes
from readapi.access import Access, RequireScope
from readapi.cursors import Cursors
from readapi.demand import Demand
from readapi.documentation import install_documentation
from readapi.edge import Edge
from readapi.exports import Exports
from readapi.hot import Hot
from readapi.lean import Lean
from readapi.mcp.door import McpDoor
from readapi.metrics import Metrics
from readapi.news import News
from readapi.receipts import Receipts
from readapi.settings import ReadapiSettings
from readapi.stream import Streams

log = structlog.get_logger()

VERSION = "0.1.0"
# Seconds for answers that are under way when the process is asked to end; who waits longer asks elsewhere.
DRAIN_SECONDS = 1
# Seconds before a work beside the answers that broke is taken up again.
BROKEN_SECONDS = 1.0


def create_app(settings: ReadapiSettings) -> Edge:
    """The read API with all its layers. Its lifespan opens the database pool; embed it with its lifespan."""
    metrics = Metrics()
    api = create_api(settings, metrics)
    access = api.state.access
    hot = Hot(api.state.news, settings.readapi_cache_mib << 20)
    api.state.news.subscribe(hot.invalidate)
    api.state.news.subscribe_tokens(access.forget)
    metrics.watch(hot, api.state.receipts)
    edge = Edge(RequireScope(Lean(api), api.routes), metrics, access, hot, api.state.receipts)
    # For who asks the whole application again, from inside of it.
    api.state.edge = edge
    return edge


def create_api(settings: ReadapiSettings, metrics: Metrics) -> FastAPI:
    """The routes alone, with their problems, and with what runs beside them in their lifespan."""
    url = secret(settings.database_url)
    # Autocommit: a question is one statement, and so one round trip.
    pool = make_pool(url, READER, max_size=settings.readapi_connections_max, autocommit=True)
    access, demand, news, receipts = (
        Access(settings, pool),
        Demand(pool),
        News(url),
        Receipts(url, keep_days=settings.receipt_days),
    )
    agents = McpDoor(VERSION)

    @asynccontextmanager
    async def lifespan(api: FastAPI) -> AsyncIterator[dict[str, Any]]:
        # Not waiting for a connection: a database that is away is said by every answer, and heals by itself.
        await pool.open(wait=False)
        works = (access.run, demand.tell, news.run, receipts.run)
        beside = [asyncio.create_task(work) for work in (*map(kept_up, works), agents.run())]
        try:
            yield {END_STREAMS: api.state.streams.end}
        finally:
            for task in beside:
                task.cancel()
            await asyncio.gather(*beside, return_exceptions=True)
            await pool.close()

    api = FastAPI(
        title="Bankmirror read API",
        version=VERSION,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    api.state.pool = pool
    api.state.access = access
    receipts.errand = access.tell_use
    api.state.demand = demand
    api.state.news = news
    api.state.receipts = receipts
    api.state.metrics = metrics
    api.state.cursors = Cursors(settings.cursor_key)
    api.state.streams = Streams(news)
    api.state.exports = Exports(url)
    api.include_router(routes.router)
    api.include_router(health.router)
    # With the slash that some put behind an address: a redirect of a POST is followed by few.
    api.router.routes += [Route("/mcp", agents), Route("/mcp/", agents)]
    install_documentation(api, token_needed=settings.needs_token)
    install_problem_handlers(api)
    return api


async def kept_up(work: Callable[[], Awaitable[None]]) -> None:
    """Do a work that has no end until cancelled. Nobody looks at it, so what nobody has foreseen must not end it."""
    while True:
        try:
            await work()
        except Exception:
            log.exception("what runs beside the answers broke, and is taken up again", work=work.__qualname__)
        await asyncio.sleep(BROKEN_SECONDS)


async def serve(settings: ReadapiSettings) -> None:
    """Serve until SIGTERM or SIGINT. Raises StartupError when that would not be safe."""
    settings.require_safe_exposure(settings.readapi_host)
    server = make_server(
        create_app(settings), host=settings.readapi_host, port=settings.readapi_port, drain_seconds=DRAIN_SECONDS
    )
    listener = settings.readapi_listener
    await server.serve(None if listener is None else [socket.socket(fileno=listener)])
