"""`/llms.txt`: what an agent, or whoever writes one, should know before the first request; one page of plain text."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request, Response

router = APIRouter()

_HEAD = Path(__file__).with_name("llms.txt").read_text(encoding="utf-8")


@router.get("/llms.txt", include_in_schema=False)
async def llms_txt(request: Request) -> Response:
    """The page."""
    return Response(page(request.app.openapi()), media_type="text/plain")


def page(openapi: dict[str, Any]) -> str:
    """The page, with the endpoints of a description."""
    return _HEAD + "".join(_endpoints(openapi))


def _endpoints(openapi: dict[str, Any]) -> Iterator[str]:
    for path, operations in openapi["paths"].items():
        for method, operation in operations.items():
            asked = [parameter["name"] for parameter in operation.get("parameters", []) if parameter["in"] == "query"]
            yield f"- `{method.upper()} {path}`: {operation['summary']}"
            yield f" ({', '.join(asked)})\n" if asked else "\n"
