"""The one module that speaks HTTP with a bank; what is unsafe about it is settled here, once for all.

A call has one deadline for everything, since httpx's own timeouts begin anew with every chunk of a trickle. A
body is counted while it is unpacked, so that a bomb costs no memory. Nothing is followed to another address.
Only what changes nothing at the bank is ever tried again.
"""

import asyncio
import random
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import httpx
import structlog

from banks import headers, strict_json
from banks.ports import BankAnswerInvalid, BankError, BankRefusedCredentials, BankThrottled, BankUnreachable
from banks.settings import BankSettings
from kernel.settings import secret

log = structlog.get_logger()

# Seconds to get a connection, and as many again for TLS. Far below a call's deadline, so that of a bank that
# is down we know for certain that it received nothing.
CONNECT_TIMEOUT_SECONDS = 5.0
# A poll with its retries must not become a load test of a bank in trouble.
GET_ATTEMPTS_MAX = 3
# Seconds before the second and the third attempt, shortened at random so that processes do not knock in step.
BACKOFF_SECONDS = (0.25, 1.0)
# A longer pause is the scheduler's business: here it would hold a connection and a lease for nothing.
RETRY_AFTER_WAITED_MAX = timedelta(seconds=2)
# An error's body is read for its problem type only.
ERROR_BODY_BYTES_MAX = 65_536
# How much is unpacked at once: what a bomb can cost beyond the cap.
_UNPACKED_BYTES = 65_536


class CallFailedError(Exception):
    """There is no complete answer.

    `sent` is False only if no byte of the request can have left this machine; `status` is there if the answer
    began.
    """

    def __init__(self, detail: str, *, sent: bool, status: int | None = None) -> None:
        super().__init__(detail)
        self.sent = sent
        self.status = status


class AnswerUnusableError(Exception):
    """The bank answered, but not with what was asked for."""

    def __init__(self, detail: str, status: int) -> None:
        super().__init__(detail)
        self.status = status


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete answer. The body of an error is empty where it could not be read."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def bank_time(self) -> datetime | None:
        """The bank's clock, where it tells."""
        return headers.http_date(self.headers.get("date"))

    @property
    def retry_after(self) -> timedelta | None:
        """The pause that the bank asks for, between a second and a day."""
        return headers.retry_after(self.headers.get("retry-after"), self.bank_time or datetime.now(UTC))

    @property
    def is_json(self) -> bool:
        """Whether the body is declared as JSON."""
        media_type = self.headers.get("content-type", "").partition(";")[0].strip().lower()
        return media_type == "application/json" or media_type.endswith("+json")

    def json(self) -> Any:
        """The body as strict JSON. Raises AnswerUnusableError."""
        if not self.is_json:
            raise AnswerUnusableError("the body is not declared as JSON", self.status)
        try:
            return strict_json.parse(self.body)
        except strict_json.NotStrictJSONError as error:
            raise AnswerUnusableError(str(error), self.status) from None

    def problem_slug(self) -> str | None:
        """The last part of a problem document's type, e.g. `cursor-expired`; None without such a document."""
        try:
            document = self.json()
        except AnswerUnusableError:
            return None
        kind = document.get("type") if type(document) is dict else None
        slug = kind.rpartition("/")[2] if type(kind) is str else ""
        # It is stored and logged, so it must look like a slug and not like a letter from the bank.
        return slug if len(slug) <= 64 and slug.isascii() and slug.replace("-", "").isalnum() else None


class Gate(Protocol):
    """Decides when a request may be made: a budget, a pause that the bank asked for."""

    async def enter(self) -> None:
        """Wait until a request may be made. Raises BankThrottled when that takes too long."""
        ...

    async def throttled(self, retry_after: timedelta | None) -> None:
        """The bank said that it is asked too much, and for how long it wants a pause, where it tells."""
        ...


class OpenGate:
    """Lets every request through."""

    async def enter(self) -> None:
        """At once."""

    async def throttled(self, retry_after: timedelta | None) -> None:
        """Whoever asks is told by the error."""


@dataclass(frozen=True, slots=True)
class BankHttp:
    """Calls of one bank with its key, each under one deadline."""

    client: httpx.AsyncClient
    deadline_seconds: float
    answer_bytes_max: int
    # Tests wait faster.
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    # Reads go through it. A payment waits for nothing: its claim has a deadline.
    gate: Gate = field(default_factory=OpenGate)

    async def get(self, path: str, parameters: Mapping[str, str]) -> Answer:
        """The answer to a GET: a 2xx, or a 4xx whose meaning the adapter knows. Raises a BankError.

        Tried again a few times where that may help. No attempt begins after the first one's deadline, so that
        the whole ends within two deadlines.
        """
        no_attempt_after = asyncio.get_running_loop().time() + self.deadline_seconds
        for attempt in range(GET_ATTEMPTS_MAX):
            try:
                return await self._get_once(path, parameters)
            except (BankUnreachable, BankThrottled) as error:
                pause = _pause_seconds(error, attempt)
                if pause is None or asyncio.get_running_loop().time() + pause > no_attempt_after:
                    raise
                log.info("bank call failed, trying again", error=str(error), pause_seconds=round(pause, 2))
            await self.sleep(pause)
        raise AssertionError("the last attempt returns or raises")

    async def post_once(self, path: str, body: bytes, more_headers: Mapping[str, str]) -> Answer:
        """The answer to a POST of these bytes, sent once. Raises CallFailedError or AnswerUnusableError."""
        content_type = {"Content-Type": "application/json"}
        return await self._call(
            self.client.build_request("POST", path, content=body, headers={**content_type, **more_headers})
        )

    async def _get_once(self, path: str, parameters: Mapping[str, str]) -> Answer:
        await self.gate.enter()
        try:
            answer = await self._call(self.client.build_request("GET", path, params=dict(parameters)))
        except CallFailedError as error:
            raise BankUnreachable(str(error)) from error
        except AnswerUnusableError as error:
            raise BankAnswerInvalid(str(error)) from error
        failure = _failure(answer)
        if isinstance(failure, BankThrottled):
            await self.gate.throttled(failure.retry_after)
        if failure is not None:
            raise failure
        return answer

    async def _call(self, request: httpx.Request) -> Answer:
        status: int | None = None
        try:
            async with asyncio.timeout(self.deadline_seconds):
                response = await self.client.send(request, stream=True)
                status = response.status_code
                try:
                    return Answer(status, response.headers, await self._body(response))
                finally:
                    await response.aclose()
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            # The message is the system's or TLS's own: nothing of the bank's is in it yet.
            raise CallFailedError(f"{type(error).__name__} {error}".strip(), sent=False) from error
        except TimeoutError as error:
            detail = f"no complete answer within {self.deadline_seconds:g} s"
            raise CallFailedError(detail, sent=True, status=status) from error
        except (httpx.HTTPError, httpx.StreamError, OSError) as error:
            # OSError: TLS may fail in the middle of a body in ways that httpx does not translate.
            raise CallFailedError(type(error).__name__, sent=True, status=status) from error

    async def _body(self, response: httpx.Response) -> bytes:
        if 200 <= response.status_code < 300:
            return await _read(response, self.answer_bytes_max)
        if response.is_redirect:
            return b""
        try:
            return await _read(response, ERROR_BODY_BYTES_MAX)
        except (httpx.HTTPError, AnswerUnusableError):
            return b""  # The status says most of it, and what the body would have added counts as unsaid.


@asynccontextmanager
async def open_bank_http(
    settings: BankSettings, *, keep_alive: bool, gate: Gate | None = None
) -> AsyncIterator[BankHttp]:
    """Calls of the bank in the settings. Payments go without keep-alive.

    A bank may close a kept connection just when we write to it, and then nobody knows what became of the
    request. On a connection of its own, most of what cannot be sent is known not to have been sent.
    """
    connect_seconds = min(CONNECT_TIMEOUT_SECONDS, settings.bank_deadline_seconds / 4)
    async with httpx.AsyncClient(
        base_url=settings.bank_api_base_url,
        headers={
            "Authorization": f"Bearer {secret(settings.bank_api_key)}",
            "Accept": "application/json, application/problem+json",
            "Accept-Encoding": "gzip",  # The one encoding that `_read` unpacks within bounds.
            "User-Agent": "bankmirror",
        },
        timeout=httpx.Timeout(settings.bank_deadline_seconds, connect=connect_seconds, pool=connect_seconds),
        limits=httpx.Limits(
            # Callers limit themselves by their settings; this is the most that those allow.
            max_connections=256,
            max_keepalive_connections=64 if keep_alive else 0,
            keepalive_expiry=15.0,  # Seconds; less than servers usually allow, so that we close first.
        ),
        follow_redirects=False,  # The key goes to the bank in the settings, and to nobody it points at.
        trust_env=False,  # Nor to a proxy that somebody left in the environment.
    ) as client:
        limits = settings.bank_deadline_seconds, settings.bank_answer_bytes_max
        yield BankHttp(client, *limits, gate=gate or OpenGate())


def within_origin(base_url: str, link: str) -> str:
    """A link to the next page as an address of the same scheme, host and port. Raises BankAnswerInvalid.

    For banks that page by links. Our key goes with the next request, so a link may not choose its receiver.
    """
    base = httpx.URL(base_url)
    try:
        followed = base.join(link)
    except (httpx.InvalidURL, ValueError):
        raise BankAnswerInvalid("the link to the next page is not an address") from None
    same = (followed.scheme, followed.host, followed.port) == (base.scheme, base.host, base.port)
    if not same or followed.userinfo or "\\" in link:
        raise BankAnswerInvalid("the link to the next page leads away from the bank")
    return str(followed)


def _failure(answer: Answer) -> BankError | None:
    """What a status means whatever the bank; None for a 2xx, and for the 4xx that an adapter understands."""
    status = answer.status
    detail = f"HTTP {status}"
    if 200 <= status < 300:
        return None
    if status in (401, 403):
        return BankRefusedCredentials(detail)
    if status == 429:
        return BankThrottled(detail, answer.retry_after)
    if status == 503 and (answer.retry_after or timedelta(0)) > RETRY_AFTER_WAITED_MAX:
        return BankThrottled(detail, answer.retry_after)
    if status in (408, 425) or status >= 500:
        return BankUnreachable(detail)
    return None if 400 <= status < 500 else BankAnswerInvalid(f"{detail}, which is not followed")


def _pause_seconds(error: BankUnreachable | BankThrottled, attempt: int) -> float | None:
    """How long to wait before the next attempt; None when there is none."""
    if attempt + 1 >= GET_ATTEMPTS_MAX:
        return None
    if isinstance(error, BankThrottled):
        wanted = error.retry_after
        return None if wanted is None or wanted > RETRY_AFTER_WAITED_MAX else wanted.total_seconds()
    return BACKOFF_SECONDS[attempt] * random.uniform(0.5, 1.0)  # noqa: S311  Not a secret: it only spreads the load.


async def _read(response: httpx.Response, bytes_max: int) -> bytes:
    """The body, unpacked. Raises AnswerUnusableError for one that is too long or not packed as asked."""
    status = response.status_code
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("identity", "gzip"):
        raise AnswerUnusableError("the body is packed in a way that was not asked for", status)
    gunzip = zlib.decompressobj(zlib.MAX_WBITS | 16) if encoding == "gzip" else None
    body = bytearray()
    received = 0
    try:
        async for chunk in response.aiter_raw():
            received += len(chunk)
            for piece in [chunk] if gunzip is None else _unpacked(gunzip, chunk):
                body += piece
                if max(received, len(body)) > bytes_max:
                    raise AnswerUnusableError(f"the body is longer than {bytes_max} bytes", status)
    except zlib.error:
        raise AnswerUnusableError("the body cannot be unpacked", status) from None
    if gunzip is not None and (not gunzip.eof or gunzip.unused_data):
        raise AnswerUnusableError("the packed body ends too early or too late", status)
    return bytes(body)


def _unpacked(gunzip: "zlib._Decompress", chunk: bytes) -> Iterator[bytes]:
    """What a chunk unpacks to, in bounded pieces: httpx would unpack it whole, a thousand times as long."""
    yield gunzip.decompress(chunk, _UNPACKED_BYTES)
    while gunzip.unconsumed_tail:
        yield gunzip.decompress(gunzip.unconsumed_tail, _UNPACKED_BYTES)
