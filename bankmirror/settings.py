"""What `bankmirror up`, `status` and `doctor` are told, and how every command reads its settings."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

from dotenv.parser import parse_stream
from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from bankmirror.home import Home
from bankmirror.mend import explain_settings
from bankmirror.postgres import find_running
from kernel.errors import StartupError

Loaded = TypeVar("Loaded", bound=BaseSettings)

# The database of the mirror, and that of the sandbox bank, in the embedded PostgreSQL.
MIRROR_DATABASE = "bankmirror"
SANDBOX_DATABASE = "sandbox"


class UpSettings(BaseSettings):
    """What `up` needs. What is not given here, it makes itself: a database, a bank."""

    model_config = SettingsConfigDict(
        env_prefix="BANKMIRROR_", env_file=".env", env_file_encoding="utf-8", extra="ignore", frozen=True,
        # `DATABASE_URL=` in a copied .env means that there is none.
        env_ignore_empty=True,
    )  # fmt: skip

    home: Path = Field(
        Path(".bankmirror"),
        description="The directory that holds the embedded database, the logs and up.json.",
    )
    host: str = Field("127.0.0.1", description="The address that `up` serves on. Off loopback a token is required.")
    port: int = Field(
        8000, ge=1, le=65535, description="The port that `up` serves on; when it is taken, the next free one."
    )
    workers: int = Field(
        1,
        ge=1,
        le=64,
        description="Processes that `up` answers with, all on one port; each keeps its own answers in memory.",
    )
    database_url: SecretStr | None = Field(
        None,
        validation_alias="DATABASE_URL",
        description="The PostgreSQL for the mirror, as a libpq URL. Without it `up` runs its own.",
    )
    bank_api_base_url: str | None = Field(
        None,
        validation_alias="BANK_API_BASE_URL",
        description="The bank's address. Without it `up` runs the sandbox bank.",
    )
    bank_api_key: SecretStr | None = Field(
        None, validation_alias="BANK_API_KEY", description="The key that the bank knows us by."
    )
    mode: Literal["sandbox", "live"] | None = Field(
        None,
        description="`sandbox` or `live`; without it, `sandbox` only if `up` itself runs the bank.",
    )
    api_token: SecretStr | None = Field(
        None,
        description="The bearer token that callers must send. Required in live mode, and off loopback.",
    )

    @property
    def is_live(self) -> bool:
        """Whether the money is real: always, but for the bank that `up` itself runs, unless it is said."""
        return (self.mode or ("live" if self.bank_api_base_url else "sandbox")) == "live"


def load(settings_class: type[Loaded], flags: Mapping[str, Any] | None = None, /, **given: Any) -> Loaded:
    """Read settings from the environment and `.env`; what is given here wins, but for None. Raises StartupError.

    `flags` are the fields that the command line gave; what is wrong with one is told by the flag's name.
    """
    _check_dotenv(Path(".env"))
    flags = {name: value for name, value in (flags or {}).items() if value is not None}
    try:
        return settings_class(**{name: value for name, value in given.items() if value is not None}, **flags)
    except ValidationError as error:
        told = explain_settings(error, settings_class.model_config.get("env_prefix", ""), flags=flags)
        assert told is not None, "everything that is wrong is told"
        raise told from None


def _check_dotenv(path: Path) -> None:
    """Refuse a `.env` that would only be read in part: the line that is skipped may hold the token."""
    if not path.is_file():
        return
    mend = "write each line as NAME=value, in UTF-8"
    try:
        with path.open(encoding="utf-8") as file:
            wrong = [binding.original.line for binding in parse_stream(file) if binding.error]
    except UnicodeDecodeError:
        raise StartupError(f"{path.resolve()} is not UTF-8 text", mend) from None
    if wrong:
        raise StartupError(f"{path.resolve()}, line {wrong[0]}: not a setting", mend)


def adopt_running() -> None:
    """Where the environment names no database or no bank, use those of the `up` that runs in this home.

    So `bankmirror status`, `ingest once` or `backfill` beside a running `up` need nothing to be set.
    """
    settings = load(UpSettings)
    home = Home(settings.home)
    if settings.database_url is None and (url := find_running(home.path, MIRROR_DATABASE)):
        os.environ["DATABASE_URL"] = url
    running = home.find_running()
    if settings.bank_api_base_url is None and running and running.sandbox_url:
        os.environ.update(sandbox_environment(running.sandbox_url, home.sandbox_id()))


def sandbox_environment(sandbox_url: str, bank_id: str) -> dict[str, str]:
    """What makes a process a client of our own sandbox bank, whose port may be another one each time."""
    return {
        "BANK_API_BASE_URL": sandbox_url,
        "BANKMIRROR_BANK_ID": bank_id,
        "BANK_API_KEY": os.environ.get("BANKMIRROR_SANDBOX_API_KEY") or "sandbox-key",
        "BANKMIRROR_MODE": "sandbox",
    }


def database_url(settings: UpSettings) -> str:
    """The mirror's database: the one that is given, else the running embedded one. Raises StartupError."""
    if settings.database_url is not None:
        return settings.database_url.get_secret_value()
    if url := find_running(Home(settings.home).path, MIRROR_DATABASE):
        return url
    raise StartupError(
        "DATABASE_URL is not set, and no `bankmirror up` runs in this home",
        "start `bankmirror up`, set DATABASE_URL, or name the home of a running one in BANKMIRROR_HOME",
    )
