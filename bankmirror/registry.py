"""Every settings class of the program, by process, the variables that they read, and what is wrong with those."""

import difflib
import os
from collections.abc import Iterator

from dotenv import dotenv_values
from pydantic import AliasChoices, AliasPath, ValidationError
from pydantic_settings import BaseSettings

from bankmirror.mend import explain_settings
from bankmirror.parent import SUPERVISED
from bankmirror.settings import UpSettings
from ingest.settings import IngestSettings
from kernel.errors import StartupError
from readapi.settings import ReadapiSettings
from sandbox.settings import Settings as SandboxSettings
from transfers.settings import TransfersSettings

PROCESSES: dict[str, type[BaseSettings]] = {
    "up": UpSettings,
    "ingest": IngestSettings,
    "readapi": ReadapiSettings,
    "transfers": TransfersSettings,
    "sandbox": SandboxSettings,
}
# What is set for our children, and by who runs the tests. The front's class would bring the web framework along,
# and `up` asks here before it starts; a test holds the names against it.
_NOT_SETTINGS = frozenset(
    {
        SUPERVISED,
        "BANKMIRROR_FRONT_HOST",
        "BANKMIRROR_FRONT_LISTENER",
        "BANKMIRROR_FRONT_PORT",
        "BANKMIRROR_FRONT_TRANSFERS_URL",
        "BANKMIRROR_FRONT_WEBHOOKS_URL",
        "BANKMIRROR_TEST_ACCOUNTS",
        "BANKMIRROR_TEST_DATABASE_URL",
        "BANKMIRROR_TEST_MIRROR_ROWS",
        "BANKMIRROR_TEST_TARGETS",
    }
)


def known_names() -> frozenset[str]:
    """The environment variables that mean something to us."""
    return _NOT_SETTINGS.union(*(names_of(settings_class) for settings_class in PROCESSES.values()))


def names_of(settings_class: type[BaseSettings]) -> Iterator[str]:
    """The environment variables that a settings class reads."""
    prefix = settings_class.model_config.get("env_prefix", "")
    for name, field in settings_class.model_fields.items():
        match field.validation_alias:
            case None:
                yield f"{prefix}{name}".upper()
            case str() as alias:
                yield alias
            case AliasChoices() | AliasPath():
                raise TypeError(f"{settings_class.__name__}.{name} has more than one name")


def given_names() -> frozenset[str]:
    """The variables that the environment and `.env` set, ours and others."""
    return frozenset(dotenv_values(".env")) | frozenset(os.environ)


def find_strange() -> StartupError | None:
    """What is wrong with the names that are set: nothing reads those that begin with ours and are not known."""
    known = known_names()
    strange = sorted(name for name in given_names() if name.startswith("BANKMIRROR_") and name not in known)
    if not strange:
        return None
    guess = difflib.get_close_matches(strange[0], known, n=1)
    mend = f"did you mean {guess[0]}?" if guess else "remove it; docs/reference/settings.md lists all"
    return StartupError(f"{', '.join(strange)}: no such setting", mend)


def check_values(**found: str) -> None:
    """Refuse a malformed value of any process. Raises StartupError.

    Missing ones are no fault here. `found` stands for what is learnt later: a rule over several settings is only
    asked when none of them is missing.
    """
    for settings_class in PROCESSES.values():
        try:
            settings_class(**found)  # type: ignore[arg-type]  # settings by their variables' names
        except ValidationError as error:
            prefix = settings_class.model_config.get("env_prefix", "")
            if told := explain_settings(error, prefix, missing=False):
                raise told from None
