"""What the transfers process can be told. Everything about the bank itself is in banks.settings."""

from datetime import timedelta
from typing import Self

from pydantic import Field, model_validator

from banks.settings import BankSettings
from kernel.settings import HttpSettings


class TransfersSettings(HttpSettings, BankSettings):
    """The process that moves money."""

    transfers_host: str = Field("127.0.0.1", description="The address that `bankmirror transfers` listens on.")
    transfers_port: int = Field(
        8001, ge=0, le=65535, description="The port that `bankmirror transfers` listens on; 0: any."
    )
    transfers_wait_seconds: float = Field(
        5.0,
        ge=0,
        le=60,
        description="Seconds that a transfer request waits for the bank's answer before it is told 202.",
    )
    transfers_in_flight_max: int = Field(
        16, ge=1, le=256, description="Transfers that one process has under way at the bank at the same time."
    )
    transfers_poll_seconds: float = Field(
        1.0,
        gt=0,
        le=60,
        description="Seconds between looks for work, for when a database notification was missed.",
    )
    transfers_settle_seconds: float = Field(
        10.0,
        gt=0,
        le=3600,
        description="Seconds between looks for settled transfers when the mirror reports no change.",
    )
    transfers_resend_after_seconds: float = Field(
        60.0,
        gt=0,
        le=86_400,
        description="Seconds that the bank may go on executing a payment after we gave up on its answer. "
        "Until then, a transfer that the bank does not show is only asked for, and not sent again.",
    )
    transfers_probe_seconds: float = Field(
        300.0,
        gt=0,
        le=86_400,
        description="Seconds between tries after the bank has refused our credentials.",
    )
    transfers_drain_seconds: float = Field(
        25.0,
        ge=0,
        le=600,
        description="Seconds that a stopping process waits for payments that are on the wire.",
    )
    transfers_connections_max: int = Field(
        12, ge=4, le=200, description="Database connections that the transfers process may hold."
    )

    @model_validator(mode="after")
    def _late_execution_outlasts_the_call(self) -> Self:
        if self.transfers_resend_after_seconds < self.bank_deadline_seconds and self.mode == "live":
            raise ValueError(
                "BANKMIRROR_TRANSFERS_RESEND_AFTER_SECONDS must not be below BANKMIRROR_BANK_DEADLINE_SECONDS"
            )
        return self

    @property
    def call_deadline_seconds(self) -> float:
        """When we give up on an adapter that does not keep its own deadline."""
        return self.bank_deadline_seconds + 2.0

    @property
    def lease(self) -> timedelta:
        """How long a claimed transfer is one worker's own. Not a setting: a lease that ends before the call
        would let two workers pay for one transfer. The ten seconds are for committing before the call and
        recording after it.
        """
        return timedelta(seconds=self.call_deadline_seconds + 10.0)

    @property
    def principal(self) -> str:
        """Who asks, until tokens have names: keys of one principal never meet those of another."""
        return "sandbox" if self.api_token is None else "token"
