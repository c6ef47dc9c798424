"""What the read API can be told."""

import hashlib

from pydantic import Field, SecretStr

from kernel.settings import HttpSettings, secret


class ReadapiSettings(HttpSettings):
    """The process that answers questions about the mirror."""

    readapi_host: str = Field("127.0.0.1", description="The address that `bankmirror readapi` listens on.")
    readapi_port: int = Field(
        8002, ge=0, le=65535, description="The port that `bankmirror readapi` listens on; 0: any."
    )
    readapi_workers: int = Field(
        1,
        ge=1,
        le=64,
        description="Processes that `bankmirror readapi` answers with, all on one port; each keeps its own answers in "
        "memory and has its own database connections.",
    )
    readapi_listener: int | None = Field(
        None,
        ge=3,
        description="A file descriptor that listens, to serve on instead; set for workers by the process above them.",
    )
    readapi_connections_max: int = Field(
        8,
        ge=1,
        le=200,
        description="Database connections that the read API may hold. A question holds one for about a "
        "millisecond, so a few serve thousands per second; more than the database has cores would only "
        "queue there.",
    )
    readapi_cache_mib: int = Field(
        64,
        ge=0,
        le=65_536,
        description="Memory, in MiB, in which each process keeps answers to give them again while they are true; "
        "0: every answer comes from the database.",
    )
    receipt_days: int = Field(
        90,
        ge=7,
        le=36_500,
        description="Days for which read receipts are kept: who asked what, and what was answered.",
    )
    cursor_secret: SecretStr | None = Field(
        None,
        description="The key that page cursors are signed with, the same for all processes behind one "
        "address. Without it the key comes from BANKMIRROR_API_TOKEN, and without that from DATABASE_URL, which "
        "is the same for all of them, too.",
    )

    @property
    def cursor_key(self) -> bytes:
        """The key that signs cursors; stable, so that a cursor outlives a restart and fits every worker."""
        # Who knows how to enter the database needs no cursor to read it.
        given = self.cursor_secret or self.api_token or self.database_url
        # The prefix keeps a cursor's signature from being good for anything else that is made from the secret.
        return hashlib.sha256(b"bankmirror cursor\0" + secret(given).encode()).digest()
