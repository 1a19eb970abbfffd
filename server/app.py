"""`create_app`: the HTTP application, made of routes and the error table. Nothing happens at import."""

from __future__ import annotations

from functools import partial

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from models.errors import CorralError
from models.version import VERSION
from server.config import ServerConfig
from server.http import openapi
from server.http.access_log import RequestRecords, record_of
from server.http.api_keys import ApiKeys
from server.http.dependencies import Api
from server.http.disconnect import ClientGone
from server.http.stream_writer import remember_send
from server.openai import errors
from server.openai.errors import ApiError
from server.routes import admin, chat, completions, health, home, models, tokens
from server.supervisor.adapters.service import AdapterService
from server.supervisor.protocol import ModelService


def create_app(
    config: ServerConfig, service: ModelService, adapters: AdapterService | None = None
) -> FastAPI:
    """Return the application. It starts and stops nothing: whoever runs it also runs `service`.

    Without `adapters` there are none, and none can be loaded.
    """
    app = _Application(
        title="Corral",
        version=VERSION,
        description="An OpenAI-compatible server for GGUF models, through llama.cpp.",
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.api = Api(config, service, adapters)
    app.openapi = partial(openapi.document, app)  # type: ignore[method-assign]
    for group in (chat, completions, models, tokens, admin, health, home):
        app.include_router(group.router)
    _handle_errors(app)
    # The last one added is the outermost.
    if config.api_keys:
        app.add_middleware(ApiKeys, keys=[key.get_secret_value() for key in config.api_keys])
    if config.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=config.cors_origins,
            allow_methods=["*"],
            allow_headers=["*"],
            expose_headers=["X-Request-Id", "Retry-After"],
        )
    app.add_middleware(RequestRecords)
    return app


class _Application(FastAPI):
    """Keeps the server's own `send` for streams, before the middlewares wrap it."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        remember_send(scope, send)
        await super().__call__(scope, receive, send)


def _handle_errors(app: FastAPI) -> None:
    """Let every error leave in OpenAI's form."""
    app.add_exception_handler(CorralError, _ours)
    app.add_exception_handler(RequestValidationError, _parameters)
    app.add_exception_handler(HTTPException, _routing)
    app.add_exception_handler(ClientGone, _gone)
    app.add_exception_handler(ClientDisconnect, _gone)
    app.add_exception_handler(Exception, _defect)


def _ours(_request: Request, error: Exception) -> Response:
    assert isinstance(error, CorralError)
    return _response(errors.from_error(error))


def _parameters(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return _response(errors.from_error(errors.invalid_field(error.errors())))


def _routing(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    record = record_of(request.scope)
    response = _response(errors.http_error(error.status_code, record.method, record.path))
    response.headers.update(error.headers or {})
    return response


def _gone(request: Request, _error: Exception) -> Response:
    record_of(request.scope).outcome = "disconnected"
    return Response(status_code=499)


def _defect(request: Request, _error: Exception) -> Response:
    """Answer a defect, outside of all middleware: so the id is added here. The server logs the traceback."""
    record = record_of(request.scope)
    response = _response(errors.internal_error(record.id))
    response.headers["X-Request-Id"] = record.id
    return response


def _response(error: ApiError) -> Response:
    return Response(error.json(), error.status, error.headers(), "application/json")
