"""The stage that a world of torture stands on."""

import asyncio
import logging
from collections.abc import Awaitable, Iterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
import structlog
from psycopg import AsyncConnection

from ingest.settings import IngestSettings
from tests.torture.arena import Strikes, empty_tables, struck_pool
from tests.torture.world import World


class Stage:
    """An event loop with a world in it, shared by all examples: what is costly is made once."""

    def __init__(self, database_url: str) -> None:
        self._runner = asyncio.Runner()
        self._stack = AsyncExitStack()
        self.world: World = self.run(self._build(database_url))

    def run(self, work: Awaitable[Any]) -> Any:
        """Run something to its end."""

        async def awaited() -> Any:
            return await work

        return self._runner.run(awaited())

    async def _build(self, database_url: str) -> World:
        given = IngestSettings(
            _env_file=None,
            DATABASE_URL=database_url,
            BANK_API_BASE_URL="http://127.0.0.1:1",
            BANK_API_KEY="not-used",
            mode="sandbox",
            poll_seconds=3600,
            lease_seconds=600,
        )
        strikes = Strikes()
        pool = await self._stack.enter_async_context(struck_pool(given, strikes))
        owner = await self._stack.enter_async_context(await AsyncConnection.connect(database_url, autocommit=True))
        return World(given, pool, strikes, owner, await empty_tables(owner))

    def close(self) -> None:
        self.run(self._stack.aclose())
        self._runner.close()


@pytest.fixture
def stage(database_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Iterator[Stage]:
    """See `Stage`. In small books half of the rows may rightly go at once; the breaker has tests of its own."""
    monkeypatch.setattr("ingest.decide.ABSENCE_ROWS_MAX", 1_000)
    # Thousands of failures are wanted here, and telling each costs more than having it.
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    caplog.set_level(logging.CRITICAL)
    opened = Stage(database_url)
    yield opened
    opened.close()
    structlog.configure(**before)
