"""Settings are immutable, and refuse to expose money by accident."""

import pytest
from pydantic import ValidationError

from kernel.errors import StartupError
from kernel.settings import HttpSettings, Settings, is_loopback


def test_settings_are_frozen(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a process started with is what it runs with."""
    monkeypatch.setenv("DATABASE_URL", "postgresql://localhost/x")
    settings = Settings()

    with pytest.raises(ValidationError):
        setattr(settings, "mode", "sandbox")  # noqa: B010 - plainly, the type checker forbids it too


def test_secrets_do_not_print(monkeypatch: pytest.MonkeyPatch) -> None:
    """A settings object may end up in a log or a traceback."""
    monkeypatch.setenv("DATABASE_URL", "postgresql://me:hunter2@localhost/x")
    monkeypatch.setenv("BANKMIRROR_API_TOKEN", "t" * 40)

    shown = repr(HttpSettings())

    assert "hunter2" not in shown
    assert "t" * 40 not in shown


@pytest.mark.parametrize(
    ("mode", "token", "host", "allowed"),
    [
        ("sandbox", None, "127.0.0.1", True),
        ("sandbox", None, "::1", True),
        ("sandbox", None, "0.0.0.0", False),
        ("sandbox", "t" * 40, "0.0.0.0", True),
        ("live", None, "0.0.0.0", True),
        ("live", "t" * 40, "127.0.0.1", True),
    ],
)
def test_s7_money_is_not_served_to_whoever_finds_the_port(
    monkeypatch: pytest.MonkeyPatch, mode: str, token: str | None, host: str, allowed: bool
) -> None:
    """Without a token of the operator's: the sandbox on loopback is open to all; real money needs tokens anywhere."""
    monkeypatch.setenv("DATABASE_URL", "postgresql://localhost/x")
    monkeypatch.setenv("BANKMIRROR_MODE", mode)
    if token:
        monkeypatch.setenv("BANKMIRROR_API_TOKEN", token)
    settings = HttpSettings()

    assert settings.needs_token is (mode == "live" or token is not None)
    if allowed:
        settings.require_safe_exposure(host)
    else:
        with pytest.raises(StartupError, match="token is required"):
            settings.require_safe_exposure(host)


def test_a_short_token_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A token that can be guessed is worse than none."""
    monkeypatch.setenv("DATABASE_URL", "postgresql://localhost/x")
    monkeypatch.setenv("BANKMIRROR_API_TOKEN", "letmein")

    with pytest.raises(ValidationError, match="32 characters"):
        HttpSettings()


@pytest.mark.parametrize("host", ["example.com", "10.0.0.1", "", "localhost.example.com", "0.0.0.0"])
def test_only_loopback_is_loopback(host: str) -> None:
    """A name that merely looks local is not."""
    assert not is_loopback(host)
