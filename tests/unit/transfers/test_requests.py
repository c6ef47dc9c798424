"""What is let in: one meaning, bounded, nothing ignored, and never repeated back."""

import json

import pytest

from kernel import errors
from transfers.requests import (
    BODY_BYTES_MAX,
    TransferRequest,
    differing_fields,
    parse_key,
    parse_request,
)

BODY = {"account_id": "acct_123", "destination_account_id": "acct_456", "amount_cents": 2500}
JSON = {"content-type": "application/json"}


def parse(**changed: object) -> TransferRequest:
    return parse_request(JSON, json.dumps({**BODY, **changed}).encode())


def pointers(problem: errors.Problem) -> list[str]:
    return [item["pointer"] for item in problem.members["errors"]]


def test_a_request_is_read() -> None:
    """The three fields of the older contract are enough; the rest is optional."""
    assert parse().amount_cents == 2500
    full = parse(currency="USD", reference="INV-2041", memo="für Zoë")
    assert (full.currency, full.reference, full.memo) == ("USD", "INV-2041", "für Zoë")
    assert parse_request({"content-type": "application/json; charset=utf-8"}, json.dumps(BODY).encode()) == parse()


NO_AMOUNTS = [
    "1.0", "25.5", "1e3", '"1e3"', '"2500"', "true", "null", "0", "-1", "-0", "1000000000000000", "9" * 5000,
    "[]", "{}",
]  # fmt: skip


@pytest.mark.parametrize("amount", NO_AMOUNTS)
def test_i5_only_a_whole_positive_number_is_an_amount(amount: str) -> None:
    """I5: floats, texts, booleans, zero, negative and absurd amounts are refused with a pointer."""
    text = json.dumps(BODY).replace("2500", amount)

    with pytest.raises(errors.ValidationFailed) as refused:
        parse_request(JSON, text.encode())

    assert pointers(refused.value) == ["/amount_cents"]


@pytest.mark.parametrize("amount", ["NaN", "Infinity", "-Infinity", "01", "+1", ".5", ""])
def test_i5_what_is_not_json_is_malformed(amount: str) -> None:
    """I5: Python reads NaN, JSON has none."""
    text = json.dumps(BODY).replace("2500", amount)

    with pytest.raises(errors.MalformedBody):
        parse_request(JSON, text.encode())


@pytest.mark.parametrize(
    ("changed", "pointer"),
    [
        ({"amount_minor": 1}, "/amount_minor"),
        ({"execute_on": "2026-01-15"}, "/execute_on"),
        ({"a/b~c": 1}, "/a~1b~0c"),
        ({"account_id": ""}, "/account_id"),
        ({"account_id": 1}, "/account_id"),
        ({"account_id": None}, "/account_id"),
        ({"account_id": "a" * 256}, "/account_id"),
        ({"account_id": "acct\x00"}, "/account_id"),
        ({"account_id": "acct\ud800"}, "/account_id"),
        ({"destination_account_id": "acct\n"}, "/destination_account_id"),
        ({"destination_account_id": "acct_123"}, "/destination_account_id"),
        ({"currency": "usd"}, "/currency"),
        ({"currency": "USD\n"}, "/currency"),
        ({"currency": ""}, "/currency"),
        ({"reference": "r" * 36}, "/reference"),
        ({"reference": "a\tb"}, "/reference"),
        ({"memo": "m" * 141}, "/memo"),
        ({"memo": ""}, "/memo"),
        ({"memo": ["x"]}, "/memo"),
    ],
)
def test_i6_i7_other_fields_are_bounded(changed: dict[str, object], pointer: str) -> None:
    """I6, I7: unknown fields, wrong types, lengths, control characters and self-transfers, each with its
    pointer.
    """
    with pytest.raises(errors.ValidationFailed) as refused:
        parse(**changed)

    assert pointers(refused.value) == [pointer]


@pytest.mark.parametrize("name", list(BODY))
def test_i6_every_field_of_the_older_contract_is_needed(name: str) -> None:
    """I6: nothing is guessed."""
    body = {key: value for key, value in BODY.items() if key != name}

    with pytest.raises(errors.ValidationFailed) as refused:
        parse_request(JSON, json.dumps(body).encode())

    assert pointers(refused.value) == [f"/{name}"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"nonsense",
        b'{"a": 1, "a": 2}',
        b'{"a": {"b": 1, "b": 2}}',
        b"[" * 60_000,
        b'{"a":' * 10_000,
        b"\xff\xfe{}",
        '{"a": 1}'.encode("utf-16"),
        b'\xef\xbb\xbf{"a": 1}',
        b"{} {}",
    ],
)
def test_i6_what_is_not_one_json_document_is_malformed(body: bytes) -> None:
    """I6: broken, doubled, nested beyond reason, or in another encoding: 400."""
    with pytest.raises(errors.MalformedBody):
        parse_request(JSON, body)


@pytest.mark.parametrize("body", [b"[]", b"null", b"1", b'"text"'])
def test_i6_a_document_that_is_no_object_is_refused(body: bytes) -> None:
    """I6: valid JSON, but not a request."""
    with pytest.raises(errors.ValidationFailed):
        parse_request(JSON, body)


@pytest.mark.parametrize("content_type", ["", "text/plain", "application/x-www-form-urlencoded", "application/jsonp"])
def test_i6_another_content_type_is_unsupported(content_type: str) -> None:
    """I6: 415, before the body is looked at."""
    with pytest.raises(errors.UnsupportedMediaType):
        parse_request({"content-type": content_type}, json.dumps(BODY).encode())


@pytest.mark.parametrize(
    "headers",
    [
        {"content-encoding": "gzip"},
        {"content-encoding": "identity, br"},
        {"content-type": "application/json; charset=iso-8859-1"},
        {"content-type": 'application/json;profile="x";Charset="UTF-16"'},
    ],
)
def test_i6_nothing_is_unpacked_or_transcoded(headers: dict[str, str]) -> None:
    """I6: 415. What is in another form than plain UTF-8 would be read by guessing."""
    with pytest.raises(errors.UnsupportedMediaType):
        parse_request({**JSON, **headers}, json.dumps(BODY).encode())


@pytest.mark.parametrize("content_type", ["application/json", 'APPLICATION/JSON ; charset="UTF-8"'])
def test_i6_plain_utf8_in_any_spelling(content_type: str) -> None:
    """I6: the same type, however it is written; identity is no encoding."""
    headers = {"content-type": content_type, "content-encoding": "identity"}

    assert parse_request(headers, json.dumps(BODY).encode()) == parse()


def test_reasons_are_for_clients() -> None:
    """No regular expression and no name of our classes."""
    bodies: list[object] = [[], {**BODY, "memo": "a\x00b"}, {**BODY, "more": 1}, {}]
    for body in bodies:
        with pytest.raises(errors.ValidationFailed) as refused:
            parse_request(JSON, json.dumps(body).encode())
        told = str(refused.value.members["errors"]) + str(refused.value.detail)
        assert not any(word in told for word in ("pattern", "TransferRequest", "dictionary", "Extra inputs"))


def test_i6_a_body_beyond_the_limit_is_too_large() -> None:
    """I6: 413."""
    with pytest.raises(errors.PayloadTooLarge):
        parse_request(JSON, b" " * (BODY_BYTES_MAX + 1))


def test_nothing_that_was_sent_is_repeated() -> None:
    """A memo or an account number in an error would end up in somebody's log."""
    with pytest.raises(errors.ValidationFailed) as refused:
        parse(memo="canary-memo\x00", account_id="canary-account\x07", amount_cents="canary-amount")

    assert "canary" not in json.dumps(refused.value.members) + str(refused.value.detail)


@pytest.mark.parametrize("live", [True, False])
def test_i2_a_key_is_printable_ascii_of_bounded_length(live: bool) -> None:
    """I2: too long, control and other characters, or sent twice."""
    for sent in (
        ["k" * 256],
        [""],
        ["k" * 20 + "\n"],
        ["ключ" * 10],
        ["é" * 20],
        ["k" * 20, "k" * 20],
        ["\x7f" * 20],
    ):
        with pytest.raises(errors.IdempotencyKeyInvalid):
            parse_key(sent, live=live)
    assert parse_key(["k" * 255], live=live) == "k" * 255
    assert parse_key(["2f6e6c1a-90f4-4f5c-8a57"], live=live) == "2f6e6c1a-90f4-4f5c-8a57"


def test_i1_a_key_is_needed_in_live_mode_only() -> None:
    """I1, I2: with real money, a key must be there, and long enough to be unique."""
    with pytest.raises(errors.IdempotencyKeyMissing):
        parse_key([], live=True)
    with pytest.raises(errors.IdempotencyKeyInvalid):
        parse_key(["k" * 15], live=True)
    assert parse_key([], live=False) is None
    assert parse_key(["1"], live=False) == "1"


def test_i3_the_fingerprint_is_of_the_meaning() -> None:
    """I3: neither order nor spelling of the JSON matters, every value does."""
    base = parse().fingerprint("USD")
    turned = json.dumps(dict(reversed(BODY.items())), indent=1).replace("456", r"\u0034\u0035\u0036").encode()

    assert parse_request(JSON, turned).fingerprint("USD") == base
    assert parse(currency="USD").fingerprint("USD") == base
    others: dict[str, object] = {
        **BODY,
        "account_id": "a",
        "destination_account_id": "b",
        "reference": "r",
        "memo": "m",
    }
    others["amount_cents"] = 2501
    assert len({base, *(parse(**{name: value}).fingerprint("USD") for name, value in others.items())}) == 6


def test_i3_differing_fields_are_named() -> None:
    """I3: the client is told where its two requests differ, and nothing else about the first one."""
    stored = parse(memo="first").model_dump() | {"currency": "USD"}

    assert differing_fields(parse(memo="first"), stored) == []
    assert differing_fields(parse(memo="first", currency="USD"), stored) == []
    assert differing_fields(parse(amount_cents=1, currency="EUR"), stored) == [
        "/amount_cents",
        "/currency",
        "/memo",
    ]
