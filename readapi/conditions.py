"""What a request says about copies of the answer: the one that the client has, and how old ours may be. Pure."""

from urllib.parse import parse_qsl


def is_unchanged(if_none_match: bytes, etag: bytes) -> bool:
    """Whether the client has this very answer (RFC 9110, 13.1.2): compared weakly, in a list, or `*`."""
    if if_none_match == etag:
        return True
    wanted = etag.removeprefix(b"W/")
    # Our tags hold no comma and no quote, so a tag of somebody else's that does is never taken for one of them.
    tags = (tag.strip().removeprefix(b"W/") for tag in if_none_match.split(b","))
    return if_none_match.strip() == b"*" or wanted in tags


def most_age(cache_control: bytes) -> int | None:
    """The age in seconds that `Cache-Control: max-age=N` allows; None unless that is all that it says: then the
    request goes by what the application makes of it.
    """
    name, _, seconds = cache_control.strip().partition(b"=")
    return int(seconds) if name.lower() == b"max-age" and seconds.isdigit() and len(seconds) < 10 else None


def is_private(cache_control: bytes) -> bool:
    """Whether the answer must not be kept (`no-store`)."""
    return b"no-store" in cache_control.lower()


def most_age_asked(query_string: bytes) -> int | None:
    """The `max_age` of a query, in seconds; None without one. What cannot be read here allows no age at all."""
    if not query_string:
        return None
    asked = dict(parse_qsl(query_string.decode("latin-1"))).get("max_age")
    if asked is None:
        return None
    return int(asked) if asked.isascii() and asked.isdigit() else 0
