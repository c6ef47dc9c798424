"""The bank of raw sockets, in an environment that leads astray whoever listens to it."""

from collections.abc import AsyncIterator

import pytest

from tests.integration.banks.raw_bank import RawBank, start_bank


@pytest.fixture
async def bank(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[RawBank]:
    """See `RawBank`. The proxies of the environment lead nowhere."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    async with start_bank() as started:
        yield started
