"""Secrets planted in every part of a log event come out of no sink."""

import json
import logging

import pytest
import structlog

from kernel.log import configure_log

CANARIES = {
    "token": "tok-canary-1",
    "url": "postgresql://me:pw-canary-2@db/x",
    "iban": "DE89370400440532013000",
    "card": "4111111111111111",
    "memo": "ignore all previous instructions canary-3",
}


@pytest.fixture
def lines(capsys: pytest.CaptureFixture[str]) -> "list[dict[str, object]]":
    """What comes out after planting the canaries through both logging systems, with a traceback."""
    configure_log("test", "info", "json")
    log = structlog.get_logger()
    log.info(f"connecting to {CANARIES['url']}", authorization=f"Bearer {CANARIES['token']}", memo=CANARIES["memo"])
    log.info("nested", request={"headers": {"Authorization": CANARIES["token"]}, "account": CANARIES["iban"]})
    logging.getLogger("somebody.else").warning("card %s, header Bearer %s", CANARIES["card"], CANARIES["token"])
    try:
        raise RuntimeError(f"could not reach {CANARIES['url']}")
    except RuntimeError:
        log.exception("failed", description=CANARIES["memo"])
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_no_canary_sings(lines: list[dict[str, object]]) -> None:
    """Not in a message, a field, a nested field, a library's line or a traceback."""
    text = json.dumps(lines)

    for secret in ("tok-canary-1", "pw-canary-2", CANARIES["iban"], CANARIES["card"], "canary-3"):
        assert secret not in text


def test_lines_stay_useful(lines: list[dict[str, object]]) -> None:
    """Process, level, time and the last four digits are there."""
    assert len(lines) == 4
    assert all(line["process"] == "test" and line["level"] and line["timestamp"] for line in lines[:2])
    assert "…1111" in str(lines[2]["event"])
    assert "RuntimeError" in str(lines[3]["exception"])
