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
    readapi_connections_max: int = Field(
        8,
        ge=1,
        le=200,
        description="Database connections that the read API may hold. A question holds one for about a "
        "millisecond, so a few serve thousands per second; more than the database has cores would only "
        "queue there.",
    )
    cursor_secret: SecretStr | None = Field(
        None,
        description="The key that page cursors are signed with, the same for all processes behind one "
        "address. Without it the key comes from the API token; without either, signing only detects "
        "accidents.",
    )

    @property
    def cursor_key(self) -> bytes:
        """The key that signs cursors; stable, so that a cursor outlives a restart and fits every worker."""
        given = self.cursor_secret or self.api_token
        # The prefix keeps a cursor's signature from being good for anything else that is made from the token.
        return hashlib.sha256(b"bankmirror cursor\0" + (secret(given).encode() if given else b"")).digest()
