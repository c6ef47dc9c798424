"""Ports on this machine: which are taken, and the socket that `up` serves on."""

import errno
import socket
from contextlib import closing

from kernel.errors import StartupError

# How far to look past a port that is taken.
_TRIES = 100
# Connections that wait while the front is started again: they are answered a moment later instead of refused.
_BACKLOG = 1024


def listen(host: str, port: int) -> socket.socket:
    """A listening socket on the port, or on the next one that is free. Raises StartupError."""
    for candidate in range(port, min(port + _TRIES, 65536)):
        if (found := _try_listen(host, candidate)) is not None:
            return found
    raise StartupError(f"no port from {port} on is free on {host}", "name another one with --port")


def listen_there(host: str, port: int) -> socket.socket:
    """A listening socket on this port and no other; on any, for 0. Raises StartupError."""
    found = _try_listen(host, port)
    if found is None:
        raise StartupError(f"port {port} on {host} is taken", "stop whoever listens there, or name another port")
    return found


def find_free(host: str, port: int) -> int:
    """The port, or the next one that is free; of 0, any that is free."""
    with closing(listen(host, port)) as found:
        number: int = found.getsockname()[1]
        return number


def is_taken(host: str, port: int) -> bool:
    """Whether somebody listens there. Raises StartupError for what nobody can listen on."""
    found = _try_listen(host, port)
    if found is None:
        return True
    found.close()
    return False


def address(host: str, port: int) -> str:
    """The URL at which a client on this machine reaches a listener."""
    reached = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 (compared with, not bound to)
    return f"http://[{reached}]:{port}" if ":" in reached else f"http://{reached}:{port}"


def require_free(host: str, port: int, variable: str) -> None:
    """Refuse to start on a port that is taken, in words. Raises StartupError."""
    if is_taken(host, port):
        raise StartupError(
            f"port {port} on {host} is taken", f"stop whoever listens there, or name another in {variable}"
        )


def _try_listen(host: str, port: int) -> socket.socket | None:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
    except OSError as error:
        raise StartupError(f"{host} is no address of this machine: {error.strerror}", "correct the host") from error
    found = socket.socket(family, socket.SOCK_STREAM)
    # A port is free at once after its listener died, not only when the last connection has timed out.
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind((host, port))
        found.listen(_BACKLOG)
    except OSError as error:
        found.close()
        if error.errno == errno.EADDRINUSE:
            return None
        raise StartupError(
            f"cannot listen on {host}:{port}: {error.strerror}",
            "name an address and a port that this account may use",
        ) from error
    return found
