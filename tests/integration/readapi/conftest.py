"""A mirror filled by hand, and a client of the read API in front of it."""

from collections.abc import AsyncIterator, Iterator

import httpx
import pytest

from tests.integration.readapi.mirror import Mirror, asking


@pytest.fixture
def mirror(database_url: str) -> Iterator[Mirror]:
    """See `Mirror`."""
    mirror = Mirror(database_url)
    yield mirror
    mirror.close()


@pytest.fixture
async def client(database_url: str) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the read API on the test's database."""
    async with asking(database_url) as client:
        yield client
