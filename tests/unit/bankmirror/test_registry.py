"""What the environment sets: names that nothing reads, and values that a process would refuse only later."""

from pathlib import Path

import pytest

from bankmirror.front import FrontSettings
from bankmirror.registry import check_values, find_strange, known_names, names_of
from bankmirror.settings import sandbox_environment
from kernel.errors import StartupError

FOUND = {"DATABASE_URL": "postgresql:///", **sandbox_environment("http://127.0.0.1:9000", "sandbox")}


@pytest.fixture(autouse=True)
def _nobodys_dotenv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_the_fronts_names_are_known() -> None:
    """They are written out in the registry, which does not import the front."""
    assert set(names_of(FrontSettings)) <= known_names()


def test_misspelt_name_is_told_with_the_right_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one in `.env`."""
    assert find_strange() is None
    Path(".env").write_text("BANKMIRROR_POLL_SECOND=3\n")
    monkeypatch.setenv("BANKMIRROR_XYZZY", "1")

    strange = find_strange()

    assert strange is not None
    assert strange.detail == "BANKMIRROR_POLL_SECOND, BANKMIRROR_XYZZY: no such setting"
    assert strange.mend == "did you mean BANKMIRROR_POLL_SECONDS?"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("BANKMIRROR_POLL_SECONDS", "-1"),
        ("BANKMIRROR_SANDBOX_SPEED", "0"),
        ("BANKMIRROR_TRANSFERS_PORT", "x"),
        ("BANKMIRROR_READAPI_CONNECTIONS_MAX", "0"),
    ],
)
def test_values_of_every_process_are_checked(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    """What is only learnt later is not called missing."""
    check_values(**FOUND)
    monkeypatch.setenv(name, value)

    with pytest.raises(StartupError, match=f"^{name}: ") as raised:
        check_values()
    assert "not set" not in str(raised.value)


def test_rules_over_several_settings_are_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are skipped while anything is missing, so what is learnt later is stood in for."""
    monkeypatch.setenv("BANKMIRROR_TRANSFERS_RESEND_AFTER_SECONDS", "1")

    with pytest.raises(StartupError, match="must not be below"):
        check_values(**FOUND)
