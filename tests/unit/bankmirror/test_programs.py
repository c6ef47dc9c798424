"""What the processes of `up` are told, and what each must not know."""

from pathlib import Path

import pytest

from bankmirror.home import Home
from bankmirror.ports import listen
from bankmirror.programs import Programs
from ingest import webhooks as ingest_webhooks

BANK = {"BANK_API_BASE_URL": "https://bank.example", "BANK_API_KEY": "the-banks-key"}


@pytest.fixture(params=["given", "found"])
def programs(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Programs:
    """With a bank from the environment, or the sandbox that `up` has started."""
    monkeypatch.chdir(tmp_path)
    made = Programs(Home(tmp_path), sandbox=request.param == "found")
    for name, value in BANK.items():
        monkeypatch.delenv(name, raising=False)
        if request.param == "given":
            monkeypatch.setenv(name, value)
        else:
            made.found[name] = value
    monkeypatch.setenv("BANKMIRROR_SANDBOX_API_KEY", BANK["BANK_API_KEY"])
    made.found["DATABASE_URL"] = "postgresql://mirror"
    return made


def test_who_asks_the_bank_is_told_where_it_is(programs: Programs) -> None:
    """Ingest reads it, and transfers pays through it."""
    for program in (programs.of_ingest(), programs.of_transfers(8001)):
        assert BANK.items() <= program.environment.items()


def test_the_front_is_not_given_the_bank(programs: Programs) -> None:
    """It answers whoever reaches the port: what it does not know cannot be had from it."""
    with listen("127.0.0.1", 0) as listener:
        environment = programs.of_front(listener, "http://127.0.0.1:8001").environment

    assert environment["DATABASE_URL"] == "postgresql://mirror"
    assert BANK.keys().isdisjoint(environment)
    assert BANK["BANK_API_KEY"] not in environment.values()


def test_the_sandbox_bank_is_not_given_what_is_ours(programs: Programs) -> None:
    """It is somebody else's system."""
    environment = programs.of_bank({"port": 9000}).environment

    assert environment["BANKMIRROR_SANDBOX_PORT"] == "9000"
    assert {"DATABASE_URL", "BANKMIRROR_API_TOKEN", *BANK}.isdisjoint(environment)


def test_only_ingest_is_told_of_webhooks(programs: Programs, monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes them on a port of its own, the front passes them on; nobody else knows how they are signed."""
    monkeypatch.setenv("BANKMIRROR_WEBHOOK_SECRET", "the bank signs with it")
    programs.take_webhooks(8003, "http://127.0.0.1:8000")
    ingest = programs.of_ingest().environment
    with listen("127.0.0.1", 0) as listener:
        front = programs.of_front(listener, "http://127.0.0.1:8001").environment

    assert ingest["BANKMIRROR_WEBHOOK_PORT"] == "8003"
    assert ingest["BANKMIRROR_WEBHOOK_SECRET"]
    assert front["BANKMIRROR_FRONT_WEBHOOKS_URL"] == "http://127.0.0.1:8003"
    assert not {name for name in front if "SECRET" in name}


@pytest.mark.parametrize(
    ("front_url", "registered"),
    [
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000/webhooks/bank"),
        ("http://[::1]:8000", "http://[::1]:8000/webhooks/bank"),
        ("http://10.0.0.5:8000", "http://127.0.0.1:8003/webhooks/bank"),
    ],
)
def test_our_own_sandbox_is_told_an_address_of_this_machine(tmp_path: Path, front_url: str, registered: str) -> None:
    """It calls no other; and it signs with what ingest was told."""
    programs = Programs(Home(tmp_path), sandbox=True)
    programs.take_webhooks(8003, front_url)
    ingest, sandbox = programs.of_ingest().environment, programs.of_bank({}).environment

    assert ingest["BANKMIRROR_WEBHOOK_URL"] == registered
    assert registered.endswith(ingest_webhooks.PATH)
    assert ingest["BANKMIRROR_WEBHOOK_SECRET"] == sandbox["BANKMIRROR_SANDBOX_WEBHOOK_SECRET"]
