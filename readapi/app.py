"""Wiring: the read API as an ASGI application, and as a process of its own."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from starlette.types import ASGIApp

from kernel.access import RequireToken
from kernel.database import READER, make_pool
from kernel.http_server import make_server
from kernel.problems import install_problem_handlers
from kernel.settings import secret
from readapi import health, routes
from readapi.cursors import Cursors
from readapi.demand import Demand
from readapi.documentation import install_documentation
from readapi.edge import Edge
from readapi.metrics import Metrics
from readapi.settings import ReadapiSettings

VERSION = "0.1.0"
# Seconds for answers that are under way when the process is asked to end; who waits longer asks elsewhere.
DRAIN_SECONDS = 1


def create_app(settings: ReadapiSettings) -> ASGIApp:
    """The read API with all its layers. Its lifespan opens the database pool; embed it with its lifespan."""
    metrics = Metrics()
    app: ASGIApp = create_api(settings, metrics)
    if settings.api_token is not None:
        app = RequireToken(app, secret(settings.api_token))
    return Edge(app, metrics)


def create_api(settings: ReadapiSettings, metrics: Metrics) -> FastAPI:
    """The routes alone, with their pool and their problems."""

    @asynccontextmanager
    async def lifespan(api: FastAPI) -> AsyncIterator[None]:
        # Autocommit: a question is one statement, and so one round trip.
        pool = make_pool(
            secret(settings.database_url), READER, max_size=settings.readapi_connections_max, autocommit=True
        )
        api.state.pool = pool
        # Not waiting for a connection: a database that is away is said by every answer, and heals by itself.
        await pool.open(wait=False)
        api.state.demand = Demand(pool)
        telling = asyncio.create_task(api.state.demand.tell())
        try:
            yield
        finally:
            telling.cancel()
            await asyncio.gather(telling, return_exceptions=True)
            await pool.close()

    api = FastAPI(
        title="Bankmirror read API",
        version=VERSION,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    api.state.metrics = metrics
    api.state.cursors = Cursors(settings.cursor_key)
    api.include_router(routes.router)
    api.include_router(health.router)
    install_documentation(api, token_needed=settings.api_token is not None)
    install_problem_handlers(api)
    return api


async def serve(settings: ReadapiSettings) -> None:
    """Serve until SIGTERM or SIGINT. Raises StartupError when that would not be safe."""
    settings.require_safe_exposure(settings.readapi_host)
    server = make_server(
        create_app(settings), host=settings.readapi_host, port=settings.readapi_port, drain_seconds=DRAIN_SECONDS
    )
    await server.serve()
