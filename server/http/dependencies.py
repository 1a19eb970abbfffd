"""`Api`: the settings and models that every endpoint works with, and the way to a request's model."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TypeVar

from pydantic import BaseModel
from starlette.requests import Request

from models.errors import RequestError
from server.config import ServerConfig
from server.http import request_body
from server.http.access_log import record_of
from server.http.body_processes import BodyProcesses
from server.openai.heading import Kind, new_id
from server.openai.requests.reading import GenerationRead, Purpose, QuestionRead, ReadJob, ReadRequest
from server.supervisor.adapters.service import AdapterService
from server.supervisor.protocol import ModelService

logger = logging.getLogger("corral.http")

Schema = TypeVar("Schema", bound=BaseModel)

_MOST_WARNINGS = 200
_ACTIVE = ("ready", "loading", "restarting")


@dataclass(frozen=True)
class Api:
    """One application's parts, kept in `app.state.api`."""

    config: ServerConfig
    service: ModelService
    adapters: AdapterService | None = None
    warned: set[str] = field(default_factory=set)
    """The unknown fields that were already logged."""
    body_processes: BodyProcesses = field(default_factory=BodyProcesses)
    """The processes that read large bodies."""

    async def read_generation(self, request: Request, kind: Kind) -> tuple[GenerationRead, str]:
        """Return a request that generates, and the id of its answer. Raises RequestError."""
        answer_id = new_id(kind)
        job = ReadJob(purpose=kind, request_id=answer_id, timeout_s=self.config.request_timeout_s)
        read = await self._read(request, job)
        assert isinstance(read, GenerationRead)
        return read, answer_id

    async def read_message(self, request: Request, answer_id: str) -> GenerationRead:
        """Return a request of `/v1/messages`. Raises RequestError."""
        job = ReadJob(purpose="messages", request_id=answer_id, timeout_s=self.config.request_timeout_s)
        read = await self._read(request, job)
        assert isinstance(read, GenerationRead)
        return read

    async def read_question(self, request: Request, purpose: Purpose) -> QuestionRead:
        """Return a request that is a question. Raises RequestError."""
        read = await self._read(request, ReadJob(purpose=purpose))
        assert isinstance(read, QuestionRead)
        return read

    async def read_small(self, request: Request, schema: type[Schema]) -> Schema:
        """Return the body of a route whose requests are short. Raises RequestError."""
        return await request_body.read_small(request, schema, self.config.body_limit_bytes)

    async def _read(self, request: Request, job: ReadJob) -> ReadRequest:
        """Return the request's body. Unknown fields are ignored, and logged once."""
        read = await request_body.read(request, job, self.config.body_limit_bytes, self.body_processes)
        for name in read.unknown:
            if name not in self.warned and len(self.warned) < _MOST_WARNINGS:
                self.warned.add(name)
                logger.warning("ignored unknown field %.80r in %s", name, request.url.path)
        return read

    def resolve(self, request: Request, model: str | None) -> str:
        """Return the name of the model that is to answer. Raises ModelNotFound.

        A request may leave `model` out: it gets the first of those that the server was started with, whatever
        else is loaded by now; on a server without any, the only one that runs or is here; else: RequestError.
        """
        name = model or self._default_model()
        record_of(request.scope).model = name
        self.service.find(name)
        return name

    def _default_model(self) -> str:
        known = self.service.models()
        for status in known:
            if status.served:
                return status.name
        names = [status.name for status in known if status.state in _ACTIVE] or [
            status.name for status in known
        ]
        if len(names) == 1:
            return names[0]
        choices = f"this server has {', '.join(names[:10])}" if names else "this server has no model yet"
        raise RequestError(
            f"you must provide a model parameter; {choices}", param="model", code="missing_required_parameter"
        )


def api_of(request: Request) -> Api:
    """Return the parts of the application that got the request."""
    api = request.app.state.api
    assert isinstance(api, Api)
    return api
