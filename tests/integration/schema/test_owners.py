"""Who migrates need not be a superuser: one that may make roles, and owns the database, is enough."""

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

ROLES = ("ingest", "reader", "transfers")
REVISION = Path("schema/versions/0001_roles.sql").read_text()


@dataclass(frozen=True)
class Owner:
    """An ordinary login that may make roles, and its database."""

    name: str
    url: str


@pytest.fixture
def prefix(administrator: psycopg.Connection[tuple[object, ...]]) -> Iterator[str]:
    """Stands for `bankmirror`, whose roles are the whole server's."""
    name = f"mirror_{secrets.token_hex(4)}"
    yield name
    for role in ROLES:
        administrator.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(f"{name}_{role}")))


@pytest.fixture
def owners(
    administrator: psycopg.Connection[tuple[object, ...]], server_url: str, prefix: str
) -> Iterator[tuple[Owner, Owner]]:
    """Two on one server."""
    names = [f"{prefix}_owner_{number}" for number in (1, 2)]
    for name in names:
        login = sql.Identifier(name)
        administrator.execute(sql.SQL("CREATE ROLE {} LOGIN CREATEROLE PASSWORD 'of-a-test'").format(login))
        administrator.execute(sql.SQL("CREATE DATABASE {0} OWNER {0}").format(login))
    urls = (make_conninfo(server_url, dbname=name, user=name, password="of-a-test") for name in names)
    yield Owner(names[0], next(urls)), Owner(names[1], next(urls))
    for name in names:
        administrator.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
    # What the second was granted is the first one's grant, or the administrator's.
    for name in reversed(names):
        administrator.execute(sql.SQL("DROP OWNED BY {}").format(sql.Identifier(name)))
        administrator.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))


def migrate_roles(owner: Owner, prefix: str) -> None:
    """The revision that makes the roles, under names of the test's own."""
    with psycopg.connect(owner.url) as connection:
        connection.execute(REVISION.replace("bankmirror_", f"{prefix}_").encode())


def enter_roles(owner: Owner, prefix: str) -> None:
    """As each process does from one DATABASE_URL."""
    for role in ROLES:
        psycopg.connect(owner.url, options=f"-c role={prefix}_{role}").close()


def test_an_owner_without_superuser_can_enter_the_roles(owners: tuple[Owner, Owner], prefix: str) -> None:
    """Since PostgreSQL 16 who makes a role is a member of it that may not enter it, until it is granted."""
    migrate_roles(owners[0], prefix)

    enter_roles(owners[0], prefix)


def test_another_owners_roles_are_refused_with_the_mend(
    administrator: psycopg.Connection[tuple[object, ...]], owners: tuple[Owner, Owner], prefix: str
) -> None:
    """On one server roles are shared, and the second owner is told what a superuser has to grant."""
    if administrator.info.server_version < 160000:
        pytest.skip("before PostgreSQL 16 whoever may make roles may grant every role")
    migrate_roles(owners[0], prefix)

    for role in ROLES:
        with pytest.raises(psycopg.errors.InsufficientPrivilege) as refused:
            migrate_roles(owners[1], prefix)
        mend = f"GRANT {prefix}_{role} TO {owners[1].name};"
        assert mend in (refused.value.diag.message_hint or "")
        administrator.execute(mend.encode())

    migrate_roles(owners[1], prefix)
    enter_roles(owners[1], prefix)
