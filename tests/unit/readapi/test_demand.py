"""The messages to ingest: each short enough for PostgreSQL, and none that asks for more than was asked."""

import json

from readapi.demand import NOTIFY_BYTES_MAX, payloads


def test_messages_are_short_and_whole() -> None:
    """Thousands of accounts go in several messages, each with the age; every account is in one of them."""
    accounts = {f"acct_{number:05}" for number in range(2_000)} | {"\N{GREEK SMALL LETTER OMEGA}" * 500}

    messages = list(payloads(accounts, everything=False, max_age=5))

    assert len(messages) > 1
    assert max(len(message.encode()) for message in messages) < 8_000
    heard = [json.loads(message) for message in messages]
    assert {message["max_age"] for message in heard} == {5}
    named = [account for message in heard for account in message["accounts"]]
    assert sorted(named) == sorted(accounts)


def test_an_account_that_fits_in_no_message_is_left_out() -> None:
    """It is polled in its turn; to name all instead would have one reader poll everything."""
    long = "\N{GREEK SMALL LETTER OMEGA}" * NOTIFY_BYTES_MAX
    assert list(payloads({long, "acct_a"}, everything=False)) == ['{"accounts": ["acct_a"]}']
    assert list(payloads(set(), everything=True, max_age=0)) == ['{"accounts": null, "max_age": 0}']
    assert list(payloads(set(), everything=False)) == []
