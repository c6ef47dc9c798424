"""SQL and documentation cannot rot: queries are prepared; settings, problems, routes are documented."""

import re
from pathlib import Path

import httpx
import psycopg
import pytest

from sandbox import problems
from sandbox.__main__ import read_flags
from sandbox.app import create_app
from sandbox.settings import Settings
from sandbox.store import QUERIES

README = (Path(problems.__file__).parent / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", sorted(QUERIES))
async def test_every_query_fits_the_schema(client: httpx.AsyncClient, bank_url: str, name: str) -> None:
    """A typo in a column is found without running the query."""
    names = list(dict.fromkeys(re.findall(r"%\((\w+)\)s", QUERIES[name])))
    text = re.sub(r"%\((\w+)\)s", lambda match: f"${names.index(match[1]) + 1}", QUERIES[name])
    async with await psycopg.AsyncConnection.connect(bank_url) as conn:
        await conn.execute(f"PREPARE checked AS {text}".encode())


async def test_the_hot_queries_use_their_indexes(client: httpx.AsyncClient, bank_url: str) -> None:
    """A page costs what the page costs, not what the table does."""
    values = {
        "after": 5, "began": 0, "loop_head": None, "limit": 500, "account_id": "acct_123", "status": None,
        "client_reference": None, "from_day": None, "to_day": None, "after_day": None, "after_id": None,
    }  # fmt: skip
    async with await psycopg.AsyncConnection.connect(bank_url) as conn:
        # The table is small, and a small table is best read whole.
        await conn.execute("SET enable_seqscan = off")
        await conn.execute("SET enable_bitmapscan = off")
        await conn.execute("SET plan_cache_mode = force_custom_plan")
        for name, index in (
            ("changes_page", "transactions_by_position"), ("transactions_page", "transactions_by_account_day")
        ):  # fmt: skip
            cursor = await conn.execute(b"EXPLAIN " + QUERIES[name].encode(), values)
            plan = "\n".join(row[0] for row in await cursor.fetchall())
            assert f"using {index} on transactions" in plan


def test_settings_are_documented() -> None:
    """Each environment name is in the README."""
    for name in Settings.model_fields:
        assert f"`BANKMIRROR_SANDBOX_{name.upper()}`" in README


def test_problems_are_documented() -> None:
    """Each problem type is in the README, and its docstring is a sentence."""
    kinds = [problems.Problem]
    for kind in kinds:
        kinds += kind.__subclasses__()
    for kind in kinds[1:]:
        assert (kind.__doc__ or "").endswith(".")
        assert kind is problems.Declined or f"`{kind.slug}`" in README


def test_routes_are_documented() -> None:
    """Each route is in the README."""
    paths = create_app(Settings()).openapi()["paths"]

    assert len(paths) >= 12
    for path in paths:
        assert path in README


def test_flags_override_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A flag wins; what is not given as a flag comes from the environment."""
    monkeypatch.setenv("BANKMIRROR_SANDBOX_PORT", "1234")
    monkeypatch.setenv("BANKMIRROR_SANDBOX_SPEED", "60")

    settings = Settings(**read_flags(["--port", "4321", "--no-life"]))

    assert (settings.port, settings.speed, settings.life) == (4321, 60.0, False)
