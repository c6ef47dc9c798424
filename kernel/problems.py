"""One way for errors to leave an HTTP process: RFC 9457 problem+json, never a trace, a query or a bank's body."""

import json
import uuid
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from kernel import errors
from kernel.database import translate_error
from kernel.money import AMOUNT_PATTERN, CODE_PATTERN

log = structlog.get_logger()

PROBLEM_TYPE = "application/problem+json"
_BY_STATUS: dict[int, type[errors.Problem]] = {
    404: errors.NotFound,
    405: errors.MethodNotAllowed,
    413: errors.PayloadTooLarge,
    415: errors.UnsupportedMediaType,
}
# Where pydantic speaks of itself, or of regular expressions.
_REASONS = {
    "dict_type": "should be a JSON object",
    "extra_forbidden": "is not known here",
    "missing": "is missing",
    "model_attributes_type": "should be a JSON object",
    "model_type": "should be a JSON object",
    "string_pattern_mismatch": "has a form, or a character, that is not allowed here",
}
# What a value should have looked like, by the pattern that it does not match.
_FORMS = {
    AMOUNT_PATTERN: "should be a decimal number in major units, as 12000.00",
    CODE_PATTERN: "should be three capital letters, as USD",
}
# Characters of a name that a client made up; it stands in a problem twice.
_NAME_LENGTH = 100


class ProblemDocument(BaseModel):
    """What every error looks like (RFC 9457)."""

    type: str = Field(examples=["/problems/not-found"])
    title: str
    status: int
    detail: str | None = None
    instance: str = Field(description="The request's id, also in the log.")
    retryable: bool


def problem_document(problem: errors.Problem) -> dict[str, Any]:
    """A problem as it is told, with all its members."""
    return {
        "type": f"/problems/{problem.slug}",
        "title": problem.title(),
        "status": problem.status,
        "detail": problem.detail or problem.title(),
        "instance": f"urn:uuid:{structlog.contextvars.get_contextvars().get('request_id') or uuid.uuid4()}",
        "retryable": problem.retry_after_seconds is not None,
        **problem.members,
    }


def problem_response(problem: errors.Problem) -> Response:
    """Render a problem as its HTTP response."""
    headers = dict(problem.headers)
    if problem.retry_after_seconds is not None:
        headers.setdefault("Retry-After", str(problem.retry_after_seconds))
    return Response(json.dumps(problem_document(problem), separators=(",", ":")), problem.status, headers, PROBLEM_TYPE)


def install_problem_handlers(app: FastAPI) -> None:
    """Make every error of this app a problem document."""

    async def on_problem(request: Request, error: Exception) -> Response:
        assert isinstance(error, errors.Problem)
        return problem_response(error)

    async def on_invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return problem_response(_from_validation(error))

    async def on_http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        kind = _BY_STATUS.get(error.status_code)
        if kind is not None:
            return problem_response(kind(headers=error.headers))
        if error.status_code == HTTPStatus.BAD_REQUEST:
            return problem_response(errors.MalformedBody(headers=error.headers))
        return problem_response(errors.InternalError())

    async def on_leave(request: Request, error: Exception) -> Response:
        # Half a body is no request, and nobody reads this: it only ends without a trace in the log.
        return problem_response(errors.MalformedBody())

    async def on_anything(request: Request, error: Exception) -> Response:
        problem = translate_error(error)
        if problem is None:
            log.error("request failed", path=request.url.path, exc_info=error)
            problem = errors.InternalError()
        return problem_response(problem)

    app.add_exception_handler(errors.Problem, on_problem)
    app.add_exception_handler(RequestValidationError, on_invalid)
    app.add_exception_handler(HTTPException, on_http)
    app.add_exception_handler(ClientDisconnect, on_leave)
    app.add_exception_handler(Exception, on_anything)


def _from_validation(error: RequestValidationError) -> errors.Problem:
    """Pointers and reasons only: the input itself may hold an account number or a memo."""
    found = error.errors()
    if any(item["type"] == "json_invalid" for item in found):
        return errors.MalformedBody()
    listed = []
    for item in found:
        where, *path = item["loc"]
        name = "/" + "/".join(str(step) for step in path) if where == "body" else str(path[0]) if path else where
        listed.append({"pointer": _cut(name), "in": str(where), "detail": reason(item)})
    return errors.ValidationFailed(f"{listed[0]['pointer']}: {listed[0]['detail']}", errors=listed)


def _cut(name: str) -> str:
    return name if len(name) <= _NAME_LENGTH else f"{name[: _NAME_LENGTH - 1]}…"


def reason(item: Mapping[str, Any]) -> str:
    """What is wrong with a value, from one of pydantic's errors, in words for whoever sent it."""
    form = _FORMS.get(item.get("ctx", {}).get("pattern", ""))
    if form is not None:
        return form
    return _REASONS.get(item["type"], str(item["msg"]))
