"""What ingest may be told from the environment."""

import os
import socket
from typing import Literal

from pydantic import Field, SecretStr

from banks.settings import BankSettings
from ingest.pace import REQUESTS_PER_MINUTE_MIN


class IngestSettings(BankSettings):
    """How often the bank is asked, how much is read at once, and when a run is given up."""

    poll_seconds: float = Field(
        30.0,
        gt=0,
        le=86_400,
        description="Seconds between two polls of a feed that changes or is read; what sleeps is polled less often.",
    )
    poll_seconds_max: float | None = Field(
        None,
        gt=0,
        le=86_400,
        description="Seconds between two polls of a feed that has neither changed nor been read for long: a twentieth "
        "of that silence, up to this. The default is ten times BANKMIRROR_POLL_SECONDS; the same value keeps every "
        "feed at one pace. Answers are `fresh` by the pace that is kept.",
    )
    bank_requests_per_minute: int | None = Field(
        None,
        ge=REQUESTS_PER_MINUTE_MIN,
        description="Requests a minute that all ingest processes together make at most. A fifth is set aside for "
        "accounts and balances. Without it only the bank's own 429 slows them down.",
    )
    read_mode: Literal["auto", "listing"] = Field(
        "auto",
        description="`auto` reads the bank's delta feed where it has one; `listing` reads each account's "
        "transactions by date windows, for a bank whose delta feed is broken.",
    )
    overlap_days: int = Field(
        14,
        ge=1,
        le=90,
        description="Days before the last covered one that each listing reads again, for late postings. Where an "
        "account's entries came later than that in the last 90 days, its listings reach further back, 90 days at most.",
    )
    lapse_days: int = Field(
        14,
        ge=1,
        le=365,
        description="Days after which a pending transaction that the bank still shows is called `lapsed` to readers: "
        "it will hardly settle any more.",
    )
    sweep_hours: float | None = Field(
        None,
        ge=0,
        le=8_760,
        description="Hours between two sweeps: everything is read again, slowly and between the polls, to find what a "
        "bank changed or removed without telling. The default is 24 where accounts are listed, 168 for a delta feed; "
        "0 turns it off.",
    )
    backfill_chunk_rows: int = Field(
        20_000,
        ge=1,
        le=50_000,
        description="Rows that one transaction stores. A pass that fits is applied as a whole; a longer one "
        "goes in chunks, with a checkpoint each, and answers say `partial` until it is done.",
    )
    concurrency: int = Field(
        4,
        ge=1,
        le=64,
        description="Feeds that this process polls at the same time, and one more for accounts and balances, which "
        "never wait behind transactions.",
    )
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
    webhook_port: int = Field(
        0,
        ge=0,
        le=65_535,
        description="Port on 127.0.0.1 for `POST /webhooks/bank`, by which the bank says that something changed; "
        "0: none. `up` chooses one, and passes the path on from its own port.",
    )
    webhook_secret: SecretStr | None = Field(
        None,
        min_length=16,
        description="The secret that the bank signs its webhooks with. Without it they are refused.",
    )
    webhook_url: str | None = Field(
        None,
        pattern=r"^https?://[!-~]+$",
        max_length=500,
        description="Where the bank reaches us, ending in /webhooks/bank. It is registered at the bank on start; "
        "without it somebody registers it there by hand.",
    )
    ingest_metrics_port: int = Field(
        0,
        ge=0,
        le=65_535,
        description="Port on 127.0.0.1 for Prometheus metrics of ingest; 0 turns them off.",
    )
