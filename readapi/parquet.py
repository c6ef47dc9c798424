"""CSV on its way to Parquet: typed columns, so that a notebook need not guess. Needs bankmirror[arrow]."""

import asyncio
import io
from contextlib import aclosing
from importlib.util import find_spec
from typing import TYPE_CHECKING

from readapi.listings import Listing
from readapi.outflow import Pieces

if TYPE_CHECKING:
    import pyarrow

MEDIA_TYPE = "application/vnd.apache.parquet"
# Rows of a row group: what is held in memory, some 15 MB, and what a reader may skip.
GROUP_ROWS = 50_000
# Digits, and those behind the point: amounts in minor units sum up to far less, and no currency has more than four.
_DIGITS, _DECIMALS = 38, 4


def is_available() -> bool:
    """Whether pyarrow is installed."""
    return find_spec("pyarrow") is not None


async def written(rows: Pieces, listing: Listing) -> Pieces:
    """A Parquet file of the rows of a CSV with its header, a row group at a time."""
    file = await asyncio.to_thread(_File, listing)
    group: list[bytes] = []
    async with aclosing(rows):
        header = await anext(rows)
        async for row in rows:
            group.append(row)
            if len(group) == GROUP_ROWS:
                # In a thread of its own: others wait for their answers meanwhile.
                yield await asyncio.to_thread(file.add, header + b"".join(group))
                group.clear()
    if group:
        yield await asyncio.to_thread(file.add, header + b"".join(group))
    yield await asyncio.to_thread(file.end)


class _File:
    """A file that is written into memory, and taken out as it grows."""

    def __init__(self, listing: Listing) -> None:
        from pyarrow import csv, parquet

        self._schema = _schema(listing)
        self._csv = csv
        self._bytes = _Drain()
        self._writer = parquet.ParquetWriter(self._bytes, self._schema, compression="zstd")

    def add(self, text: bytes) -> bytes:
        """The bytes of a row group."""
        options = self._csv.ConvertOptions(
            column_types=self._schema,
            # PostgreSQL writes null as nothing, and an empty text in quotes.
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        )
        table = self._csv.read_csv(
            io.BytesIO(text),
            # One block: a value with a line break in it must not be cut.
            read_options=self._csv.ReadOptions(block_size=len(text) + 1, use_threads=False),
            parse_options=self._csv.ParseOptions(newlines_in_values=True),
            convert_options=options,
        )
        self._writer.write_table(table, row_group_size=GROUP_ROWS)
        return self._bytes.take()

    def end(self) -> bytes:
        """The footer."""
        self._writer.close()
        return self._bytes.take()


class _Drain(io.RawIOBase):
    """A file to write to, whose bytes can be taken while it goes on."""

    def __init__(self) -> None:
        self._taken = 0
        self._written = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: "bytes | bytearray | memoryview") -> int:  # type: ignore[override]
        self._written += data
        return len(data)

    def tell(self) -> int:
        return self._taken + len(self._written)

    def take(self) -> bytes:
        """What was written since."""
        taken = bytes(self._written)
        self._taken += len(taken)
        self._written.clear()
        return taken


def _schema(listing: Listing) -> "pyarrow.Schema":
    import pyarrow

    types = {
        "text": pyarrow.string(),
        "words": pyarrow.string(),
        "integer": pyarrow.decimal128(_DIGITS, 0) if listing.name == "cash-flow" else pyarrow.int64(),
        "decimal": pyarrow.decimal128(_DIGITS, _DECIMALS),
        "date": pyarrow.date32(),
        "moment": pyarrow.timestamp("us", tz="UTC"),
    }
    return pyarrow.schema([(name, types[kind]) for name, kind in listing.columns.items()])
