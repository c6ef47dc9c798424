"""`POST /webhooks/bank`: the bank says that something changed, and is polled for what that is.

A webhook is a hint and nothing else. No number in it is believed, and one that is lost, late, repeated or forged
by somebody with the secret costs at most a poll. So that it costs no more, it is signed, fresh and taken once.
"""

import asyncio
import hashlib
import hmac
import re
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Annotated

import psycopg
import structlog
from fastapi import FastAPI, Request
from pydantic import BaseModel, Field, ValidationError
from starlette.responses import JSONResponse, Response

from banks.ports import BankError, BankReader
from ingest import decide
from ingest.budget import KIND
from ingest.store import QUERIES
from kernel import errors
from kernel.database import Pool
from kernel.errors import StartupError
from kernel.http_server import make_server
from kernel.problems import install_problem_handlers

log = structlog.get_logger()

PATH = "/webhooks/bank"
# A message names accounts; a thousand of the longest ids fit, and what is longer is no message.
BODY_BYTES_MAX = 256 * 1024
# Seconds that the bank's clock and ours may differ, and that a message may have been under way.
WINDOW_SECONDS = 300
# A signature is remembered until its message is too old on any clock that we accept.
KEEP_SECONDS = 2.0 * WINDOW_SECONDS + 60
# Seconds before a registration that failed is tried again, doubled up to the second one.
REGISTER_AGAIN_SECONDS_MIN = 2.0
REGISTER_AGAIN_SECONDS_MAX = 300.0
# Seconds for messages under way when the process is asked to end; the bank sends again what was cut off.
DRAIN_SECONDS = 1
_SIGNATURE = re.compile(r"t=(?P<time>[0-9]{1,12}),v1=(?P<mac>[0-9a-f]{64})")

Hasten = Callable[[Iterable[str] | None], None]


class Hint(BaseModel):
    """What a webhook says. Only which accounts it names is used; without any, it is about all."""

    # Without NUL, which the database has no room for.
    event: str = Field("", max_length=200, pattern=r"^[^\x00]*$")
    account_ids: list[Annotated[str, Field(min_length=1, max_length=4096, pattern=r"^[^\x00]+$")]] | None = None


def check_signature(secret: str, header: str | None, body: bytes, now_seconds: float) -> bytes:
    """The signature's bytes, if the bank made it for this body and lately. Raises WebhookRefused.

    The header is `t=<unix seconds>,v1=<hex of HMAC-SHA-256>`, over the time, a dot and the exact body.
    """
    match = _SIGNATURE.fullmatch(header or "")
    if match is None:
        raise errors.WebhookRefused("X-Signature is missing, or not t=<seconds>,v1=<64 hexadecimal digits>")
    signed = hmac.new(secret.encode(), match["time"].encode() + b"." + body, hashlib.sha256).digest()
    sent = bytes.fromhex(match["mac"])
    if not hmac.compare_digest(signed, sent):
        raise errors.WebhookRefused("X-Signature does not fit the body and our secret")
    # After the comparison: who has no secret learns nothing about our clock.
    if abs(now_seconds - int(match["time"])) > WINDOW_SECONDS:
        raise errors.WebhookRefused(f"the message was signed more than {WINDOW_SECONDS} s from now; check both clocks")
    return sent


def read_hint(body: bytes) -> Hint:
    """The message in a body. Raises MalformedBody or ValidationFailed."""
    try:
        return Hint.model_validate_json(body)
    except ValidationError as error:
        found = error.errors(include_input=False, include_url=False, include_context=False)
        if any(item["type"] == "json_invalid" for item in found):
            raise errors.MalformedBody from None
        where = "/" + "/".join(str(step) for step in found[0]["loc"])
        raise errors.ValidationFailed.at(where, found[0]["msg"]) from None


def make_app(
    pool: Pool, connection_id: str, secret: str | None, hasten: Hasten, clock: Callable[[], float] = time.time
) -> FastAPI:
    """The one route. Without a secret it refuses whatever comes."""
    app = FastAPI(title="Bankmirror webhooks", docs_url=None, redoc_url=None, openapi_url=None)
    install_problem_handlers(app)

    @app.post(PATH)
    async def take(request: Request) -> Response:
        """Check, take once, make due."""
        if secret is None:
            raise errors.WebhooksOff
        body = await _read(request)
        signatures = request.headers.getlist("x-signature")
        signature = check_signature(secret, signatures[0] if len(signatures) == 1 else None, body, clock())
        hint = read_hint(body)
        parameters = {"signature": signature, "connection_id": connection_id, "event": hint.event}
        async with pool.connection() as connection:
            taken = await (await connection.execute(QUERIES["webhook_take"], parameters)).fetchone()
        if taken is not None:
            ids = [decide.mirror_account_id(connection_id, account_id) for account_id in hint.account_ids or ()]
            hasten(ids or None)
        log.debug("webhook", hint=hint.event, accounts=len(hint.account_ids or ()), repeated=taken is None)
        # The same answer for a message that was taken before: it is what the bank wants to hear.
        return JSONResponse({"taken": True}, 202)

    return app


async def _read(request: Request) -> bytes:
    """The body, never more of it than a message may have. Raises PayloadTooLarge."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY_BYTES_MAX:
            raise errors.PayloadTooLarge(f"at most {BODY_BYTES_MAX} bytes")
    return bytes(body)


@asynccontextmanager
async def serve(app: FastAPI, port: int) -> AsyncIterator[int]:
    """The app on loopback while the context lasts; its port. Nothing for port 0. Raises StartupError."""
    if port == 0:
        yield 0
        return
    listener = _listen(port)
    server = make_server(app, host="127.0.0.1", port=port, drain_seconds=DRAIN_SECONDS, catch_signals=False)
    serving = asyncio.create_task(server.serve([listener]))
    try:
        yield port
    finally:
        server.should_exit = True
        await asyncio.gather(serving, return_exceptions=True)
        listener.close()


def _listen(port: int) -> socket.socket:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
    except OSError as error:
        listener.close()
        raise StartupError(
            f"port {port} for webhooks is taken", "set BANKMIRROR_WEBHOOK_PORT to a free port, or to 0"
        ) from error
    return listener


async def register(bank: BankReader, url: str | None) -> None:
    """Tell the bank where to send them, again and again until it has understood. Nothing without an address."""
    if url is None or not bank.capabilities.webhooks:
        return
    KIND.set("listings")
    pause = REGISTER_AGAIN_SECONDS_MIN
    while True:
        try:
            await bank.register_webhook(url)
        except (BankError, psycopg.Error) as error:
            log.warning("the bank did not take our webhook's address", error=str(error), pause_seconds=pause)
        else:
            log.info("webhooks registered at the bank", url=url)
            return
        await asyncio.sleep(pause)
        pause = min(2 * pause, REGISTER_AGAIN_SECONDS_MAX)
