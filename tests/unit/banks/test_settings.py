"""The bank's address: where our key may be sent, and where not."""

import pytest

from banks.settings import BankSettings, checked_base_url
from kernel.errors import StartupError


@pytest.mark.parametrize(
    "url",
    [
        "https://bank.example",
        "https://bank.example:8443/api/v1",
        "https://10.1.2.3",
        "https://[2001:db8::1]:8443/api",
        "http://127.0.0.1:9000",
        "http://localhost:9000",
        "http://LOCALHOST",
        "http://[::1]:9000",
        "HTTPS://Bank.Example",
    ],
)
def test_addresses_of_banks(url: str) -> None:
    """https anywhere, http on this machine; a trailing slash does not matter."""
    assert checked_base_url(url) == checked_base_url(url + "/") == url


@pytest.mark.parametrize(
    "url",
    [
        "",
        "bank.example",
        "//bank.example",
        "ftp://bank.example",
        "file:///etc/passwd",
        "http://bank.example",
        "http://10.0.0.1",
        "http://169.254.169.254",
        "http://169.254.169.254/latest/meta-data",
        "https://169.254.169.254",
        "https://[::ffff:169.254.169.254]",
        "https://[fe80::1]",
        "https://0.0.0.0",
        "https://224.0.0.1",
        "https://2852039166",
        "https://0xa9fea9fe",
        "https://127.1",
        "http://127.0.0.1.evil.example",
        "http://localhost.evil.example",
        "https://bank@evil",
        "https://user:secret@bank.example",
        "https://bank.example@evil.example/",
        "https://bank.example\\@evil.example",
        "https://bank.example#@evil.example",
        "https://bank.example?host=evil.example",
        "https://bank.example/%2e%2e",
        "https://bank.example/a//b",
        "https://bank .example",
        "https://bank.example\n",
        " https://bank.example",
        "https://bänk.example",
        "https://bank..example",
        "https://-bank.example",
        "https://[::1",
        "https://[not-an-address]",
        "https://bank.example:0",
        "https://bank.example:65536",
        "https://bank.example:",
        "https:bank.example",
    ],
)
def test_s7_addresses_that_the_key_is_not_sent_to(url: str) -> None:
    """Refused in one line that says the mend, and never repeats what may be a password."""
    with pytest.raises(StartupError) as caught:
        checked_base_url(url)

    assert caught.value.mend
    assert "\n" not in (caught.value.detail or "")
    assert "secret" not in str(caught.value)


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The required names, and ours with their prefix."""
    environment = {
        "DATABASE_URL": "postgresql://db",
        "BANK_API_BASE_URL": "https://bank.example/",
        "BANK_API_KEY": "k" * 20,
        "BANKMIRROR_BANK_DEADLINE_SECONDS": "3",
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    settings = BankSettings(_env_file=None)

    assert settings.bank_api_base_url == "https://bank.example"
    assert settings.bank_api_key.get_secret_value() == "k" * 20
    assert (settings.bank, settings.bank_deadline_seconds) == ("generic", 3.0)
    assert "kkkk" not in repr(settings)


@pytest.mark.parametrize(
    ("name", "value"), [("BANK_API_BASE_URL", "https://u:hunter2@b"), ("BANK_API_KEY", "hunter2\n")]
)
def test_a_wrong_setting_ends_the_start_in_one_line(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    """The error is for an operator, and holds no secret."""
    monkeypatch.setenv("DATABASE_URL", "postgresql://db")
    monkeypatch.setenv("BANK_API_BASE_URL", "https://bank.example")
    monkeypatch.setenv("BANK_API_KEY", "key")
    monkeypatch.setenv(name, value)

    with pytest.raises(StartupError, match=name) as caught:
        BankSettings(_env_file=None)

    assert "hunter2" not in str(caught.value)


def test_every_setting_is_described() -> None:
    """What an operator can set is documented where it is defined."""
    assert [name for name, field in BankSettings.model_fields.items() if not field.description] == []


@pytest.mark.parametrize(
    ("url", "identity"),
    [
        ("https://bank.example/", "https://bank.example"),
        ("HTTPS://Bank.Example:443/V1", "https://bank.example/V1"),
        ("https://bank.example:8443", "https://bank.example:8443"),
        ("http://LOCALHOST:080", "http://localhost"),
        ("http://127.0.0.1:9000", "http://127.0.0.1:9000"),
        ("https://[2001:DB8::1]:443/api", "https://[2001:db8::1]/api"),
    ],
)
@pytest.mark.parametrize("empty", [None, ""])
def test_a_bank_without_an_id_is_its_address(url: str, identity: str, empty: str | None) -> None:
    """One address in several spellings is one bank; another port, path or host is another one."""
    assert _settings(url, empty).identity == identity


def test_an_id_is_the_bank_wherever_it_is() -> None:
    """A bank may move."""
    assert {_settings(url, "ours").identity for url in ("https://old.example", "https://new.example")} == {"ours"}


def _settings(url: str, bank_id: str | None) -> BankSettings:
    told = {"DATABASE_URL": "postgresql://db", "BANK_API_BASE_URL": url, "BANK_API_KEY": "key", "bank_id": bank_id}
    return BankSettings(_env_file=None, **told)  # type: ignore[arg-type]  # by their environment names
