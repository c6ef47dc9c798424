"""HTTP in, HTTP out."""

from functools import partial
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Path, Request
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.responses import JSONResponse, Response

from kernel import errors
from kernel.database import read
from kernel.problems import PROBLEM_TYPE, ProblemDocument
from transfers import store
from transfers.answers import EXAMPLE, TransferAnswer, TransferHistory, answer_request, describe_history
from transfers.desk import Desk
from transfers.door import caller_of, require_sight
from transfers.requests import BODY_BYTES_MAX, TransferRequest, parse_key, parse_request

router = APIRouter()

TransferId = Annotated[str, Path(description="Our id, as the answer to the request and its Location had it.")]


def _problems(*kinds: type[errors.Problem]) -> dict[int | str, dict[str, Any]]:
    """The OpenAPI responses for some problem types; several may share a status."""
    by_status: dict[int | str, list[type[errors.Problem]]] = {}
    for kind in kinds:
        by_status.setdefault(kind.status, []).append(kind)
    return {
        status: {
            "model": ProblemDocument,
            "description": " Or: ".join(kind.title() + "." for kind in listed),
            "content": {PROBLEM_TYPE: {}},
        }
        for status, listed in by_status.items()
    }


_REQUEST_BODY = {
    "required": True,
    "content": {"application/json": {"schema": TransferRequest.model_json_schema()}},
}
_KEY_PARAMETER = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "schema": {"type": "string", "minLength": 1, "maxLength": 255},
    "description": "Yours for this one intent to move money, at least 16 characters (any length on the "
    "sandbox, where it may be left out). The same key always means the same transfer: send it again "
    "whenever you are not sure.",
}


@router.post(
    "/banking/transfer",
    summary="Move money",
    response_model=TransferAnswer,
    responses={
        200: {"description": "The bank has taken the payment.", "content": {"application/json": {"example": EXAMPLE}}},
        202: {
            "model": TransferAnswer,
            "description": "Recorded; the outcome is not known yet. Ask at Location.",
        },
        **_problems(
            errors.MalformedBody,
            errors.IdempotencyKeyMissing,
            errors.IdempotencyKeyInvalid,
            errors.Unauthenticated,
            errors.Forbidden,
            errors.RateLimited,
            errors.TooManyRequests,
            errors.RequestInProgress,
            errors.PayloadTooLarge,
            errors.UnsupportedMediaType,
            errors.ValidationFailed,
            errors.IdempotencyKeyReused,
            errors.TransferRejected,
            errors.DatabaseUnavailable,
            errors.OutcomeUnknown,
            errors.Overloaded,
        ),
    },
    openapi_extra={"requestBody": _REQUEST_BODY, "parameters": [_KEY_PARAMETER]},
)
async def request_transfer(request: Request) -> Response:
    """Record a transfer, send it to the bank, and wait a few seconds for the outcome.

    Whatever the answer, and also if none arrives: the same request with the same Idempotency-Key never moves
    money twice.
    """
    desk = _desk(request)
    key = parse_key(request.headers.getlist("idempotency-key"), live=desk.settings.mode == "live")
    asked = parse_request(request.headers, await _body(request))
    accepted = await desk.accept(caller_of(request), key, asked)
    try:
        transfer = await desk.outcome(accepted.transfer_id)
    except errors.Problem as problem:
        if key is not None:  # The same request again finds this transfer.
            raise
        raise errors.OutcomeUnknown(
            f"the transfer is recorded as {accepted.transfer_id}; how it stands cannot be told now, ask at Location",
            headers={"Location": f"/banking/transfers/{accepted.transfer_id}"},
        ) from problem
    return answer_request(transfer, replayed=accepted.replayed)


@router.get(
    "/banking/transfers/{transfer_id}",
    summary="One transfer with its history",
    response_model=TransferHistory,
    responses=_problems(
        errors.Unauthenticated,
        errors.Forbidden,
        errors.NotFound,
        errors.RateLimited,
        errors.TooManyRequests,
        errors.DatabaseUnavailable,
    ),
)
async def get_transfer(request: Request, transfer_id: TransferId) -> Response:
    """A transfer as it stands, every contact with the bank about it, and its audit events."""
    desk = _desk(request)
    known = _parse_id(transfer_id)
    # The history is read after the state, so that none of the events is missing that led to it.
    transfer = await desk.get(known)
    require_sight(caller_of(request), transfer.account_id)
    attempts, events = await read(desk.pool, partial(store.select_history, transfer_id=known))
    return Response(describe_history(transfer, attempts, events).model_dump_json(), media_type="application/json")


@router.get("/health", summary="Is the process alive", include_in_schema=False)
async def get_health() -> Response:
    """Yes, if this is answered."""
    return JSONResponse({"status": "ok"})


@router.get("/ready", summary="Can it serve", include_in_schema=False)
async def get_ready(request: Request) -> Response:
    """200 when the database answers.

    A bank that does not is no reason to send clients away: requests are kept.
    """
    await read(_desk(request).pool, store.check)
    return JSONResponse({"status": "ok"})


@router.get("/metrics", summary="For Prometheus", include_in_schema=False)
async def get_metrics(request: Request) -> Response:
    """Transfers by state, contacts by verdict, what was fenced, and whether sending is suspended."""
    return Response(await _desk(request).render_metrics(), media_type=CONTENT_TYPE_LATEST)


def _desk(request: Request) -> Desk:
    desk: Desk = request.app.state.desk
    return desk


def _parse_id(text: str) -> UUID:
    """What is not an id of ours is nothing that exists."""
    try:
        known = UUID(text)
    except ValueError:
        raise errors.NotFound("no transfer has this id") from None
    if str(known) != text:
        raise errors.NotFound("no transfer has this id")
    return known


async def _body(request: Request) -> bytes:
    """The body, as far as we are willing to hold it."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY_BYTES_MAX:
            raise errors.PayloadTooLarge(f"at most {BODY_BYTES_MAX} bytes")
    return bytes(body)
