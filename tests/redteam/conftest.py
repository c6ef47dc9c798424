"""Memos on the whole way that they take: a bank over HTTP, ingest, the database, the read API."""

from tests.integration.ingest.conftest import bank, mirror, owner, pool, settings

__all__ = ["bank", "mirror", "owner", "pool", "settings"]
