"""The embedded PostgreSQL's processes: make its data, start it, end it, clear up after a killed run."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import psutil

from bankmirror import postgres_files as files
from bankmirror.postgres_files import Cluster, PostgresError

SUPERUSER = "postgres"
# No TCP port is opened. This is part of the socket's name, and of our URLs, lest a PGPORT have its say.
PORT = 5432
# The last checkpoint writes out what the last minutes changed, a gigabyte or so, on a slow disk.
_STOP_SECONDS = 30.0
# From SIGQUIT or SIGKILL to the end of a process: no work is left to do, only memory to give back.
_END_SECONDS = 10.0
_POLL_SECONDS = 0.02
# A log longer than this is set aside at the next start; one such is kept.
_LOG_BYTES = 10_000_000


def pid_file(cluster: Cluster) -> Path:
    """The server's own note. By line: pid, data, start, port, socket directory, address, memory, state."""
    return cluster.data / "postmaster.pid"


def clear_leftovers(cluster: Cluster, socket_directory: Path) -> None:
    """End what a killed run left running, and remove what would keep a new server from starting.

    The home's lock is held, so that whatever runs has no owner any more.
    """
    if postmasters := find(cluster, postmaster_only=True):
        _signal(postmasters, signal.SIGINT)
        _wait_until_gone(cluster, _STOP_SECONDS)
    # Backends outlive a killed server for a moment, and must not write beside a new one.
    _signal(find(cluster), signal.SIGKILL)
    if not _wait_until_gone(cluster, _END_SECONDS):
        pids = ", ".join(str(process.pid) for process in find(cluster))
        raise PostgresError(f"an earlier server in {cluster.path} does not end", f"end its processes: {pids}")
    # PostgreSQL takes over the lock file of a dead process, but not when its number has gone to another one.
    with suppress(FileNotFoundError, ValueError, IndexError):
        if psutil.pid_exists(int(pid_file(cluster).read_text().splitlines()[0])):
            pid_file(cluster).unlink()
    for leftover in socket_directory.glob(".s.PGSQL.*"):
        leftover.unlink()


def find(cluster: Cluster, *, postmaster_only: bool = False) -> list[psutil.Process]:
    """The cluster's live processes, known by the name that the server is given and its children show."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        command = process.info["cmdline"] or [""]
        is_postmaster = command[0].endswith("postgres") and f"cluster_name={cluster.name}" in command
        is_child = " ".join(command).startswith(f"postgres: {cluster.name}:")
        if is_postmaster or (is_child and not postmaster_only):
            found.append(process)
    return found


def _signal(processes: list[psutil.Process], order: signal.Signals) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(order)


def _wait_until_gone(cluster: Cluster, timeout_seconds: float) -> bool:
    deadline = time.monotonic() + timeout_seconds
    while find(cluster):
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_SECONDS)
    return True


def create_data(cluster: Cluster, binaries: Path, *, durable: bool) -> None:
    """Make the data directory unless it is there. It appears in one step, so nothing half-made is started."""
    if cluster.data.exists():
        files.check_version(cluster)
        return
    for abandoned in cluster.path.glob("data.new.*"):
        shutil.rmtree(abandoned)
    fresh = cluster.path / f"data.new.{os.getpid()}"
    # The builtin locale sorts alike on every machine; those of the system sort as its C library does.
    locale = ["--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    options = ["--auth=trust", f"--username={SUPERUSER}", *locale, *([] if durable else ["--no-sync"])]
    start = files.rotate_log(cluster, _LOG_BYTES)
    initdb = _spawn(cluster, [binaries / "initdb", *options, "--pgdata", fresh])
    try:
        status = initdb.wait()
    except BaseException:
        initdb.kill()
        raise
    if status != 0:
        raise _failure(cluster, start, "its data could not be made")
    fresh.rename(cluster.data)


def launch(
    cluster: Cluster,
    binaries: Path,
    socket_directory: Path,
    settings: Mapping[str, str],
    timeout_seconds: float,
) -> "subprocess.Popen[bytes]":
    """Start the server as our child, and return when it takes connections."""
    fixed = {
        "listen_addresses": "",
        "port": str(PORT),
        "unix_socket_directories": '"{}"'.format(str(socket_directory).replace('"', '""')),
        "unix_socket_permissions": "0700",
        "cluster_name": cluster.name,
    }
    options = [word for name, value in {**settings, **fixed}.items() for word in ("-c", f"{name}={value}")]
    start = files.rotate_log(cluster, _LOG_BYTES)
    process = _spawn(cluster, [binaries / "postgres", "-D", cluster.data, *options])
    deadline = time.monotonic() + timeout_seconds
    try:
        while not _is_ready(cluster, process.pid):
            if process.poll() is not None:
                raise _failure(cluster, start, "it did not start")
            if time.monotonic() > deadline:
                raise _failure(cluster, start, f"it was not ready after {timeout_seconds:.0f} s")
            time.sleep(_POLL_SECONDS)
    except BaseException:
        # Not SIGKILL: on SIGQUIT the server takes its children with it.
        process.send_signal(signal.SIGQUIT)
        with suppress(subprocess.TimeoutExpired):
            process.wait(_END_SECONDS)
        raise
    return process


def end(process: "subprocess.Popen[bytes]") -> None:
    """Stop a server: end its sessions and write a checkpoint, or if that takes too long, do without."""
    for order, wait_seconds in (
        (signal.SIGINT, _STOP_SECONDS),
        (signal.SIGQUIT, _END_SECONDS),
        (signal.SIGKILL, _END_SECONDS),
    ):
        process.send_signal(order)
        with suppress(subprocess.TimeoutExpired):
            process.wait(wait_seconds)
            return


def _is_ready(cluster: Cluster, pid: int) -> bool:
    try:
        lines = pid_file(cluster).read_text().splitlines()
        return int(lines[0]) == pid and lines[7].strip() == "ready"
    except (FileNotFoundError, ValueError, IndexError):
        return False


def _spawn(cluster: Cluster, command: list[str | Path]) -> "subprocess.Popen[bytes]":
    """Run a program as the cluster's account, into its log. A Ctrl-C at our terminal does not reach it."""
    account = cluster.account
    with cluster.log.open("ab") as log:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=cluster.path,
            # Nothing of ours: PGDATA, PGOPTIONS, LC_ALL or TZ would all have a say in what the server does.
            env={"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"},
            start_new_session=True,
            user=account.pw_uid if account else None,
            group=account.pw_gid if account else None,
            extra_groups=[] if account else None,
        )


def _failure(cluster: Cluster, log_start: int, what: str) -> PostgresError:
    """What went wrong, in the server's own words: its last complaint in the log."""
    with cluster.log.open("rb") as log:
        log.seek(log_start)
        lines = [line for line in log.read().decode(errors="replace").splitlines() if line.strip()]
    complaints = [line for line in lines if any(word in line for word in ("FATAL:", "PANIC:", "error:"))]
    reason = (complaints or lines or ["it said nothing"])[-1].strip()
    return PostgresError(f"PostgreSQL: {what}: {reason}", f"read {cluster.log}")
