"""Ingest and the read API on one database, with its cache on: the one stores, the other must not go on as before."""

from collections.abc import AsyncIterator

import pytest

from tests.integration.freshness.kept import Kept, keeping
from tests.integration.ingest.conftest import bank, mirror, owner, pool, settings

__all__ = ["bank", "mirror", "owner", "pool", "settings"]


@pytest.fixture
async def kept(database_url: str) -> AsyncIterator[Kept]:
    """See `Kept`."""
    async with keeping(database_url) as reading:
        yield reading
