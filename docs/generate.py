"""Write the reference pages that say what the code says: settings, problems, HTTP API.

`make docs` runs this; a test runs it too and compares.
"""

import asyncio
import inspect
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from pydantic_settings import BaseSettings

REFERENCE = Path(__file__).parent / "reference"
GENERATED = "<!-- Made from the code by `make docs`; edit the code. -->\n\n"


def settings_page() -> str:
    """Every environment variable, once, under who reads it."""
    text = "# Settings\n\n" + GENERATED
    text += "Settings are read from the environment and from `.env`, once, when a process starts.\n"
    text += "Those of the sandbox bank are in [its own README](../../sandbox/README.md).\n"
    for title, kind in settings_classes().items():
        text += f"\n## {title}\n\n{inspect.getdoc(kind)}\n\n| variable | default | meaning |\n|---|---|---|\n"
        for variable, default, description in variables(kind):
            text += f"| `{variable}` | {default} | {description} |\n"
    return text


def settings_classes() -> dict[str, type[BaseSettings]]:
    """Who reads settings, in the order of the page."""
    from bankmirror.front import FrontSettings
    from bankmirror.mcp_bridge import McpSettings
    from bankmirror.settings import UpSettings
    from banks.settings import BankSettings
    from ingest.settings import IngestSettings
    from kernel.settings import HttpSettings, Settings
    from readapi.settings import ReadapiSettings
    from transfers.settings import TransfersSettings

    return {
        "Every process": Settings,
        "Processes that answer HTTP": HttpSettings,
        "Processes that talk to the bank": BankSettings,
        "`bankmirror up`, `status`, `doctor`": UpSettings,
        "`bankmirror mcp`": McpSettings,
        "The front, which `up` starts": FrontSettings,
        "ingest": IngestSettings,
        "readapi": ReadapiSettings,
        "transfers": TransfersSettings,
    }


def variables(kind: type[BaseSettings]) -> list[tuple[str, str, str]]:
    """(variable, default, meaning) of every field that a settings class adds to those it derives from."""
    prefix = kind.model_config.get("env_prefix", "")
    inherited = {name for base in kind.__mro__[1:] for name in getattr(base, "model_fields", {})}
    rows = []
    for name, field in sorted(kind.model_fields.items()):
        if name in inherited:
            continue
        if field.default_factory is not None:
            default = "made at start"
        elif field.is_required():
            default = "required"
        elif field.default is None:
            default = "none"
        else:
            default = f"`{field.default}`"
        description = " ".join((field.description or "").split())
        rows.append((str(field.validation_alias or f"{prefix}{name}".upper()), default, description))
    return rows


def problems_page() -> str:
    """Every problem type that an answer can have."""
    from kernel.errors import problem_types

    text = "# Problems\n\n" + GENERATED
    text += "Errors are RFC 9457 documents (`application/problem+json`). `type` is stable; `detail` is for people.\n"
    text += "When `retryable` is true the answer has `Retry-After`, and the same request may succeed later.\n\n"
    text += "| type | status | title | retryable | what to do |\n|---|---|---|---|---|\n"
    said = {True: "yes", False: "no", None: "as the answer says"}
    for slug, kind in sorted(problem_types().items()):
        retryable = said[kind.is_retryable()]
        text += f"| `/problems/{slug}` | {kind.status} | {kind.title()} | {retryable} | {kind.what_to_do()} |\n"
    return text


def http_api_page() -> str:
    """Every route of both services, with its parameters."""
    text = "# HTTP API\n\n" + GENERATED
    text += "The whole description, with examples, is at `/docs` and `/docs/transfers/` of a running system.\n"
    for title, document in described_apis():
        text += f"\n## {title}\n"
        for path, operations in document["paths"].items():
            for method, operation in operations.items():
                text += f"\n### {method.upper()} {path}\n\n{operation.get('description') or operation['summary']}\n"
                parameters = operation.get("parameters", [])
                if parameters:
                    text += "\n| parameter | in | meaning |\n|---|---|---|\n"
                for parameter in parameters:
                    meaning = " ".join(parameter.get("description", "").split()).replace("|", "\\|")
                    text += f"| `{parameter['name']}` | {parameter['in']} | {meaning} |\n"
    return text


def described_apis() -> list[tuple[str, dict[str, Any]]]:
    """The OpenAPI documents of both services. Nothing is connected to, so any settings will do."""
    from banks.registry import open_payer
    from readapi.app import create_api
    from readapi.metrics import Metrics
    from readapi.settings import ReadapiSettings
    from transfers.app import make_app
    from transfers.settings import TransfersSettings

    nowhere = {"DATABASE_URL": "postgresql://localhost/nowhere"}
    read = create_api(ReadapiSettings(**nowhere), Metrics())  # type: ignore[arg-type]  # by their environment names
    bank = {"BANK_API_BASE_URL": "http://127.0.0.1:9000", "BANK_API_KEY": "none"}
    settings = TransfersSettings(**nowhere, **bank)  # type: ignore[arg-type]  # by their environment names

    async def describe_transfers() -> dict[str, Any]:
        async with open_payer(settings) as payer:
            return make_app(settings, payer).openapi()

    return [("Reading", read.openapi()), ("Transfers", asyncio.run(describe_transfers()))]


def openapi_file(title: str) -> str:
    """The OpenAPI document of a service, so that whoever changes the interface sees how, and so does the reviewer."""
    return json.dumps(dict(described_apis())[title], indent=1, sort_keys=True) + "\n"


PAGES: dict[str, Callable[[], str]] = {
    "settings.md": settings_page,
    "problems.md": problems_page,
    "http-api.md": http_api_page,
    "openapi.json": partial(openapi_file, "Reading"),
    "openapi-transfers.json": partial(openapi_file, "Transfers"),
}

if __name__ == "__main__":
    for name, make in PAGES.items():
        (REFERENCE / name).write_text(make(), encoding="utf-8")
