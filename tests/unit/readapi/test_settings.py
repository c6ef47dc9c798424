"""The key that signs cursors is stable, and changes with the secret that it comes from."""

from typing import Any

from readapi.settings import ReadapiSettings


def key(**given: Any) -> bytes:
    """The cursor key of settings."""
    return ReadapiSettings(_env_file=None, **{"DATABASE_URL": "postgresql://x", **given}).cursor_key


def test_the_cursor_key_comes_from_the_best_secret_there_is() -> None:
    """Its own secret, else the token, else how the database is entered."""
    token, secret = "t" * 32, "s" * 32

    assert key() == key()
    assert key() != key(DATABASE_URL="postgresql://u:p@x")
    assert len({key(), key(api_token=token), key(cursor_secret=secret)}) == 3
    assert key(api_token=token, cursor_secret=secret) == key(cursor_secret=secret)
    assert token.encode() not in key(api_token=token)
