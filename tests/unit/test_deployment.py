"""What runs in containers is what the command offers, and what is installed is what was locked."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
COMPOSE_FILES = ["docker-compose.yml", "docker-compose.sandbox.yml"]


def services(*names: str) -> dict[str, dict[str, Any]]:
    """The services of compose files; a later file adds to an earlier one, as docker compose has it."""
    merged: dict[str, dict[str, Any]] = {}
    for name in names:
        for service, settings in yaml.safe_load((ROOT / name).read_text())["services"].items():
            merged.setdefault(service, {}).update(settings)
    return merged


def subcommands() -> set[str]:
    """The names that `bankmirror` takes."""
    from typer.main import get_command

    from bankmirror.cli import app

    return set(getattr(get_command(app), "commands", {}))


def test_command_offers_what_is_documented() -> None:
    """These names are in the documentation, in units and in people's fingers."""
    documented = {
        "up",
        "migrate",
        "doctor",
        "status",
        "ingest",
        "readapi",
        "transfers",
        "sandbox",
        "backfill",
    }
    assert documented <= subcommands()


@pytest.mark.parametrize("name", COMPOSE_FILES)
def test_every_service_runs_a_real_subcommand(name: str) -> None:
    """A service of our image runs a subcommand that exists, and is named after it."""
    ours = {service: found for service, found in services(name).items() if found.get("image") == "bankmirror"}
    assert ours
    for service, settings in ours.items():
        assert settings["command"] == [service]
        assert service in subcommands()


def test_compose_runs_each_process_behind_one_port() -> None:
    """Every process has a container; only the proxy has a port, on this machine's loopback."""
    found = services("docker-compose.yml")
    assert set(found) == {"postgres", "migrate", "logins", "ingest", "readapi", "transfers", "proxy"}
    assert {name: settings["ports"] for name, settings in found.items() if "ports" in settings} == {
        "proxy": ["127.0.0.1:8000:8000"]
    }


def test_services_wait_for_services_that_exist_and_can_be_healthy() -> None:
    """Who waits for another's health waits for one that has a health check."""
    found = services(*COMPOSE_FILES)
    for settings in found.values():
        for other, wanted in settings.get("depends_on", {}).items():
            assert wanted["condition"] in {"service_healthy", "service_completed_successfully"}
            assert wanted["condition"] != "service_healthy" or "healthcheck" in found[other]


def test_each_process_logs_in_as_itself() -> None:
    """Its URL alone limits a process. The owner's password is with the database and what runs before all others."""
    found = services(*COMPOSE_FILES)
    for service, role in {"ingest": "ingest", "readapi": "reader", "transfers": "transfers"}.items():
        password = f"${{{role.upper()}_PASSWORD:?set it in .env}}"
        given = services("docker-compose.yml")[service]["environment"]
        assert given["DATABASE_URL"] == f"postgresql://bankmirror_{role}:{password}@postgres:5432/bankmirror"
        assert found[service]["depends_on"]["logins"] == {"condition": "service_completed_successfully"}
        assert found["logins"]["environment"][f"{role.upper()}_PASSWORD"] == password
        [sql] = [text for text in _configs()["logins"]["content"].splitlines() if f" bankmirror_{role} " in text]
        assert sql == f"ALTER ROLE bankmirror_{role} PASSWORD :'{role}';"
    owners = {name for name in found if "POSTGRES_PASSWORD:?" in str(found[name])}
    assert owners == {"postgres", "migrate", "logins"}


def _configs() -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["configs"]
    return found


def test_reader_is_not_given_the_bank() -> None:
    """The container of the read API knows neither the bank's address nor its key."""
    for name in COMPOSE_FILES:
        assert not [key for key in services(name)["readapi"]["environment"] if key.startswith("BANK_API")]


def test_image_holds_every_package() -> None:
    """The Dockerfile copies the packages that the wheel is made of, and the builder is sent them."""
    packages = re.findall(
        r'"(\w+)"', re.findall(r"^packages = \[(.*)\]", (ROOT / "pyproject.toml").read_text(), re.M)[0]
    )
    copied = re.findall(r"^COPY (\w+) \w+$", (ROOT / "Dockerfile").read_text(), re.M)
    sent = re.findall(r"^!(\w+)$", (ROOT / ".dockerignore").read_text(), re.M)
    assert sorted(packages) == sorted(copied) == sorted(sent)


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-dev.lock"])
def test_locks_name_hashes_and_no_host(name: str) -> None:
    """Every package is pinned with its hashes, and where it comes from is the installer's choice."""
    lock = (ROOT / name).read_text()
    pins = re.findall(r"^[a-z0-9][a-z0-9._\[\]-]*==\S+.*\\\n    --hash=sha256:[0-9a-f]{64}", lock, re.M)
    assert len(pins) == len(re.findall(r"^\w", lock, re.M)) > 20
    assert not re.search(r"://|index-url|find-links", lock)


def test_runtime_packages_are_the_same_for_development() -> None:
    """What is tested is what is shipped: the development lock holds each runtime pin."""
    runtime, development = (
        set(re.findall(r"^(\S+==\S+)", (ROOT / name).read_text(), re.M))
        for name in ("requirements.lock", "requirements-dev.lock")
    )
    assert runtime <= development


def test_make_up_can_build_with_what_it_installs() -> None:
    """`make up` takes hatchling and what that requires out of the development lock, by these names."""
    [names] = re.findall(r"^BACKEND := (.*)$", (ROOT / "Makefile").read_text(), re.M)
    pins = re.split(r"\n(?=\w)", (ROOT / "requirements-dev.lock").read_text())
    required = {pin.split("==")[0] for pin in pins if re.search(r"^    # .*\bhatchling$", pin, re.M)}
    assert set(names.split("|")) == {"hatchling", *required}
