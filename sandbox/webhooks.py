"""Webhooks: who registered a URL is told that something changed, at most once a second, never waited for."""

import asyncio
import hashlib
import hmac
import json
import logging
import time
from datetime import UTC, datetime
from typing import Final
from urllib.parse import urlsplit

import httpx
import psycopg

from sandbox import problems, store
from sandbox.chaos.acts import Deliver, Options
from sandbox.chaos.dealer import Chaos
from sandbox.store import Pool

log = logging.getLogger(__name__)

# At most one request a second and URL, whatever happens at the bank.
_INTERVAL_SECONDS: Final = 1.0
# A receiver answers first and works afterwards.
_TIMEOUT_SECONDS: Final = 2.0
_RETRY_AFTER_SECONDS: Final = (1.0, 3.0)
_URL_LENGTH_MAX: Final = 500
_EVENTS: Final = ("transactions.updated", "balances.updated")


def check_url(url: str) -> str:
    """The URL, if it is on this machine: a sandbox must not be made to call anybody else."""
    try:
        parts = urlsplit(url)
        allowed = parts.scheme in ("http", "https") and parts.hostname in ("127.0.0.1", "localhost", "::1")
        # httpx has its own idea of a URL; both must agree before it is kept.
        fits = len(url) <= _URL_LENGTH_MAX and url.isascii() and url.isprintable() and " " not in url
        allowed = allowed and fits and "@" not in parts.netloc and (parts.port is None or parts.port > 0)
        httpx.URL(url)
    except (ValueError, httpx.InvalidURL):
        allowed = False
    if not allowed:
        raise problems.ValidationFailed(errors=[{"pointer": "/url", "message": "an http URL on loopback, please"}])
    return url


def sign(secret: str, sent_at_seconds: int, body: bytes) -> str:
    """The X-Signature header: HMAC-SHA-256 over the time, a dot and the exact body."""
    mac = hmac.new(secret.encode(), f"{sent_at_seconds}.".encode() + body, hashlib.sha256)
    return f"t={sent_at_seconds},v1={mac.hexdigest()}"


class Announcer:
    """Remembers which accounts changed and tells the registered URLs, in the background."""

    def __init__(self, pool: Pool, secret: str, chaos: Chaos) -> None:
        self._pool = pool
        self._secret = secret
        self._chaos = chaos
        self._late: set[asyncio.Task[bool]] = set()
        self._dirty: set[str] = set()
        self._pending: dict[str, dict[str, set[str]]] = {}
        self._sending: dict[str, asyncio.Task[None]] = {}

    def changed(self, account_ids: set[str]) -> None:
        """Note a commit. Never waits."""
        self._dirty |= account_ids

    async def announce(self) -> None:
        """Tell, every second, until cancelled."""
        # A URL is loopback by registration; redirects and proxies could make it something else.
        async with httpx.AsyncClient(timeout=_TIMEOUT_SECONDS, trust_env=False, follow_redirects=False) as client:
            try:
                while True:
                    await asyncio.sleep(_INTERVAL_SECONDS)
                    if self._dirty or self._pending:
                        await self._round(client)
            finally:
                for task in (*self._sending.values(), *self._late):
                    task.cancel()

    async def _round(self, client: httpx.AsyncClient) -> None:
        dirty, self._dirty = self._dirty, set()
        try:
            async with self._pool.connection() as conn:
                urls = await store.get_webhook_urls(conn)
        except (psycopg.Error, OSError) as error:
            self._dirty |= dirty
            log.warning("webhooks wait for the database: %s", error)
            return
        self._pending = {url: events for url, events in self._pending.items() if url in urls}
        for url in urls:
            events = self._pending.setdefault(url, {event: set() for event in _EVENTS})
            for accounts in events.values():
                accounts |= dirty
            self._send_next(client, url, events)

    def _send_next(self, client: httpx.AsyncClient, url: str, events: dict[str, set[str]]) -> None:
        """Send one event, the one sent longest ago; a slow receiver gets fewer and fuller ones."""
        if url in self._sending and not self._sending[url].done():
            return
        event = next((name for name, accounts in events.items() if accounts), None)
        if event is None:
            self._pending.pop(url, None)
            return
        account_ids = sorted(events.pop(event))
        events[event] = set()
        self._sending[url] = asyncio.create_task(self._deliver(client, url, event, account_ids))

    async def _deliver(self, client: httpx.AsyncClient, url: str, event: str, account_ids: list[str]) -> None:
        message = {"event": event, "account_ids": account_ids, "sent_at": datetime.now(UTC).isoformat()}
        body = json.dumps(message).encode()
        how, options = self._chaos.deliver()
        if how != Deliver():
            await self._deliver_strangely(client, url, body, how, options)
            return
        delivered = await self._post(client, url, body)
        for pause_seconds in _RETRY_AFTER_SECONDS:
            if delivered:
                break
            await asyncio.sleep(pause_seconds)
            delivered = await self._post(client, url, body)
        if not delivered:
            log.warning("webhook given up: %s", url)
        try:
            async with self._pool.connection() as conn:
                await store.run(conn, "webhook_count", url=url, delivered=int(delivered), failed=int(not delivered))
        except (psycopg.Error, OSError) as error:
            log.warning("webhook not counted: %s", error)

    async def _deliver_strangely(
        self, client: httpx.AsyncClient, url: str, body: bytes, how: Deliver, options: Options
    ) -> None:
        secret = "somebody-else" if how.forged else self._secret
        signature = sign(secret, int(time.time()) - how.signed_ago_seconds, body)
        for _ in range(how.copies):
            if how.late:
                task = asyncio.create_task(self._post_later(client, url, body, options.seconds))
                self._late.add(task)
                task.add_done_callback(self._late.discard)
            else:
                await self._post(client, url, body, signature)

    async def _post_later(self, client: httpx.AsyncClient, url: str, body: bytes, seconds: float) -> bool:
        await asyncio.sleep(seconds)
        return await self._post(client, url, body)

    async def _post(self, client: httpx.AsyncClient, url: str, body: bytes, signature: str | None = None) -> bool:
        headers = {
            "Content-Type": "application/json",
            "X-Signature": signature or sign(self._secret, int(time.time()), body),
        }
        try:
            return (await client.post(url, content=body, headers=headers)).is_success
        except httpx.HTTPError:
            return False
