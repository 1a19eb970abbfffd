"""`create_app`: the HTTP application, made of routes and the error table. Nothing happens at import."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator
from functools import partial

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import Receive, Scope, Send

from models.errors import CorralError
from models.version import VERSION
from server.batches.idle_service import IdleService
from server.batches.requests import ENDPOINTS
from server.config import ServerConfig
from server.http import openapi, refusals
from server.http.access_log import RequestRecords, record_of
from server.http.api_keys import ApiKeys
from server.http.cased_names import with_case
from server.http.dependencies import Api
from server.http.direct_routes import DirectRoutes
from server.http.disconnect import ClientGone
from server.http.error_response import error_response
from server.http.foreign_pages import ForeignPages
from server.http.head_requests import HeadRequests
from server.http.hosts import AllowedHosts
from server.http.inspector import Inspections, Inspector
from server.http.live_requests import LiveRequests, LiveService
from server.http.native_preflights import NativePreflights
from server.http.origins import LOCAL, AllowedOrigins
from server.http.parts import AppParts
from server.http.preflights import Preflights
from server.http.request_head import RequestHeads
from server.http.route_access import RouteAccess
from server.http.route_scopes import RouteScope
from server.http.stream_writer import remember_send
from server.http.telemetry import telemetry_of
from server.http.unframed import unframed
from server.keys.key_ring import KeyRing
from server.listener import host_names
from server.openai import errors
from server.openai.requests import field_errors
from server.presets.book import PresetBook
from server.presets.service import PresetService
from server.routes import (
    admin,
    admin_jobs,
    admin_models,
    batches,
    chat,
    completions,
    conversations,
    embeddings,
    files,
    health,
    home,
    hosting,
    inference_protocol,
    inspect,
    live_requests,
    messages,
    metrics,
    models,
    native,
    ollama,
    ollama_models,
    props,
    reload,
    responses,
    router_facts,
    slots,
    stored_chats,
    tokens,
    tools,
    usage_totals,
    web_chats,
)
from server.supervisor.protocol import ModelService
from server.toolbox.toolbox import Toolbox
from server.usage.accounts import Accounts
from server.usage.metered_service import MeteredService

logger = logging.getLogger("corral.http")

_GROUPS = (
    chat,
    completions,
    embeddings,
    messages,
    responses,
    conversations,
    stored_chats,
    files,
    batches,
    models,
    native,
    ollama,
    ollama_models,
    props,
    tokens,
    tools,
    admin,
    live_requests,
    admin_jobs,
    admin_models,
    reload,
    metrics,
    slots,
    inspect,
    usage_totals,
    health,
    hosting,
    inference_protocol,
    router_facts,
    home,
    web_chats,
)


def create_app(config: ServerConfig, service: ModelService, parts: AppParts | None = None) -> FastAPI:
    """Return the application. It starts and stops nothing: whoever runs it runs `service` and `parts`."""
    parts = AppParts() if parts is None else parts
    accounts = parts.accounts or Accounts(KeyRing(plain_keys(config)))
    app = _Application(
        title="Corral",
        version=VERSION,
        description="An OpenAI-compatible server for GGUF models, through llama.cpp.",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        telemetry=telemetry_of(service),
    )
    inspections = Inspections.of(config)
    live = LiveRequests()
    presets = PresetBook(config.presets)
    named = PresetService(service, presets, parts.adapters.list if parts.adapters else list)
    app.state.api = Api(
        config,
        IdleService(LiveService(MeteredService(named, accounts.limits, accounts.usage), live)),
        parts.adapters,
        responses=parts.responses,
        live=live,
        chats=parts.chats,
        lives=parts.lives,
        jobs=parts.jobs,
        inspections=inspections,
        batches=parts.batches,
        presets=presets,
        batch_endpoints=frozenset(ENDPOINTS) & {route.path for route in _group_routes()},
        accounts=accounts,
        toolbox=Toolbox.of(config),
    )
    app.openapi = partial(openapi.document, app)  # type: ignore[method-assign]  # FastAPI's documented way
    scopes: dict[str, RouteScope] = {}
    for route, scope in hosting.host_routes(config):  # before all others: the host decides what it calls
        app.router.routes.append(route)
        scopes.update({f"{method} {route.path}": scope for method in route.methods or ()})
    # To include a router, FastAPI makes all of its routes anew, some 100 ms at the first search among them.
    for group in _GROUPS:
        app.router.routes.extend(group.router.routes)
    app.router.middleware_stack = DirectRoutes(app.router.middleware_stack, application_routes(app))
    _handle_errors(app)
    # The last one added is the outermost.
    app.add_middleware(HeadRequests)
    app.add_middleware(
        ApiKeys,
        keys=accounts.keys,
        routes=RouteAccess(application_routes(app), scopes),
        limits=accounts.limits,
    )
    if inspections is not None:
        app.add_middleware(Inspector, inspections=inspections)
    app.add_middleware(RequestHeads)
    origins = _origins(config)
    if origins and config.dialect != "llama-server":
        app.add_middleware(Preflights, origins=origins)
    hosts = AllowedHosts((*config.allowed_hosts, *host_names(config.host), socket.gethostname()))
    app.add_middleware(ForeignPages, keys=accounts.keys, hosts=hosts, origins=origins)
    if config.dialect == "llama-server":
        app.add_middleware(NativePreflights, origins=origins)
    app.add_middleware(RequestRecords)
    return app


def plain_keys(config: ServerConfig) -> list[str]:
    """Return the keys of the settings, which may do everything."""
    return [key.get_secret_value() for key in config.api_keys]


def _origins(config: ServerConfig) -> AllowedOrigins:
    """Return the origins whose pages may call.

    llama-server lets every page call unless it is told otherwise. Where it is followed that is so only with
    API keys, which a page would have to know, and not where tools could be called.
    """
    origins = config.cors_origins
    if not origins and config.dialect == "llama-server":
        has_tools = bool(config.tools or config.mcp_servers)
        origins = (LOCAL,) if has_tools else ("*",) if config.api_keys else ()
    return AllowedOrigins(origins)


class _Application(FastAPI):
    """Deals with the server's own `send`, before the middlewares wrap it."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        remember_send(scope, send)
        if self.state.api.config.dialect == "llama-server" and scope.get("http_version") == "1.1":
            send = with_case(send)
        await super().__call__(scope, receive, unframed(scope, send))


def _handle_errors(app: FastAPI) -> None:
    """Let every error leave in the form that its client reads, see `error_response`.

    The handlers are coroutines, as starlette has a thread run each call of a plain function.
    """
    app.add_exception_handler(CorralError, _ours)
    app.add_exception_handler(RequestValidationError, _parameters)
    app.add_exception_handler(HTTPException, _routing)
    app.add_exception_handler(ClientGone, _gone)
    app.add_exception_handler(ClientDisconnect, _gone)
    app.add_exception_handler(Exception, _defect)


async def _ours(request: Request, error: Exception) -> Response:
    assert isinstance(error, CorralError)
    if error.public != error.message:
        logger.warning("%s (%s)", error.message, record_of(request.scope).id)
    return error_response(errors.from_error(error))


async def _parameters(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return error_response(errors.from_error(field_errors.from_problems(error.errors())))


async def _routing(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    record = record_of(request.scope)
    headers = dict(error.headers or {})
    if error.status_code == 405:
        headers["Allow"] = ", ".join(sorted(_methods(request)))
        if request.method == "OPTIONS":
            return Response(status_code=204, headers=headers)
    known = [route.path for route in application_routes(request.app)]
    return error_response(refusals.http_error(error.status_code, request.method, record.path, known), headers)


def _methods(request: Request) -> set[str]:
    """Return the methods that the request's path has: all routes of it together have them."""
    methods = {"OPTIONS"}
    for route in application_routes(request.app):
        if route.matches(request.scope)[0] is not Match.NONE:
            methods |= route.methods or set()
    return methods | {"HEAD"} if "GET" in methods else methods


def application_routes(app: FastAPI) -> Iterator[Route]:
    """Yield every route that the application has."""
    for route in app.routes:
        if isinstance(route, Route):
            yield route


def _group_routes() -> Iterator[Route]:
    for group in _GROUPS:
        yield from (route for route in group.router.routes if isinstance(route, Route))


async def _gone(request: Request, _error: Exception) -> Response:
    record_of(request.scope).outcome = "disconnected"
    return Response(status_code=499)


async def _defect(request: Request, _error: Exception) -> Response:
    """Answer a defect, outside of all middleware: so the id is added here. The server logs the traceback.

    uvicorn closes the connection behind it, which a client would learn from its next request.
    """
    record = record_of(request.scope)
    return error_response(
        errors.internal_error(record.id),
        {"X-Request-Id": record.id, "Request-Id": record.id, "Connection": "close"},
    )
