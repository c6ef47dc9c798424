"""What ingest may be told from the environment."""

import os
import socket
from typing import Literal

from pydantic import Field

from banks.settings import BankSettings


class IngestSettings(BankSettings):
    """How often the bank is asked, how much is read at once, and when a run is given up."""

    poll_seconds: float = Field(30.0, gt=0, le=86_400, description="Seconds between two polls of one feed.")
    read_mode: Literal["auto", "listing"] = Field(
        "auto",
        description="`auto` reads the bank's delta feed where it has one; `listing` reads each account's "
        "transactions by date windows, for a bank whose delta feed is broken.",
    )
    overlap_days: int = Field(
        14,
        ge=1,
        le=90,
        description="Days before the last covered one that each listing reads again, for late postings.",
    )
    backfill_chunk_rows: int = Field(
        20_000,
        ge=1,
        le=50_000,
        description="Rows that one transaction stores. A pass that fits is applied as a whole; a longer one "
        "goes in chunks, with a checkpoint each, and answers say `partial` until it is done.",
    )
    concurrency: int = Field(4, ge=1, le=64, description="Feeds that are polled at the same time by this process.")
    run_deadline_seconds: float = Field(
        60.0,
        gt=0,
        description="Seconds after which a run saves its checkpoint and leaves the rest to the next run; it "
        "is cancelled a minute later.",
    )
    lease_seconds: float = Field(
        20.0,
        ge=3,
        description="Seconds that a claimed feed stays with a process that gives no sign of life. A living "
        "one renews its lease every third of it; after a crash the feed rests this long at most.",
    )
    refresh_seconds: float = Field(
        2.0, gt=0, description="Least pause in seconds between two refreshes of the materialized views."
    )
    drain_seconds: float = Field(
        5.0,
        ge=0,
        description="Seconds that running polls are given to finish when the process is asked to end.",
    )
    worker: str = Field(
        default_factory=lambda: f"{socket.gethostname()}:{os.getpid()}",
        max_length=200,
        description="The name of this process in leases and logs. The default is host:pid.",
    )
    ingest_metrics_port: int = Field(
        0,
        ge=0,
        le=65_535,
        description="Port on 127.0.0.1 for Prometheus metrics of ingest; 0 turns them off.",
    )
