"""Ingest and the read API on one database, and a reader that keeps a copy of what it is told."""

from collections.abc import Iterator

import pytest

from tests.integration.history.conftest import book, client
from tests.integration.ingest.conftest import bank, mirror, owner, pool, settings
from tests.integration.readapi.mirror import Mirror

__all__ = ["bank", "book", "client", "mirror", "owner", "pool", "settings"]


@pytest.fixture
def filled(database_url: str) -> Iterator[Mirror]:
    """A mirror with one account, nothing in it and all feeds fresh."""
    filled = Mirror(database_url)
    filled.account("acct_a", first_seen_at="-infinity")
    filled.feeds()
    filled.run("SELECT sync.move_clock()")
    yield filled
    filled.close()
