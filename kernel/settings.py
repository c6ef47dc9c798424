"""Settings come from the environment (and `.env`), are read once, and never change while a process runs."""

from ipaddress import ip_address
from typing import Literal, Self

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from kernel.errors import StartupError


class Settings(BaseSettings):
    """What every process needs. Each process adds its own in its own package's `settings.py`."""

    model_config = SettingsConfigDict(
        env_prefix="BANKMIRROR_", env_file=".env", env_file_encoding="utf-8", extra="ignore", frozen=True
    )

    database_url: SecretStr = Field(
        validation_alias="DATABASE_URL",
        description="The PostgreSQL that holds the mirror, as a libpq URL. Each process enters its own role there.",
    )
    mode: Literal["sandbox", "live"] = Field(
        "live",
        description="`sandbox` when the bank is the sandbox: only then may processes run without a token, on loopback.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="The least level that is logged."
    )
    log_format: Literal["json", "console"] = Field(
        "json", description="`json` for machines, a line an event; `console` for people."
    )


class HttpSettings(Settings):
    """What every process that answers HTTP needs."""

    api_token: SecretStr | None = Field(
        None,
        description="The operator's own token, which may do everything but read memos. Others are made by "
        "`bankmirror token create`. Required off loopback when the bank is the sandbox.",
    )

    @model_validator(mode="after")
    def _token_is_printable(self) -> Self:
        if self.api_token is not None and len(self.api_token.get_secret_value()) < 32:
            raise ValueError("BANKMIRROR_API_TOKEN must have at least 32 characters")
        return self

    @property
    def needs_token(self) -> bool:
        """Whether every caller must send a token: always, but on the sandbox, where a process only starts on loopback
        without one.
        """
        return self.mode == "live" or self.api_token is not None

    def require_safe_exposure(self, host: str) -> None:
        """Refuse to serve money to whoever finds the port. Raises StartupError."""
        if not self.needs_token and not is_loopback(host):
            raise StartupError(
                f"a token is required to listen on {host}",
                "listen on 127.0.0.1, or set BANKMIRROR_API_TOKEN to a secret of at least 32 characters",
            )


def is_loopback(host: str) -> bool:
    """Whether a host name or address can only be reached from this machine."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def secret(value: SecretStr) -> str:
    """The text of a secret, at the one place that hands it to a library."""
    return value.get_secret_value()
