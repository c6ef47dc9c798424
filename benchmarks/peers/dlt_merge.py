"""The same bank into the same server by dlt, merging on the primary key as Bankmirror does.

Configured as dlt's own pages on performance and on Postgres recommend: whole pages are yielded, buffers and files are
large, and files are CSV, which dlt loads by COPY. Of four variants tried once each on a busy machine (upsert or delete
and insert, one or two processes that normalize, CSV or INSERT) this one was the fastest. Its environment is its own.

    python -m benchmarks.peers.dlt_merge <bank's address> <database URL>
"""

import os
import sys
import tempfile
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

PAGE_ROWS = 500
SETTINGS = {
    "RUNTIME__DLTHUB_TELEMETRY": "false",
    "RUNTIME__LOG_LEVEL": "ERROR",
    # The default of 5,000 rows a buffer is for rows that are yielded one by one.
    "DATA_WRITER__BUFFER_MAX_ITEMS": "50000",
    "DATA_WRITER__FILE_MAX_ITEMS": "50000",
    # On two cores, which the bank and PostgreSQL share, a second process was slower.
    "NORMALIZE__WORKERS": "1",
}


def main(bank_url: str, database_url: str) -> None:
    """Load the whole change feed."""
    os.environ.update(SETTINGS)
    # After the settings, which dlt reads as it is imported.
    import dlt
    from dlt.sources.helpers.rest_client import RESTClient
    from dlt.sources.helpers.rest_client.paginators import JSONResponseCursorPaginator

    client = RESTClient(
        base_url=bank_url,
        headers={"Authorization": "Bearer bench"},
        paginator=JSONResponseCursorPaginator(
            cursor_path="next_cursor", cursor_param="cursor", has_more_path="has_more"
        ),
    )

    def pages() -> Iterator[list[dict[str, Any]]]:
        yield from client.paginate("/transactions/changes", params={"limit": PAGE_ROWS}, data_selector="added")

    transactions = dlt.resource(
        pages,
        name="transactions",
        primary_key=("account_id", "transaction_id"),
        write_disposition={"disposition": "merge", "strategy": "upsert"},
    )
    with tempfile.TemporaryDirectory(prefix="bench-dlt-") as home:
        destination = dlt.destinations.postgres(credentials(database_url))
        pipeline = dlt.pipeline("bench", pipelines_dir=home, destination=destination, dataset_name="bench")
        pipeline.run(transactions, loader_file_format="csv")


def credentials(database_url: str) -> dict[str, Any]:
    """The URL as dlt wants it: in parts, and with a password even where the server asks for none."""
    url = urlsplit(database_url)
    query = parse_qs(url.query)
    return {
        "username": url.username,
        "password": "none",
        # In a URL the directory of a socket must be quoted.
        "host": quote(query["host"][0], safe=""),
        "port": int(query["port"][0]),
        "database": url.path.lstrip("/"),
    }


if __name__ == "__main__":
    main(*sys.argv[1:])
