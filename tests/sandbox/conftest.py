"""A bank of its own for each module, on a real server; `client` speaks to it without a network."""

import secrets
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from typing import Any
from urllib.parse import urlsplit

import httpx
import psycopg
import pytest
import uvicorn
from psycopg import sql

from sandbox.app import create_app
from sandbox.settings import Settings

StartBank = Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]


@contextmanager
def _fresh_database(server_url: str) -> Iterator[str]:
    name = f"sandbox_{secrets.token_hex(6)}"
    with psycopg.connect(server_url, autocommit=True) as administrator:
        administrator.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        try:
            yield urlsplit(server_url)._replace(path=f"/{name}").geturl()
        finally:
            administrator.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture(scope="module")
def bank_url(server_url: str) -> Iterator[str]:
    """An empty database for the bank of this module."""
    with _fresh_database(server_url) as url:
        yield url


@pytest.fixture
def second_url(server_url: str) -> Iterator[str]:
    """Another empty database, for one test."""
    with _fresh_database(server_url) as url:
        yield url


@pytest.fixture
def start_bank() -> StartBank:
    """Start a bank on a database; time passes in it, but nothing happens by itself unless `life=True`."""

    @asynccontextmanager
    async def start(url: str, **changed: Any) -> AsyncIterator[httpx.AsyncClient]:
        defaults: dict[str, Any] = {"life": False, "rate_limit_per_second": 0, "transactions": 400}
        settings = Settings(database_url=url, **(defaults | changed))
        app = create_app(settings)
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        headers = {"Authorization": "Bearer sandbox-key"}
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://bank", headers=headers) as client,
        ):
            yield client

    return start


@pytest.fixture
async def client(bank_url: str, start_bank: StartBank) -> AsyncIterator[httpx.AsyncClient]:
    """The module's bank, with eight accounts and four hundred transactions."""
    async with start_bank(bank_url) as client:
        yield client


@pytest.fixture(scope="module")
def bank_address(bank_url: str) -> Iterator[str]:
    """The address of the module's bank, served on a socket: for what only a real connection shows."""
    config = uvicorn.Config(
        create_app(Settings(database_url=bank_url, life=False, rate_limit_per_second=0, transactions=400)),
        log_config=None, access_log=False, lifespan="on", timeout_graceful_shutdown=1,
    )  # fmt: skip
    server = uvicorn.Server(config)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        # Listening already: who connects before the bank is ready waits for it.
        listener.listen()
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()
