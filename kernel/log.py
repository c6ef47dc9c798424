"""Structured logs on standard error that never hold a secret, a memo or a whole account number."""

import logging
import re
import sys
from typing import Any, Literal

import structlog
from structlog.types import EventDict, Processor, WrappedLogger

# A field whose name says that it is secret, or that a third party wrote it, is never logged at all.
_SECRET_FIELD = re.compile(
    r"authorization|api_?key|token|secret|password|database_url|idempotency_key|memo|description|counterparty|body|raw",
    re.IGNORECASE,
)
# What may hide in free text: bearer tokens, passwords in URLs, IBANs and long digit runs (card and account numbers).
_PATTERNS = (
    (re.compile(r"(?i)(bearer\s+)[^\s\"',]+"), r"\1[redacted]"),
    (re.compile(r"(://[^:/\s@]*:)[^@\s/]+@"), r"\1[redacted]@"),
    (re.compile(r"(?i)\b(password=)[^\s]+"), r"\1[redacted]"),
    (re.compile(r"\b[A-Z]{2}\d{2}[A-Z0-9]{7,26}([A-Z0-9]{4})\b"), r"…\1"),
    (re.compile(r"\b\d{6,15}(\d{4})\b"), r"…\1"),
)


def redact(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Blank secret fields and mask numbers in every text of a log event, tracebacks included."""
    return {key: _clean(key, value) for key, value in event.items()}


def _clean(key: str, value: Any) -> Any:
    if _SECRET_FIELD.search(key):
        return "[redacted]"
    if isinstance(value, str):
        for pattern, replacement in _PATTERNS:
            value = pattern.sub(replacement, value)
        return value
    if isinstance(value, dict):
        return {inner: _clean(str(inner), item) for inner, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_clean("", item) for item in value]
    if value is None or isinstance(value, (bool, int, float)):
        return value
    return _clean(key, str(value))


def configure_log(process: str, level: str, style: Literal["json", "console"]) -> None:
    """Send our events and every library's to standard error, redacted, in one format."""
    chain: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        redact,
    ]
    renderer: Processor = (
        structlog.processors.JSONRenderer(ensure_ascii=False)
        if style == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[*chain, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=chain,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    # These say a line per request, connection or job; at their default they drown what matters.
    for noisy in ("httpx", "httpcore", "apscheduler", "uvicorn.access", "psycopg.pool"):
        logging.getLogger(noisy).setLevel("WARNING")
    structlog.contextvars.bind_contextvars(process=process)
