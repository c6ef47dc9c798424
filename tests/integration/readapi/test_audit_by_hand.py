"""`bankmirror audit reads`, as it is typed and as it reads."""

import hashlib
import json
import time

import psycopg

from bankmirror.audit import spellings
from kernel.caller import ANONYMOUS, Caller
from readapi.receipts import Receipts
from tests.integration.ingest.test_by_hand_cli import run
from tests.integration.readapi.mirror import Mirror

AGENT = Caller("AGENT001", "agent", frozenset({"read"}))
HASH = hashlib.sha256(b"answer").digest()
NOW = time.time()


async def test_receipts_are_found_by_whom_what_when_and_which_answer(mirror: Mirror) -> None:
    """By a token's id or name, by an account in path or query, by time and by the beginning of the hash."""
    receipts = Receipts(mirror.url, keep_days=90)
    receipts.note(AGENT, b"/banking/accounts/bank%3Aacct_1/activity?limit=5", 200, HASH, "77", NOW)
    receipts.note(AGENT, b"/banking/cash-flow?group=day&account_id=bank:acct_1", 200, bytes(32), "78", NOW)
    receipts.note(ANONYMOUS, b"/banking/accounts/bank%3Aacct_12", 404, bytes(32), "", NOW - 86_400)
    await receipts.flush()
    await receipts.close()

    def found(*words: str) -> list[str]:
        listed = run(mirror.url, "audit", "reads", "--json", *words)
        assert (listed.returncode, listed.stderr) == (0, "")
        return sorted(str(receipt["version"]) for receipt in json.loads(listed.stdout))

    assert found("--token", "agent") == found("--token", "AGENT001") == ["77", "78"]
    assert found("--account", "bank:acct_1") == ["77", "78"]
    assert found("--hash", HASH.hex()[:10]) == ["77"]
    assert found("--to", time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(NOW - 3_600))) == [""]
    table = run(mirror.url, "audit", "reads").stdout
    assert "agent (AGENT001)" in table
    assert "/banking/accounts/bank%3Aacct_1/activity?limit=5" in table
    assert table.splitlines()[-1] == "3 answers to 2 callers"


def test_what_cannot_be_found_is_said(mirror: Mirror) -> None:
    """Nothing found is said; a token that there is not, and a hash or a moment that is none, is refused."""
    with psycopg.connect(mirror.url) as owner:
        owner.execute(
            "INSERT INTO access.tokens (token_id, principal, name, environment, digest, scopes) "
            "VALUES ('SILENT01', 'SILENT01', 'silent', 'test', sha256('x'), '{read}')"
        )
    unknown = run(mirror.url, "audit", "reads", "--token", "nobody")
    assert (unknown.returncode, unknown.stdout) == (1, "")
    assert "there is no token nobody" in unknown.stderr
    nothing = run(mirror.url, "audit", "reads", "--token", "silent")
    assert (nothing.returncode, nothing.stdout) == (0, "")
    assert "no receipt" in nothing.stderr
    assert "not the beginning of a SHA-256" in run(mirror.url, "audit", "reads", "--hash", "xyz").stderr
    assert "not a moment" in run(mirror.url, "audit", "reads", "--from", "yesterday").stderr


def test_an_id_is_spelled_in_all_ways() -> None:
    """Clients encode a colon or leave it."""
    assert spellings("bank:a b") == ["bank%3Aa%20b", "bank:a b", "bank:a%20b"]
