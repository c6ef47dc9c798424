"""The admin routes of chaos. They are no part of the bank's contract: no real bank has them."""

import json
from typing import Annotated, Any, Final

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, StrictStr

from sandbox import problems
from sandbox.bank import bank_of
from sandbox.chaos import events, happening, restate
from sandbox.chaos.acts import Options, Route
from sandbox.chaos.books import Order
from sandbox.chaos.catalogue import FAULTS, read_names
from sandbox.chaos.dealer import Chaos, Scripted
from sandbox.payments import read_body

router = APIRouter()

# As good as for ever: until DELETE.
_ALWAYS: Final = 2**31
_Text = Annotated[StrictStr, Field(min_length=1, max_length=200, pattern=r"^[\x20-\x7e]+$")]
_Count = Annotated[StrictInt, Field(ge=0, le=_ALWAYS)]
_Seconds = Annotated[float, Field(ge=0, le=3600, allow_inf_nan=False)]


class Script(BaseModel):
    """A single fault. `times` null is until DELETE."""

    model_config = ConfigDict(extra="forbid")

    fault: StrictStr
    route: Route | None = None
    account_id: _Text | None = None
    page: Annotated[StrictInt, Field(ge=1)] | None = None
    after: _Count = 0
    times: Annotated[StrictInt, Field(ge=1, le=_ALWAYS)] | None = 1
    seconds: _Seconds | None = None
    retry_after: _Text | None = None
    location: _Text | None = None
    unpacked_bytes: Annotated[StrictInt, Field(ge=0, le=1 << 40)] | None = None
    transaction_id: _Text | None = None


class Rates(BaseModel):
    """What chance does from now on; what is not given stays. A seed also begins the count of requests anew."""

    model_config = ConfigDict(extra="forbid")

    rate: Annotated[float, Field(ge=0, le=1)] | None = None
    seed: Annotated[StrictInt, Field(ge=0, lt=2**62)] | None = None
    faults: list[StrictStr] | None = None
    writes: StrictBool | None = None
    events_per_minute: Annotated[float, Field(ge=0, le=6_000)] | None = None


@router.get("/_chaos")
async def show(request: Request) -> Response:
    """What is wanted, what was done, and all there is."""
    chaos = bank_of(request).chaos
    return _json(_state(chaos) | {"catalogue": _catalogue()})


@router.post("/_chaos")
async def script(request: Request) -> Response:
    """Queue a single fault for the next request that it can strike."""
    wanted = await read_body(request, Script)
    fault = FAULTS.get(wanted.fault)
    if fault is None:
        raise _invalid("/fault", "no fault is called that")
    if wanted.route is not None and wanted.route not in fault.routes:
        raise _invalid("/route", f"this fault is one of {', '.join(sorted(fault.routes))}")
    if fault.pages == "later" and wanted.page == 1:
        raise _invalid("/page", "this fault is one of later pages")
    names = ("seconds", "retry_after", "location", "unpacked_bytes", "transaction_id")
    options = {name: value for name in names if (value := getattr(wanted, name)) is not None}
    scripted = bank_of(request).chaos.script(
        wanted.fault, route=wanted.route, account_id=wanted.account_id, page=wanted.page, after=wanted.after,
        left=_ALWAYS if wanted.times is None else wanted.times, options=Options(**options),
    )  # fmt: skip
    return _json(_queued(scripted), 201)


@router.put("/_chaos")
async def change_rates(request: Request) -> Response:
    """Change what chance does."""
    chaos, wanted = bank_of(request).chaos, await read_body(request, Rates)
    if wanted.faults is not None:
        try:
            chaos.faults = read_names(",".join(wanted.faults))
        except ValueError as error:
            raise _invalid("/faults", str(error)) from None
    if wanted.seed is not None:
        chaos.seed, chaos.requests, chaos.notices, chaos.happened = wanted.seed, 0, 0, 0
    chaos.rate = chaos.rate if wanted.rate is None else wanted.rate
    chaos.writes = chaos.writes if wanted.writes is None else wanted.writes
    if wanted.events_per_minute is not None:
        chaos.events_per_minute = wanted.events_per_minute
    return _json(_state(chaos))


@router.delete("/_chaos")
async def calm(request: Request) -> Response:
    """Faults stop: no rate, no queue. What was told wrongly is told again in the feed, as banks correct themselves."""
    bank = bank_of(request)
    bank.chaos.calm()
    altered, bank.chaos.altered = list(bank.chaos.altered), type(bank.chaos.altered)()
    invented, bank.chaos.invented = list(bank.chaos.invented), type(bank.chaos.invented)()
    bank.changed(await restate.restate(bank.pool, altered, invented))
    told = {"restated": [name for name, _ in altered], "withdrawn": [name for name, _ in invented]}
    return _json(_state(bank.chaos) | told)


@router.post("/_chaos/events")
async def happen(request: Request) -> Response:
    """Let an event happen to the books, now."""
    bank, order = bank_of(request), await read_body(request, Order)
    event = events.EVENTS.get(order.event)
    if event is None:
        raise _invalid("/event", "no event is called that")
    return _json(await happening.let_happen(bank.pool, bank.chaos, bank.changed, event, order), 201)


def _state(chaos: Chaos) -> dict[str, Any]:
    return {
        "rate": chaos.rate, "seed": chaos.seed, "faults": sorted(chaos.faults), "writes": chaos.writes,
        "events_per_minute": chaos.events_per_minute, "requests": chaos.requests,
        "queue": [_queued(scripted) for scripted in chaos.queue],
        "done": dict(sorted(chaos.done.items())), "events_done": dict(sorted(chaos.events_done.items())),
    }  # fmt: skip


def _queued(scripted: Scripted) -> dict[str, Any]:
    return {
        "number": scripted.number, "fault": scripted.fault, "route": scripted.route,
        "account_id": scripted.account_id, "page": scripted.page, "after": max(scripted.after, 0),
        "left": None if scripted.left > _ALWAYS // 2 else scripted.left,
    }  # fmt: skip


def _catalogue() -> dict[str, Any]:
    return {
        "faults": [
            {"name": fault.name, "ids": fault.ids.split(), "about": fault.about, "routes": sorted(fault.routes),
             "pages": fault.pages, "usual": fault.usual}
            for fault in FAULTS.values()
        ],
        "events": [
            {"name": event.name, "ids": event.ids.split(), "about": event.about, "weight": event.weight}
            for event in events.EVENTS.values()
        ],
    }  # fmt: skip


def _invalid(pointer: str, message: str) -> problems.ValidationFailed:
    return problems.ValidationFailed(errors=[{"pointer": pointer, "message": message}])


def _json(document: dict[str, Any], status: int = 200) -> Response:
    return Response(json.dumps(document), status, media_type="application/json")
