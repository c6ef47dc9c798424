"""Memos that attack their reader: out by every way, in one place, marked and defused; and ordinary ones left alone.

The corpus is memos.json: of each memo, what it must be marked with, and what must be gone from it.
"""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from banks.registry import open_reader
from ingest.settings import IngestSettings
from readapi.app import create_app
from tests.integration.ingest.conftest import Mirror
from tests.integration.ingest.http_bank import serve_bank
from tests.integration.ingest.model_bank import ModelBank
from tests.integration.readapi.mirror import asking, running
from tests.integration.readapi.mirror import settings as readapi_settings
from tests.redteam.outputs import QUESTIONS, Output, ask_all

HERE = Path(__file__).parent
MEMOS: list[dict[str, Any]] = json.loads((HERE / "memos.json").read_text())
ORDINARY: list[str] = json.loads((HERE / "ordinary.json").read_text())
# Of ordinary memos, how many may be marked.
FALSE_SHARE_MAX = 0.05
# And how many may read otherwise than they were written: an address with a path, an emoji that is joined of several.
CHANGED_SHARE_MAX = 0.06
# Nobody's text but the memo's: it stands in the name of each counterparty, and in a row that ingest refuses.
CANARY = "Zqxv"


def by_id() -> dict[str, dict[str, Any]]:
    """The memos by the ids that the bank gives them."""
    return {f"memo_{number:03}": memo for number, memo in enumerate(MEMOS)}


@pytest.fixture
async def outputs(
    bank: ModelBank, settings: IngestSettings, mirror: Mirror, database_url: str
) -> AsyncIterator[list[Output]]:
    """What comes out of every question, with all memos sent by a bank over HTTP and read by ingest."""
    bank.page_rows = 500
    for transaction_id, memo in by_id().items():
        name = memo.get("counterparty", f"{CANARY} {transaction_id}")
        bank.post(
            "acct_a", memo.get("amount", 5), transaction_id=transaction_id, description=memo["text"],
            counterparty={"name": name, "account_id": None},
        )  # fmt: skip
    bank.put_row({**bank.rows["acct_a", "memo_000"], "transaction_id": "refused", "amount_cents": CANARY})
    for number, text in enumerate(ORDINARY):
        bank.post("acct_b", -5, transaction_id=f"ordinary_{number:03}", description=text)
    async with serve_bank(bank) as http_bank:
        wired = settings.model_copy(update={"bank_api_base_url": http_bank.url})
        async with open_reader(wired) as reader:
            desk = await mirror.open(reader)
            await mirror.poll(desk, "balances")
            await mirror.poll(desk)
            # So that the first one has a version that is believed no more.
            bank.change("acct_a", "memo_000", amount_cents=6)
            await mirror.poll(desk)
    # Changes are told of once their moment is over, as ingest says each second.
    await mirror.ask("SELECT sync.move_clock()")
    async with running(create_app(readapi_settings(database_url, readapi_cache_mib=0))) as app:
        yield await ask_all(app)


async def test_memos_leave_by_one_door(outputs: list[Output], capsys: pytest.CaptureFixture[str]) -> None:
    """No other member, no header, no log line holds a word of them; and each way shows them where they belong."""
    shown = {
        untrusted["description"]
        for output in outputs
        for _, untrusted in output.untrusted()
        if untrusted.get("description")
    }
    assert len(shown) > len(MEMOS) * 0.9
    # A word that is in the memos alone would be found; `fresh` is not such a word.
    telling = [CANARY, *(text for text in shown if len(text) >= 12)]
    for output in outputs:
        outside = output.outside()
        assert [text for text in telling if text in outside] == [], output.name
    logged = capsys.readouterr()
    assert [text for text in telling if text in logged.out + logged.err] == []
    silent = [output.name for output in outputs if not any(True for _ in output.untrusted())]
    assert silent == ["mcp get_account_overview", "mcp get_sync_health"] or silent == ["mcp get_sync_health"]


def faults(outputs: list[Output]) -> list[tuple[str, str, str]]:
    """Of each memo in each output: what it should be marked with and is not, and what should be gone and is there."""
    memos = by_id()
    found = []
    for output in outputs:
        for transaction_id, untrusted in output.untrusted():
            memo = memos.get(transaction_id or "")
            if memo is None:
                continue
            texts = [untrusted.get(name) or "" for name in ("description", "counterparty_name")]
            warnings = set(untrusted.get("warnings") or [])
            wrong = [f"not marked {kind}" for kind in memo["marked"] if kind not in warnings]
            wrong += [f"holds {piece!r}" for piece in memo["gone"] if any(piece in text for text in texts)]
            wrong += [f"has {len(text)} characters" for text in texts if len(text) > 140]
            if memo.get("plain"):
                wrong += [f"is marked {kind}" for kind in warnings]
            found += [(output.name, str(transaction_id), one) for one in wrong]
    return found


async def test_attacks_are_marked_and_defused_and_ordinary_memos_are_not(outputs: list[Output]) -> None:
    """By every way alike: the kinds that the corpus names, nothing left of what a machine would act on, no cell that a
    spreadsheet runs. What people really write is hardly ever marked, and reads as it was written.
    """
    assert faults(outputs) == []
    for output in outputs:
        if "/transactions" in output.name and "memo_" not in output.name:
            memos = {key for key, _ in output.untrusted() if str(key).startswith("memo_")}
            assert len(memos) == len(MEMOS), output.name

    tables = [list(output.untrusted()) for output in outputs if output.name.endswith("text/csv")]
    cells = [text for rows in tables for _, row in rows for text in (row["description"], row["counterparty_name"])]
    assert any("HYPERLINK" in cell for cell in cells)
    assert [cell for cell in cells if cell.startswith(("=", "+", "-", "@", "\t", "\r"))] == []

    (output,) = [output for output in outputs if output.name == "/banking/transactions?limit=500 application/json"]
    told = {key: value for key, value in output.untrusted() if str(key).startswith("ordinary")}
    marked = [value["description"] for value in told.values() if value["warnings"]]
    changed = [text for key, text in enumerate(ORDINARY) if told[f"ordinary_{key:03}"]["description"] != text]
    assert len(told) == len(ORDINARY)
    assert len(marked) / len(told) <= FALSE_SHARE_MAX, marked
    assert len(changed) / len(told) <= CHANGED_SHARE_MAX, changed


async def test_the_check_above_can_fail(outputs: list[Output], mirror: Mirror, database_url: str) -> None:
    """Without the two functions of the database, every way shows what it should not."""
    await mirror.owner.execute(
        "CREATE OR REPLACE FUNCTION read.shown(raw text) RETURNS text LANGUAGE sql IMMUTABLE RETURN raw"
    )
    await mirror.owner.execute(
        "CREATE OR REPLACE FUNCTION read.warnings(description text, counterparty_name text) RETURNS text[]"
        " LANGUAGE sql IMMUTABLE RETURN '{}'::text[]"
    )
    async with running(create_app(readapi_settings(database_url, readapi_cache_mib=0))) as app:
        found = faults(await ask_all(app))

    assert {output for output, _, _ in found} == {output.name for output in outputs if any(output.untrusted())} - {
        output.name for output in outputs if "summary" in output.name or "summarize" in output.name
    }
    assert {wrong.split()[0] for _, _, wrong in found} == {"not", "holds", "has"}


def test_the_corpus_is_wide() -> None:
    """Sixty attacks and more, of every class, in many languages; and forty ordinary memos."""
    assert len(MEMOS) >= 60
    assert len({memo["class"] for memo in MEMOS}) >= 18
    assert len({memo["lang"] for memo in MEMOS if "lang" in memo}) >= 10
    assert len(ORDINARY) >= 40


async def test_no_way_out_is_forgotten(database_url: str) -> None:
    """Each path whose answer has an `untrusted` object is asked above: a new one fails here until it is."""
    async with asking(database_url) as client:
        document = (await client.get("/openapi.json")).json()
    schemas = document["components"]["schemas"]

    def names(node: Any, found: set[str]) -> set[str]:
        for name in {part.rpartition("/")[2] for part in _references(node)} - found:
            found.add(name)
            names(schemas[name], found)
        return found

    telling = {
        path
        for path, item in document["paths"].items()
        if "get" in item and names(item["get"]["responses"]["200"], set()) & {"Untrusted", "UntrustedName"}
    }
    # What tells of two moments in the past has the columns and the one function of the rest.
    assert telling - {"/banking/diff"} <= set(QUESTIONS), "ask it in tests/redteam/outputs.py"


def _references(node: Any) -> list[str]:
    if isinstance(node, list):
        return [found for item in node for found in _references(item)]
    if not isinstance(node, dict):
        return []
    own = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
    return own + [found for item in node.values() for found in _references(item)]
