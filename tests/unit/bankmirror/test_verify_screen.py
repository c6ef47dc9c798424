"""What `bankmirror verify` prints, and what it exits with."""

import json
from dataclasses import replace
from datetime import date

import pytest
import typer

from bankmirror.progress import proof_lines
from bankmirror.verify import DIFFERENT, NOT_COMPARED, document, exit_code, lines, run
from banks.ports import BankAnswerInvalid, BankThrottled, BankUnreachable
from ingest.tally import Difference, FieldDifference, Note
from ingest.verify import Report
from ingest.verify_account import AccountReport
from ingest.verify_store import Proof

ACCOUNT = AccountReport("acct_a", rows=1_234, days=56, sums_minor={"JPY": 5, "USD": -123_456})
AMOUNT = Difference(
    "acct_a",
    "transaction",
    "txn_1",
    date(2026, 11, 2),
    "differs",
    (FieldDifference("amount", "-1.00 USD", "-0.99 USD"),),
)
AWAY = BankUnreachable("ConnectError")


@pytest.mark.parametrize(
    ("report", "code", "verdict"),
    [
        (Report([ACCOUNT]), 0, "equal: 1,234 transactions of 1 account, Σ 5 JPY, -1,234.56 USD; every day ties"),
        (Report([ACCOUNT], [AMOUNT]), DIFFERENT, "different: 1 difference in 1,234 transactions"),
        (Report([ACCOUNT], [AMOUNT], error=AWAY), DIFFERENT, "not compared: bank-unreachable: ConnectError"),
        (
            Report([ACCOUNT], moving=[AMOUNT]),
            NOT_COMPARED,
            "not compared: what moves at the bank was never seen at rest",
        ),
        (Report([AccountReport("acct_a", error=AWAY)]), NOT_COMPARED, "not compared: 1 account could not be read"),
        (Report(error=AWAY), NOT_COMPARED, "not compared: bank-unreachable: ConnectError"),
        (Report([AccountReport("acct_a", days_unnamed=3)]), DIFFERENT, "different: 0 differences"),
    ],
    ids=["equal", "different", "different, then away", "moving", "account away", "bank away", "unnamed"],
)
def test_verdict_and_exit_code(report: Report, code: int, verdict: str) -> None:
    """The last line says it, and a script need not read it. What could not be compared is never equal."""
    last = [line.plain for line in lines(report)][-1]

    assert last.startswith(verdict)
    assert exit_code(report) == code
    assert json.loads(json.dumps(document(report)))["verdict"] == ("equal", "different", "not-compared")[code]


@pytest.mark.parametrize(
    ("report", "mend"),
    [
        (Report([ACCOUNT], [AMOUNT]), "ingest sweep` has everything read again"),
        (Report([AccountReport("acct_a", days_unnamed=3)]), "ingest sweep` has everything read again"),
        (Report([ACCOUNT], [replace(AMOUNT, kind="untied")]), "something else than ingest has written"),
        (Report(error=AWAY), "check BANK_API_BASE_URL and the way there"),
        (Report(error=BankUnreachable("HTTP 502")), "try again in a moment; if it lasts, tell the bank"),
        (Report([AccountReport("acct_a", error=BankAnswerInvalid("cut"))]), "or tell the bank"),
        (Report([AccountReport("acct_a", error=BankThrottled("HTTP 429", None))]), "try again later"),
        (Report([ACCOUNT]), None),
        (Report([ACCOUNT], moving=[AMOUNT]), None),
    ],
)
def test_a_verdict_that_is_not_green_names_a_mend(report: Report, mend: str | None) -> None:
    """One that fits the cause: a person who is told to check an address that is right trusts no mend any more."""
    last = [line.plain for line in lines(report)][-1]

    assert last.count("mend: ") == (mend is not None)
    assert (mend or "") in last


def test_differences_stand_under_their_account() -> None:
    """By name, with both values; what is written by third parties cannot paint the screen."""
    strange = Difference("acct_\x1b[31m", "account", "", None, "missing-here")
    report = Report(
        [ACCOUNT, AccountReport("acct_b")], [AMOUNT, strange], notes=[Note("acct_b", "quarantined", "txn_9")]
    )

    printed = [line.plain for line in lines(report)]

    assert printed[:3] == [
        "✗ acct_a: 1,234 transactions on 56 days, Σ 5 JPY, -1,234.56 USD",
        "    txn_1 on 2026-11-02: amount: bank -1.00 USD, mirror -0.99 USD",
        "✓ acct_b: 0 transactions on 0 days, Σ 0",
    ]
    assert printed[3:5] == ["✗ acct_\\x1b[31m", "    account: the bank has it, the mirror lacks it"]
    assert printed[5].startswith("· 1 refused row is in quarantine: ")


def test_many_accounts_are_only_told_where_they_differ() -> None:
    """Two thousand green lines would hide the red one."""
    report = Report([*(AccountReport(f"acct_{number}") for number in range(100)), ACCOUNT], [AMOUNT])

    assert [line.plain[:8] for line in lines(report)] == ["✗ acct_a", "    txn_", "differen"]


@pytest.mark.parametrize(("untied", "mark"), [(0, "✓"), (2, "✗")])
def test_proof_of_a_backfill(untied: int, mark: str) -> None:
    """One line with the figures that a bank states too, and red if a day does not tie."""
    proof = Proof(8, 2_000, {"USD": 123_456, "KWD": 5}, 400, untied, 8, 7, 0)

    told = proof_lines(proof)[0].plain

    assert told.startswith(f"{mark} in the mirror: 2,000 transactions of 8 accounts, Σ 0.005 KWD, 1,234.56 USD; ")
    if untied:
        assert "2 of 400 account-days do not tie" in told
    else:
        assert told.endswith("each of 400 account-days ties; 7 of 8 balances are the sum of their bookings")


@pytest.mark.parametrize(
    ("account", "days", "said"),
    [
        ("acct_typo", (None, None), "neither the bank nor the mirror has an account acct_typo"),
        (None, (date(2026, 11, 2), date(2026, 11, 1)), "--from is after --to"),
    ],
)
def test_nothing_to_compare_is_not_equal(
    account: str | None,
    days: tuple[date | None, date | None],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A mistyped account, or days the wrong way round, would be green for ever in somebody's cron job."""

    async def compare_nothing(*_: object, **__: object) -> Report:
        return Report(looks=1)

    monkeypatch.setattr("bankmirror.verify.verify", compare_nothing)
    monkeypatch.setattr("bankmirror.process.prepare", lambda *_, **__: None)

    with pytest.raises(typer.Exit) as ended:
        run(account, *days, as_json=False)

    assert ended.value.exit_code == NOT_COMPARED
    assert said in capsys.readouterr().err
