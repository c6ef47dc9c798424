"""Who may say that something changed."""

import hashlib
import hmac

import pytest

from ingest.webhooks import WINDOW_SECONDS, check_signature, read_hint
from kernel.errors import MalformedBody, ValidationFailed, WebhookRefused

SECRET = "a secret of the bank"
BODY = b'{"event": "transactions.updated", "account_ids": ["acct_a"]}'
NOW = 1_800_000_000


def signed(body: bytes = BODY, at: int = NOW, secret: str = SECRET) -> str:
    """The header, made as the contract says and not by our own code."""
    mac = hmac.new(secret.encode(), str(at).encode() + b"." + body, hashlib.sha256).hexdigest()
    return f"t={at},v1={mac}"


@pytest.mark.parametrize("age", [0, WINDOW_SECONDS, -WINDOW_SECONDS])
def test_the_banks_own_message_is_taken(age: int) -> None:
    """Signed within five minutes, either way."""
    assert check_signature(SECRET, signed(at=NOW - age), BODY, NOW).hex() == signed(at=NOW - age)[-64:]


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "v1=" + "0" * 64,
        "t=1,v1=",
        signed().upper(),
        signed() + "\n",
        signed() + "," + signed(),
        signed().replace("t=", "t=-"),
        "t=" + "9" * 400 + ",v1=" + "0" * 64,
        "t=\u0661,v1=" + "0" * 64,
    ],
)  # fmt: skip
def test_what_is_no_signature_is_refused(header: str | None) -> None:
    """One form, and nothing that nearly looks like it."""
    with pytest.raises(WebhookRefused, match="missing"):
        check_signature(SECRET, header, BODY, NOW)


@pytest.mark.parametrize(
    ("header", "body"),
    [
        (signed(), BODY + b" "),
        (signed(body=b""), BODY),
        (signed(secret="another secret of nobody"), BODY),
        (signed().replace(f"t={NOW}", f"t={NOW + 1}"), BODY),
    ],
)
def test_what_the_bank_did_not_sign_is_refused(header: str, body: bytes) -> None:
    """Another body, another secret, another time under the same signature."""
    with pytest.raises(WebhookRefused, match="does not fit"):
        check_signature(SECRET, header, body, NOW)


@pytest.mark.parametrize("age", [WINDOW_SECONDS + 1, -WINDOW_SECONDS - 1, 86_400 * 365])
def test_an_old_message_is_refused(age: int) -> None:
    """What somebody kept cannot be sent again later."""
    with pytest.raises(WebhookRefused, match="clocks"):
        check_signature(SECRET, signed(at=NOW - age), BODY, NOW)


def test_a_message_that_names_no_account_is_about_all() -> None:
    """Members that are not known are left alone: only a hint is wanted."""
    assert read_hint(BODY).account_ids == ["acct_a"]
    assert read_hint(b'{"event": "x", "more": 1.5}').account_ids is None


@pytest.mark.parametrize("body", [b"", b"nothing", b"\xff", b'{"event": '])
def test_what_is_not_json_is_said_to_be_so(body: bytes) -> None:
    """Whoever signed it hears what is wrong."""
    with pytest.raises(MalformedBody):
        read_hint(body)


@pytest.mark.parametrize(
    "body",
    [
        b"[]",
        b"1",
        b'{"account_ids": "acct_a"}',
        b'{"account_ids": [""]}',
        b'{"account_ids": ["acct_a", "a\\u0000b"]}',
        b'{"event": "\\u0000"}',
    ],
)
def test_another_form_is_said_to_be_so(body: bytes) -> None:
    """The pointer names where."""
    with pytest.raises(ValidationFailed):
        read_hint(body)
