"""Whole lists as files: CSV, JSON Lines, Parquet. PostgreSQL writes them, and they pass through here.

An export is one COPY in one snapshot, on a connection of its own, so that a long one takes none from those who wait for
a short answer. Rows are passed on as they come: memory stays as it is, however many there are. One that cannot be
finished is broken off, so that nobody takes half of it for the whole.
"""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, contextmanager, suppress
from dataclasses import replace
from typing import Any, LiteralString

import psycopg
import structlog
from fastapi import Request, Response
from psycopg import AsyncConnection

from kernel.caller import Caller
from kernel.database import READER, Connection, conninfo
from kernel.errors import NotAcceptable, NotFound, Overloaded, Problem, ValidationFailed
from readapi import parquet
from readapi.access import Access
from readapi.answers import JSON, freshness_headers
from readapi.demand import note_read
from readapi.listings import Listing
from readapi.negotiation import chosen_form
from readapi.outflow import BrokenOff, Outflow, Pieces
from readapi.patience import Ask, account_asked, patience_of, young_answer
from readapi.reader import ENTER, Parameters, Reader, entering, reader_of
from readapi.store import Answer

log = structlog.get_logger()

CSV = "text/csv"
# The name that is in use, and the one that will be.
LINES = ("application/x-ndjson", "application/jsonl")
FORMS = (JSON, CSV, *LINES, parquet.MEDIA_TYPE)
_ENDINGS = {CSV: "csv", **dict.fromkeys(LINES, "jsonl"), parquet.MEDIA_TYPE: "parquet"}

# Exports at the same time in one process. Each keeps a core of the database busy.
EXPORTS_MAX = 2
# Of these, those of one token: a reader that is slow leaves room for another one.
EXPORTS_OF_A_TOKEN_MAX = 1
# Seconds before one who was refused comes again.
RETRY_SECONDS = 5
# Seconds. Ten million rows take some minutes.
EXPORT_SECONDS = 600
EXPORT = replace(READER, application_name="bankmirror export", statement_timeout_ms=EXPORT_SECONDS * 1_000)
# Seconds to tell the server that nobody wants the rest.
CANCEL_SECONDS = 2.0
# Bytes that are gathered before they are passed on: one row at a time would cost more than to make it.
PIECE_BYTES = 64 * 1024


class Exports:
    """The exports of one process, and their connections."""

    def __init__(self, database_url: str) -> None:
        self._conninfo = conninfo(database_url, EXPORT)
        self._of_tokens: Counter[str | None] = Counter()

    @contextmanager
    def one(self, caller: Caller) -> Iterator[None]:
        """Count an export while it runs. Raises Overloaded."""
        token_id = caller.token_id
        if self._of_tokens.total() >= EXPORTS_MAX:
            raise Overloaded(f"{EXPORTS_MAX} exports are running already", retry_after_seconds=RETRY_SECONDS)
        if token_id is not None and self._of_tokens[token_id] >= EXPORTS_OF_A_TOKEN_MAX:
            raise Overloaded("this token has an export running already", retry_after_seconds=RETRY_SECONDS)
        self._of_tokens[token_id] += 1
        try:
            yield
        finally:
            self._of_tokens -= Counter({token_id: 1})

    @asynccontextmanager
    async def snapshot(self, caller: Caller) -> AsyncIterator["SnapshotReader"]:
        """A reader whose questions all see the same. Raises psycopg.Error."""
        connection = await AsyncConnection.connect(self._conninfo)
        try:
            await connection.set_isolation_level(psycopg.IsolationLevel.REPEATABLE_READ)
            await connection.execute(ENTER, entering(caller))
            yield SnapshotReader(connection, caller)
        finally:
            # Whoever reads no further needs no rows any more. The server may be busy with the next one, and not listen.
            if connection.pgconn.transaction_status == psycopg.pq.TransactionStatus.ACTIVE:
                with suppress(psycopg.Error):
                    await connection.cancel_safe(timeout=CANCEL_SECONDS)
            await connection.close()


class SnapshotReader(Reader):
    """Asks on one connection, in the transaction in which its caller's sight is set."""

    __slots__ = ("connection",)

    def __init__(self, connection: Connection, caller: Caller) -> None:
        super().__init__(None, caller)  # type: ignore[arg-type]  # It has a connection instead of a pool.
        self.connection = connection

    async def rows(
        self, query: LiteralString, parameters: Parameters, *, plan_once: bool = False
    ) -> list[tuple[Any, ...]]:
        """All rows of a query. Raises psycopg.Error."""
        cursor = await self.connection.execute(query, parameters)
        return await cursor.fetchall()

    async def copy(self, statement: LiteralString, parameters: Parameters) -> Pieces:
        """The rows that a COPY writes, each with its line break. Raises psycopg.Error."""
        async with self.connection.cursor() as cursor, cursor.copy(statement, parameters) as copy:
            while row := await copy.read():
                yield bytes(row)


def form_asked(request: Request) -> str | None:
    """The media type of the file that a request asks for; None where it is JSON. Raises NotAcceptable."""
    form = chosen_form(request.headers.get("accept"), FORMS)
    if form == parquet.MEDIA_TYPE and not parquet.is_available():
        raise NotAcceptable("for Parquet, the operator has to install bankmirror[arrow]")
    return None if form == JSON else form


async def exported(request: Request, form: str, ask: Ask, listing: Listing, parameters: Parameters) -> Response:
    """A list as a file. `ask` is the question for it as JSON: the file has its freshness, and what it raises is raised.

    Raises Overloaded as well, and psycopg.Error.
    """
    for name in ("cursor", "fields"):
        if name in request.query_params:
            raise ValidationFailed.at(name, "does not go with an export, which has all rows and all columns")
    settled = "known_at" in request.query_params
    patience = patience_of(request, settled=settled)
    if patience is not None:
        account_id = account_asked(request)
        accounts = None if account_id is None else frozenset({account_id})
        await young_answer(request, reader_of(request), ask, patience, accounts)
    if settled:
        # Here a moment that is just past is waited for: in a snapshot it never closes, and the wait would keep a place.
        await ask(reader_of(request))
    exports: Exports = request.app.state.exports
    caller = reader_of(request).caller
    async with AsyncExitStack() as stack:
        stack.enter_context(exports.one(caller))
        reader = await stack.enter_async_context(exports.snapshot(caller))
        answer = await ask(reader)
        if not answer.found:
            raise NotFound("no account has this id")
        note_read(request)
        parameters = {**parameters, "limit": request.query_params.get("limit")}
        pieces = _checked(request, _pieces(reader, form, listing, parameters), listing.name)
        headers = {
            **_headers(answer),
            "Content-Disposition": f'attachment; filename="{listing.name}.{_ENDINGS[form]}"',
        }
        return Outflow(pieces, headers=headers, media_type=form, holding=stack.pop_all())


def not_of_then(parameter: str) -> ValidationFailed:
    """The refusal of a list of a moment as a file, where there is none."""
    return ValidationFailed.at(parameter, "does not go with this export, which tells of now")


def _pieces(reader: SnapshotReader, form: str, listing: Listing, parameters: Parameters) -> Pieces:
    if form == CSV:
        return _gathered(_with_crlf(reader.copy(listing.copy_csv(defused=True), parameters)))
    if form in LINES:
        return _gathered(reader.copy(listing.copy_lines(), parameters))
    return parquet.written(reader.copy(listing.copy_csv(defused=False), parameters), listing)


async def _checked(request: Request, pieces: Pieces, name: str) -> Pieces:
    """The same pieces within the time there is, and while the caller may have them. Raises BrokenOff."""
    access: Access = request.app.state.access
    deadline = asyncio.get_running_loop().time() + EXPORT_SECONDS
    try:
        async with aclosing(pieces):
            async for piece in pieces:
                # As the last thing before it leaves: since the one before, a slow reader may have taken half a minute.
                await access.stays(request.scope)
                yield piece
                if asyncio.get_running_loop().time() > deadline:
                    raise BrokenOff("it took too long")
    except Problem as problem:
        raise BrokenOff(f"the caller may have no more: {problem.title}") from None
    except psycopg.Error as error:
        log.warning("an export was broken off", export=name, error=type(error).__name__)
        # Without the driver's own error, which may quote a row.
        raise BrokenOff("the database did not finish it") from None


async def _gathered(rows: Pieces) -> Pieces:
    gathered: list[bytes] = []
    size = 0
    async with aclosing(rows):
        async for row in rows:
            gathered.append(row)
            size += len(row)
            if size >= PIECE_BYTES:
                yield b"".join(gathered)
                gathered, size = [], 0
    yield b"".join(gathered)


async def _with_crlf(rows: Pieces) -> Pieces:
    # RFC 4180 has it so, and PostgreSQL does it on Windows only.
    async with aclosing(rows):
        async for row in rows:
            yield row[:-1] + b"\r\n"


def _headers(answer: Answer) -> dict[str, str]:
    freshness = json.loads(answer.freshness)
    return {"Cache-Control": "private, no-store", "Vary": "Accept, Authorization", **freshness_headers(freshness)}
