"""Several statements in one message to the server, and all their rows in what comes back.

psycopg's own pipelines wake the server with each statement, and once more to collect: four messages for two statements,
which took longer than all that the driver does besides. Here the statements and the end of the pipeline leave together.
Without a BEGIN they are one transaction: what one of them sets `LOCAL` holds for those after it, and then is gone.
"""

import itertools
import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, LiteralString
from weakref import WeakKeyDictionary

import psycopg
from psycopg import pq
from psycopg.abc import PQGen
from psycopg.adapt import Transformer
from psycopg.errors import error_from_result
from psycopg.waiting import Ready, Wait

from kernel.database import Connection

# A query with its parameters, which travel as text: the query says by its casts what they are.
Statement = tuple[LiteralString, Mapping[str, str | None]]
Rows = list[tuple[Any, ...]]

# Statements that a connection keeps prepared. Queries that are put together from filters have more forms than that, and
# the rare ones are planned when they come.
PREPARED_MAX = 300

_PARAMETER = re.compile(r"%\((\w+)\)s")
# By connection, what is prepared there under which name.
_prepared: WeakKeyDictionary[Connection, dict[LiteralString, bytes]] = WeakKeyDictionary()
_numbers = itertools.count()


async def ask(connection: Connection, statements: Sequence[Statement]) -> list[Rows]:
    """Run the statements, which all return rows, as one transaction and in one round trip; the rows of each.

    The connection must be in autocommit mode and idle. Raises psycopg.Error, of the first statement that failed; then
    none of them happened.
    """
    encoded = [(query, *_encoded(query, parameters)) for query, parameters in statements]
    known = _prepared.setdefault(connection, {})
    # What each result will be of: a statement that is being prepared, or None.
    made: list[LiteralString | None] = []
    server = connection.pgconn
    server.enter_pipeline_mode()
    try:
        for query, text, values in encoded:
            name = known.get(query)
            if name is None and len(known) < PREPARED_MAX:
                name = known[query] = b"one_trip_%d" % next(_numbers)
                server.send_prepare(name, text)
                made.append(query)
            if name is None:
                server.send_query_params(text, values)
            else:
                server.send_query_prepared(name, values)
            made.append(None)
        # This sends everything.
        server.pipeline_sync()
        results = await connection.wait(_results(server))
    except BaseException:
        # Nobody knows what was prepared; it has names that are not used again.
        _prepared.pop(connection, None)
        raise
    finally:
        await _leave(connection)
    # What was prepared stays so, even if a statement after it failed.
    for preparing, result in zip(made, results, strict=True):
        if preparing is not None and result.status != pq.ExecStatus.COMMAND_OK:
            known.pop(preparing, None)
    for result in results:
        if result.status == pq.ExecStatus.FATAL_ERROR:
            raise error_from_result(result)
    return [_rows(connection, result) for result in results if result.status == pq.ExecStatus.TUPLES_OK]


def _results(server: pq.abc.PGconn) -> PQGen[list[pq.abc.PGresult]]:
    """Everything up to the end of the pipeline, as psycopg's generators have it: whoever runs this waits meanwhile."""
    while server.flush():
        # More than the socket takes at once. Reading meanwhile keeps the server from waiting for us in turn.
        if (yield Wait.RW) & Ready.R:
            server.consume_input()
    results: list[pq.abc.PGresult] = []
    while True:
        while server.is_busy():
            yield Wait.R
            server.consume_input()
        result = server.get_result()
        # None stands between the results of two statements.
        if result is None:
            continue
        if result.status == pq.ExecStatus.PIPELINE_SYNC:
            return results
        results.append(result)


async def _leave(connection: Connection) -> None:
    """Make the connection an ordinary one again. One that is amid something, as its user was cancelled, is given up."""
    try:
        connection.pgconn.exit_pipeline_mode()
    except psycopg.OperationalError:
        await connection.close()


def _rows(connection: Connection, result: pq.abc.PGresult) -> Rows:
    loader = Transformer(connection)
    loader.set_pgresult(result)
    return loader.load_rows(0, result.ntuples, tuple)


def _encoded(query: LiteralString, parameters: Mapping[str, str | None]) -> tuple[bytes, list[bytes | None]]:
    text, names = _numbered(query)
    return text, [_value(parameters[name]) for name in names]


@cache
def _numbered(query: LiteralString) -> tuple[bytes, tuple[str, ...]]:
    """A query with %(name)s as the server wants it, with $1, and the parameters' names in that order."""
    names = tuple(dict.fromkeys(_PARAMETER.findall(query)))
    numbered = _PARAMETER.sub(lambda found: f"${names.index(found[1]) + 1}", query)
    return numbered.replace("%%", "%").encode(), names


def _value(value: str | None) -> bytes | None:
    if value is None:
        return None
    if "\0" in value:
        # The server would take what stands before it for the whole.
        raise psycopg.DataError("a text cannot contain NUL (0x00)")
    try:
        return value.encode()
    except UnicodeEncodeError as error:
        raise psycopg.DataError("a text cannot contain half a character") from error
