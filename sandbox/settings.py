"""What the sandbox bank can be told, from the environment (`BANKMIRROR_SANDBOX_*`) or from flags."""

from typing import Literal

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from sandbox.chaos.catalogue import read_names


class Settings(BaseSettings):
    """Every setting, with its unit last in its name. Frozen: a running bank does not change its mind."""

    model_config = SettingsConfigDict(env_prefix="BANKMIRROR_SANDBOX_", frozen=True, extra="ignore")

    database_url: str = "postgresql://localhost/sandbox"
    host: str = "127.0.0.1"
    port: int = Field(default=9000, ge=0, le=65535)
    api_key: SecretStr = Field(default=SecretStr("sandbox-key"), min_length=1)
    webhook_secret: SecretStr = Field(default=SecretStr("sandbox-webhook-secret"), min_length=1)
    log_level: Literal["critical", "error", "warning", "info", "debug"] = "info"

    # The history that a new database begins with. A database that has one keeps it, whatever these say.
    seed: int = Field(default=42, ge=0, lt=2**62)
    accounts: int = Field(default=8, ge=2, le=10_000)
    transactions: int = Field(default=2_000, ge=0, le=20_000_000)

    # Bank seconds per real second. 3600 is an hour a second.
    speed: float = Field(default=1.0, gt=0, le=1_000_000)
    # The least that happens, in real time, so that a demonstration visibly lives. 0 leaves the natural pace.
    live_events_per_minute: float = Field(default=12.0, ge=0, le=60_000)
    # Off, nothing happens unless a client makes it happen: what a benchmark wants.
    life: bool = True

    # 0 switches the limit off. The burst is one second's worth.
    rate_limit_per_second: float = Field(default=200.0, ge=0)
    # How long a key is remembered. After that the same key pays again, as at real banks.
    idempotency_retention_seconds: int = Field(default=24 * 3600, gt=0)
    # Ten connections serve more than the rate limit lets in.
    pool_size: int = Field(default=10, ge=1, le=100)

    # The share of requests that meet a fault. 0 is off, and costs nothing.
    chaos: float = Field(default=0.0, ge=0, le=1)
    chaos_seed: int = Field(default=1, ge=0, lt=2**62)
    # Names between commas; empty is what a client can get over by itself. See docs/reference/chaos.md.
    chaos_faults: str = ""
    # Payments meet faults only when this is said, too.
    chaos_writes: bool = False
    # Events of the books by themselves, in real time.
    chaos_events_per_minute: float = Field(default=0.0, ge=0, le=6_000)

    @field_validator("chaos_faults")
    @classmethod
    def _known(cls, names: str) -> str:
        read_names(names)
        return names
