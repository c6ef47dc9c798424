"""Ingest and the read API on one database: the one stores, the other is asked what was known when."""

from collections.abc import AsyncIterator

import httpx
import pytest
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from ingest.settings import IngestSettings
from kernel.database import Pool
from tests.integration.history.book import Book
from tests.integration.ingest.conftest import Mirror, bank, mirror, owner, pool, settings
from tests.integration.readapi.mirror import asking

__all__ = ["bank", "mirror", "owner", "pool", "settings"]


@pytest.fixture
async def client(database_url: str) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the read API on the test's database, which keeps no answer: each is asked anew."""
    async with asking(database_url, readapi_cache_mib=0) as client:
        yield client


@pytest.fixture
def book(pool: Pool, settings: IngestSettings, owner: AsyncConnection[TupleRow], client: httpx.AsyncClient) -> Book:
    """See `Book`."""
    return Book(Mirror(pool, settings, owner), client)
