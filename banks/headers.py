"""What a bank says about time in its HTTP headers, read without trusting it."""

import re
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

# Banks have asked to be left alone for -1,875,538 seconds, and for weeks. Less than a second would be a retry
# storm; after a day at the latest somebody should have tried again.
RETRY_AFTER_MIN = timedelta(seconds=1)
RETRY_AFTER_MAX = timedelta(days=1)
_SECONDS = re.compile(r"(?P<minus>-?)(?P<whole>[0-9]+)(\.[0-9]*)?")


def retry_after(value: str | None, now: datetime) -> timedelta | None:
    """The pause that a Retry-After header asks for, between a second and a day; None without a readable one.

    `now` is the bank's own time where it tells, since a date in the header is on the bank's clock.
    """
    if value is None:
        return None
    if match := _SECONDS.fullmatch(value.strip()):
        # A day has five digits. Longer numbers are not even read: they may have thousands.
        digits = match["whole"].lstrip("0") or "0"
        asked = timedelta(seconds=int(digits)) if len(digits) <= 6 else RETRY_AFTER_MAX
        return RETRY_AFTER_MIN if match["minus"] else _clamp(asked)
    until = http_date(value)
    return None if until is None else _clamp(until - now)


def http_date(value: str | None) -> datetime | None:
    """The moment in a Date or Retry-After header, in UTC; None for anything that is not one."""
    if value is None:
        return None
    try:
        moment = parsedate_to_datetime(value)
        # "-0000" means UTC without saying where; the parser gives it without an offset.
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return moment if 1970 <= moment.year <= 2200 else None


def _clamp(asked: timedelta) -> timedelta:
    return min(max(asked, RETRY_AFTER_MIN), RETRY_AFTER_MAX)
