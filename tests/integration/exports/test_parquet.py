"""Lists as Parquet files, where pyarrow is installed."""

import io
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest

from readapi import listings, parquet
from tests.integration.exports.test_files import LISTS, as_file, as_json, client, mirror

__all__ = ["client", "mirror"]

pyarrow = pytest.importorskip("pyarrow")
arrow = pytest.importorskip("pyarrow.parquet")


async def test_parquet_has_the_rows_typed(mirror, client, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    """Several row groups; decimals, dates and moments; text as it is, since nothing here is a formula."""
    monkeypatch.setattr(parquet, "GROUP_ROWS", 7)
    for path in LISTS:
        response = await as_file(client, path, parquet.MEDIA_TYPE)
        file = arrow.ParquetFile(io.BytesIO(response.content))
        told = await as_json(client, path)
        rows = file.read().to_pylist()
        assert file.num_row_groups == max(1, -(-len(told) // 7))
        for row, members in zip(rows, told, strict=True):
            flat = {**members, **(members.get("balance") or {}), **members.get("untrusted", {})}
            for name, value in row.items():
                told_value = flat[name]
                if isinstance(value, Decimal):
                    assert value == Decimal(told_value)
                elif isinstance(value, datetime):
                    assert value.astimezone(UTC) == datetime.fromisoformat(told_value)
                elif isinstance(value, date):
                    assert value.isoformat() == told_value
                elif isinstance(told_value, list):
                    assert (value or "") == " ".join(told_value)
                else:
                    assert value == told_value, (path, name)


async def test_the_types_and_an_empty_file(mirror, client) -> None:  # type: ignore[no-untyped-def]
    """The columns have their types, also where there is no row."""
    response = await as_file(client, "/banking/transactions?type=nothing", parquet.MEDIA_TYPE)
    table = arrow.read_table(io.BytesIO(response.content))
    kinds = dict(zip(table.schema.names, map(str, table.schema.types), strict=True))

    assert table.num_rows == 0
    assert list(kinds) == list(listings.transactions(frozenset(), "-created_at", everybody=True).columns)
    assert (kinds["amount"], kinds["booked_on"], kinds["created_at"]) == (
        "decimal128(38, 4)", "date32[day]", "timestamp[us, tz=UTC]",
    )  # fmt: skip
