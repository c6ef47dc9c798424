"""`bankmirror readapi` as several processes: one binds the port and keeps the others alive, which accept from it."""

import asyncio
import os
import signal
import socket

import structlog

from bankmirror import ports
from bankmirror.programs import own_command, own_environment
from bankmirror.supervisor import Program, Supervisor
from readapi.settings import ReadapiSettings

log = structlog.get_logger()


async def serve(settings: ReadapiSettings) -> None:
    """Serve until SIGTERM or SIGINT, by ourselves or by workers. Raises StartupError when that would not be safe."""
    if settings.readapi_workers == 1:
        # Here: who only keeps workers alive does without the web framework.
        from readapi.app import serve as serve_alone

        await serve_alone(settings)
        return
    settings.require_safe_exposure(settings.readapi_host)
    stop = asyncio.Event()
    for ending in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(ending, stop.set)
    with ports.listen_there(settings.readapi_host, settings.readapi_port) as listener:
        supervisor = Supervisor(report=log.warning, started=lambda name, pid: log.info("worker started", worker=name))
        for number in range(1, settings.readapi_workers + 1):
            supervisor.start(_worker(number, listener))
        try:
            await stop.wait()
        finally:
            await supervisor.stop()


def _worker(number: int, listener: socket.socket) -> Program:
    where = {"BANKMIRROR_READAPI_WORKERS": "1", "BANKMIRROR_READAPI_LISTENER": str(listener.fileno())}
    environment = {**os.environ, **where, **own_environment()}
    return Program(f"readapi-{number}", own_command("readapi"), environment, None, (listener.fileno(),))
