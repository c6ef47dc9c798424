"""Which requests without a token mean this machine, and not a page whose name was led here.

A page in a browser can have its own name resolve to 127.0.0.1, and so reach whatever listens there; and it can send to
127.0.0.1 what it is not shown the answer to. It cannot send another name than its own as the host of the first, nor
another origin than its own with the second.
"""

import re
from collections.abc import Iterable

_NAMES = rb"(?:localhost|127(?:\.\d{1,3}){3}|\[::1\])(?::\d*)?"
_HOST = re.compile(_NAMES, re.IGNORECASE)
_ORIGIN = re.compile(rb"https?://" + _NAMES, re.IGNORECASE)


def means_this_machine(hosts: Iterable[bytes], origins: Iterable[bytes]) -> bool:
    """Whether the Host and Origin headers of a request, as they were sent, name this machine alone."""
    named = [_HOST.fullmatch(host) for host in hosts]
    return bool(named) and all(named) and all(_ORIGIN.fullmatch(origin) for origin in origins)
