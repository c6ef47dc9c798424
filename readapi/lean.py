"""The short way through the web framework: a plain good question goes straight to its endpoint.

Of an answer that is not kept in memory, middleware, nested routers and the machinery of dependencies took more than
asking PostgreSQL did. Here a path is matched, its parameters and the query are read by the very types that the endpoint
declares, and it is called. Whatever is not that simple, and all that is wrong with a request, is the framework's, as if
this were not here: routes, documentation and refusals are written once.
"""

import inspect
from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Any, NamedTuple, get_type_hints

from fastapi import FastAPI, Request, Response
from fastapi.routing import APIRoute, iter_route_contexts
from pydantic import BaseModel, TypeAdapter, ValidationError
from starlette.routing import BaseRoute, compile_path
from starlette.types import Message, Receive, Scope, Send


class Lane(NamedTuple):
    """An endpoint that can be called without the framework, and what its parameters are read with."""

    endpoint: Callable[..., Awaitable[Response]]
    path: Mapping[str, TypeAdapter[Any]]
    # The parameter that takes the whole query, and its model.
    query: tuple[str, type[BaseModel]] | None


class Lean:
    """ASGI application in front of a FastAPI application whose routes it serves."""

    def __init__(self, api: FastAPI) -> None:
        self._api = api
        # All routes in their order, since the first that matches is meant; with None where there is no short way.
        self._routes = [
            (compile_path(context.path)[0], context.original_route, _lane(context.original_route))
            for context in iter_route_contexts(api.routes)
            if context.path is not None
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        found = self._find(scope)
        if found is None:
            await self._api(scope, receive, send)
            return
        route, lane, path = found
        request = Request(scope, receive)
        try:
            values = _values(lane, path, request)
        except ValidationError:
            # The framework says what is wrong, in its words.
            await self._api(scope, receive, send)
            return
        scope.update(app=self._api, route=route, endpoint=lane.endpoint, path_params=path)
        await self._answer(lane, values, request, send)

    def _find(self, scope: Scope) -> tuple[BaseRoute, Lane, dict[str, str]] | None:
        if scope["type"] != "http" or scope["method"] != "GET" or scope.get("root_path"):
            return None
        for pattern, route, lane in self._routes:
            if (matched := pattern.match(scope["path"])) is not None:
                return None if lane is None else (route, lane, matched.groupdict())
        return None

    async def _answer(self, lane: Lane, values: dict[str, Any], request: Request, send: Send) -> None:
        is_begun = False

        async def send_on(message: Message) -> None:
            nonlocal is_begun
            is_begun = True
            await send(message)

        try:
            response = await lane.endpoint(request=request, **values)
            await response(request.scope, request.receive, send_on)
        except Exception as error:
            if is_begun:
                raise
            kind = next(kind for kind in type(error).__mro__ if kind in self._api.exception_handlers)
            refusal: Any = self._api.exception_handlers[kind](request, error)
            await (await refusal)(request.scope, request.receive, send)
            if kind is Exception:
                # As the framework does it: the client has its answer, and the server hears of our bug.
                raise


def _lane(route: BaseRoute) -> Lane | None:
    """The short way of a route; None where it declares more than path parameters and one model of the query."""
    if not isinstance(route, APIRoute) or not inspect.iscoroutinefunction(route.endpoint):
        return None
    declared = route.dependant
    hints = get_type_hints(route.endpoint, include_extras=True)
    returned = hints.pop("return", None)
    reads_only = {"request", *(field.name for field in (*declared.path_params, *declared.query_params))}
    models: list[tuple[str, Any]] = [(field.name, field.field_info.annotation) for field in declared.query_params]
    plain = (
        hints.keys() == reads_only
        and inspect.isclass(returned)
        and issubclass(returned, Response)
        and not declared.dependencies
        and len(models) <= 1
        and all(inspect.isclass(model) and issubclass(model, BaseModel) for _, model in models)
    )
    if not plain:
        return None
    path = {field.name: TypeAdapter(Annotated[str, field.field_info]) for field in declared.path_params}
    return Lane(route.endpoint, path, models[0] if models else None)


def _values(lane: Lane, path: Mapping[str, str], request: Request) -> dict[str, Any]:
    """The endpoint's arguments. Raises ValidationError."""
    values: dict[str, Any] = {name: kind.validate_python(path[name]) for name, kind in lane.path.items()}
    if lane.query is not None:
        name, model = lane.query
        # A parameter that is there twice does not come so far.
        values[name] = model.model_validate(dict(request.query_params))
    return values
