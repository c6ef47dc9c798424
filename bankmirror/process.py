"""How one process starts: its settings, its log, what must be so, then its event loop."""

import asyncio
import logging
import os
import sys
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

import psycopg

from bankmirror.database import check_schema
from bankmirror.mend import explain
from bankmirror.parent import SUPERVISED
from bankmirror.ports import require_free
from bankmirror.settings import adopt_running, load
from kernel.errors import StartupError
from kernel.log import configure_log
from kernel.settings import Settings, secret

Loaded = TypeVar("Loaded", bound=Settings)


def run(
    name: str,
    settings_class: type[Loaded],
    serve: Callable[[Loaded], Coroutine[Any, Any, None]],
    *,
    listens: str | None = None,
) -> None:
    """Run a process of ours until it is told to stop. Raises StartupError, or what `explain` makes one of.

    `listens` is the prefix of the settings that say where, for a process that binds its own port.
    """
    settings = prepare(name, settings_class)
    if listens is not None and getattr(settings, f"{listens}_listener", None) is None:
        host, port = getattr(settings, f"{listens}_host"), getattr(settings, f"{listens}_port")
        require_free(host, port, f"BANKMIRROR_{listens}_PORT".upper())
    run_loop(serve(settings))


def prepare(name: str, settings_class: type[Loaded], **given: object) -> Loaded:
    """The settings of a process, with its log set up and its database looked at. What is given wins."""
    if SUPERVISED not in os.environ:
        adopt_running()
    settings = load(settings_class, **given)
    configure_log(name, settings.log_level, settings.log_format)
    check_schema(secret(settings.database_url))
    return settings


def run_loop(work: Coroutine[Any, Any, None]) -> None:
    """Run to the end on the fastest event loop there is."""
    if sys.platform == "win32":
        asyncio.run(work)
        return
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(work)


def run_sandbox(arguments: Sequence[str]) -> None:
    """Run the sandbox bank until it is told to stop. It knows none of our settings."""
    from sandbox.__main__ import read_flags
    from sandbox.app import serve
    from sandbox.settings import Settings as SandboxSettings

    settings = load(SandboxSettings, read_flags(arguments))
    logging.basicConfig(level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        psycopg.connect(settings.database_url, connect_timeout=3).close()
    except psycopg.Error as error:
        told = explain(error)
        raise StartupError(
            told.detail or "" if told else "its database cannot be used",
            "name a database for it in BANKMIRROR_SANDBOX_DATABASE_URL, or run `bankmirror up`",
        ) from error
    require_free(settings.host, settings.port, "BANKMIRROR_SANDBOX_PORT")
    run_loop(serve(settings))
