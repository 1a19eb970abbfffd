"""`Api`: the settings and models that every endpoint works with, and the way to a request's model."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TypeVar

import msgspec
from pydantic import BaseModel
from starlette.requests import Request

from models.errors import ModelNotFound, RequestError
from server.batches.store import BatchStore
from server.config import ServerConfig
from server.embeddings.answers import new_answer_id
from server.embeddings.read import PooledPurpose
from server.hosting.attributes import Attributes
from server.hosting.read import HostedRead
from server.hosting.tensors import TextPurpose
from server.http import request_body
from server.http.access_log import record_of
from server.http.api_keys import caller_of, check_model, owner_of
from server.http.body_processes import BodyProcesses
from server.http.drain import Drain
from server.http.inspector import Inspections
from server.http.live_requests import LiveRequests
from server.jobs.table import JobTable
from server.keys.caller import ANYONE, Caller
from server.metrics.origin import current_origin
from server.ollama.model_files import ModelFiles
from server.ollama.pulls import Pulls
from server.openai.heading import Kind, new_id
from server.openai.requests.reading import GenerationRead, PooledRead, Purpose, QuestionRead, ReadJob
from server.pages.store import ChatStore
from server.pages.turns import RunningTurns
from server.presets.book import PresetBook
from server.presets.table import PresetTable
from server.reload import Reloads
from server.responses.identity import new_id as new_response_id
from server.responses.read import HistoryWanted, ResponseRead
from server.responses.running import RunningResponses, Turn
from server.responses.store import ResponseStore
from server.supervisor.adapters.service import AdapterService
from server.supervisor.lives import ModelLives
from server.supervisor.protocol import ModelService, ModelStatus
from server.toolbox.toolbox import Toolbox
from server.usage.accounts import Accounts

logger = logging.getLogger("corral.http")

Schema = TypeVar("Schema", bound=BaseModel)

SESSION = "x-session-id"
"""The header by which a client names its session, to balancers and to the arms of presets."""
_MOST_WARNINGS = 200
_ACTIVE = ("ready", "loading", "restarting")


@dataclass(frozen=True)
class Api:
    """One application's parts, kept in `app.state.api`."""

    config: ServerConfig
    service: ModelService
    adapters: AdapterService | None = None
    warned: set[str] = field(default_factory=set)
    """The names of ignored fields that were already logged."""
    body_processes: BodyProcesses = field(default_factory=BodyProcesses)
    """The processes that read large bodies."""
    responses: ResponseStore = field(default_factory=ResponseStore.off)
    """The kept answers."""
    inspections: Inspections | None = None
    """The latest requests; None: none are kept."""
    running: RunningResponses = field(default_factory=RunningResponses)
    """The responses that are being made."""
    live: LiveRequests = field(default_factory=LiveRequests)
    """The requests that generate now."""
    chats: ChatStore = field(default_factory=ChatStore.off)
    """The web page's chats."""
    turns: RunningTurns = field(default_factory=RunningTurns)
    """The answers that are being made in them."""
    lives: ModelLives | None = None
    """The models' lives, for administrators; None where nobody manages them."""
    jobs: JobTable | None = None
    """The long jobs of this server; None where it runs none."""
    model_files: ModelFiles = field(default_factory=ModelFiles)
    """The headers of the models' files, as Ollama's clients are told of them."""
    pulls: Pulls = field(default_factory=Pulls)
    """The models that Ollama's clients wait for."""
    batches: BatchStore = field(default_factory=BatchStore.off)
    """The files and batches."""
    batch_endpoints: frozenset[str] = frozenset()
    """The routes whose requests may be lines of a batch."""
    accounts: Accounts = field(default_factory=Accounts)
    """The keys that are known, and the usage so far."""
    toolbox: Toolbox | None = None
    """The tools that this server runs; None: none."""
    presets: PresetBook = field(default_factory=lambda: PresetBook(PresetTable()))
    """The presets of this moment."""
    reloads: Reloads = field(default_factory=Reloads)
    """The parts of the settings that are read again while the server runs."""
    drain: Drain = field(default_factory=Drain)
    """The word for monitors that the server is about to stop."""

    def job(self, request: Request, purpose: Purpose, request_id: str = "") -> ReadJob:
        """Return what is to be read of a request's body."""
        return ReadJob(
            purpose=purpose,
            request_id=request_id,
            timeout_s=self.config.request_timeout_s,
            presets=self.presets.encoded,
            owner=owner_of(request.scope),
            session=request.headers.get(SESSION, ""),
            draw=self.presets.draw(),
            default_preset=self._default_preset(request) if self.presets.encoded else "",
        )

    async def read_generation(self, request: Request, kind: Kind) -> tuple[GenerationRead, str]:
        """Return a request that generates, and the id of its answer. Raises RequestError."""
        answer_id = new_id(kind)
        job = self.job(request, kind, answer_id)
        read = await self._read(request, job)
        assert isinstance(read, GenerationRead)
        return read, answer_id

    async def read_native(self, request: Request, purpose: Purpose) -> tuple[GenerationRead, str]:
        """Return a request of llama-server's or Ollama's routes, and its answer's id. Raises RequestError."""
        answer_id = new_id("text")
        job = self.job(request, purpose, answer_id)
        read = await self._read(request, job)
        assert isinstance(read, GenerationRead)
        return read, answer_id

    async def read_text(
        self, request: Request, purpose: TextPurpose, model: str
    ) -> tuple[GenerationRead, str]:
        """Return a request of the Open Inference Protocol, and its answer's id. Raises RequestError.

        `model` is the one of the path, empty where the body may name it.
        """
        answer_id = new_id("text")
        job = msgspec.structs.replace(self.job(request, purpose, answer_id), model=model)
        read = await self._read(request, job)
        assert isinstance(read, GenerationRead)
        return read, answer_id

    async def read_hosted(self, request: Request, parts: list[bytes], attributes: Attributes) -> HostedRead:
        """Return what a body of `/invocations` is for; `parts` may be empty then. Raises RequestError."""
        job = ReadJob(purpose="hosted", attributes=attributes)
        read = await request_body.read_parts(parts, job, self.body_processes)
        assert isinstance(read, HostedRead)
        self._log_ignored(request, read)
        return read

    async def read_message(self, request: Request, answer_id: str) -> GenerationRead:
        """Return a request of `/v1/messages`. Raises RequestError."""
        job = self.job(request, "messages", answer_id)
        read = await self._read(request, job)
        assert isinstance(read, GenerationRead)
        return read

    async def read_response(
        self, request: Request, owner: str, turn: Turn | None = None
    ) -> tuple[ResponseRead, str]:
        """Return a request for a response, with what is kept of its earlier turns, and its id.

        `turn` begins before a conversation is read. Raises RequestError, and NotKept for a conversation that
        isn't there.
        """
        response_id = new_response_id("resp")
        job = self.job(request, "response", response_id)
        parts = await request_body.body_parts(request, self.config.body_limit_bytes)
        read = await request_body.read_parts(list(parts), job, self.body_processes)
        if isinstance(read, HistoryWanted):
            if turn is not None and read.conversation is not None:
                turn.begin(read.conversation)
            history = await self.responses.history(owner, read)
            job = msgspec.structs.replace(job, history=history)
            read = await request_body.read_parts(parts, job, self.body_processes)
        assert isinstance(read, ResponseRead)
        self.note(request, read)
        return read, response_id

    async def read_pooled(self, request: Request, purpose: PooledPurpose) -> tuple[PooledRead, str]:
        """Return a request for vectors or scores, and the id of its answer. Raises RequestError."""
        answer_id = new_answer_id(purpose)
        job = self.job(request, purpose, answer_id)
        read = await self._read(request, job)
        assert isinstance(read, PooledRead)
        return read, answer_id

    async def read_question(self, request: Request, purpose: Purpose) -> QuestionRead:
        """Return a request that is a question. Raises RequestError."""
        read = await self._read(request, self.job(request, purpose))
        assert isinstance(read, QuestionRead)
        return read

    async def read_small(self, request: Request, schema: type[Schema]) -> Schema:
        """Return the body of a route whose requests are short. Raises RequestError."""
        return await request_body.read_small(request, schema, self.config.body_limit_bytes)

    async def _read(self, request: Request, job: ReadJob) -> GenerationRead | QuestionRead | PooledRead:
        """Return the request's body. Unknown fields are ignored, and logged once."""
        read = await request_body.read(request, job, self.config.body_limit_bytes, self.body_processes)
        assert isinstance(read, GenerationRead | QuestionRead | PooledRead)
        self.note(request, read)
        return read

    def note(self, request: Request, read: GenerationRead | QuestionRead | PooledRead | ResponseRead) -> None:
        """Note the preset that was found in a body, for all that is done for the request, and what to log."""
        if (choice := read.choice) is not None:
            origin = current_origin()
            origin.choice, origin.arm = choice, choice.label
            record_of(request.scope).arm = choice.label
            for sentence in choice.notes:
                self._log_once(sentence, "%s (%s)", request.url.path)
        self._log_ignored(request, read)

    def warn_once(self, name: str, message: str) -> None:
        """Log a warning, the first time that `name` gives a reason for it."""
        if name not in self.warned:
            self.warned.add(name)
            logger.warning("%s", message)

    def _log_ignored(
        self, request: Request, read: GenerationRead | QuestionRead | PooledRead | ResponseRead | HostedRead
    ) -> None:
        """Log what a request asks for in vain, each name once."""
        for name in read.unknown:
            self._log_once(name, "ignored unknown field %.80r in %s", request.url.path)
        for name in read.without_effect:
            self._log_once(name, "%.80r in %s has no effect on this server", request.url.path)

    def _log_once(self, name: str, message: str, path: str) -> None:
        if name not in self.warned and len(self.warned) < _MOST_WARNINGS:
            self.warned.add(name)
            logger.warning(message, name, path)

    def resolve(self, request: Request, model: str | None) -> str:
        """Return the name of the model that is to answer. Raises ModelNotFound, and NotAllowed.

        A request may leave `model` out: it gets the first of those that the server was started with, whatever
        else is loaded by now; on a server without any, the only one that runs or is here; else: RequestError.
        Models that the caller may not use don't count.
        """
        name = model or self.default_model(request)
        if self.is_native and not self._is_known(name):
            name = self.default_model(request)
        record_of(request.scope).model = name
        self.find(request, name)
        return name

    @property
    def is_native(self) -> bool:
        """True where the server follows llama-server, which answers whatever model a request names."""
        return self.config.dialect == "llama-server"

    def _is_known(self, name: str) -> bool:
        try:
            self.service.find(name)
        except ModelNotFound:
            return False
        return True

    def find(self, request: Request, name: str) -> ModelStatus:
        """Return the model by that name. Raises ModelNotFound, and NotAllowed by the caller's key."""
        return self._find(caller_of(request.scope), name)

    def find_for(self, owner: str, name: str) -> ModelStatus:
        """Return the model by that name for what is done in the background, see `find`."""
        return self._find(self.accounts.keys.caller_by_owner(owner) or ANYONE, name)

    def _find(self, caller: Caller, name: str) -> ModelStatus:
        try:
            status = self.service.find(name)
        except ModelNotFound:
            check_model(caller, name)  # nobody learns which others there are
            raise
        check_model(caller, *self._names(status, name))
        return status

    def usable(self, request: Request, statuses: list[ModelStatus]) -> list[ModelStatus]:
        """Return those of the models that the caller may use."""
        caller = caller_of(request.scope)
        return [status for status in statuses if caller.may_use(*self._names(status, status.name))]

    def _names(self, status: ModelStatus, asked: str) -> list[str]:
        """Return the names by which a key may be allowed a model: as asked, plain, and with its type.

        A preset has its own name alone: its models may be others for the next request.
        """
        choice = current_origin().choice
        if self.presets.table.find(asked) is not None or (choice is not None and choice.preset == asked):
            return [asked]
        type_ = f":{status.type}"
        plain = status.parent or status.name.removesuffix(type_)
        return [asked, status.name, plain, plain + type_]

    def _default_preset(self, request: Request) -> str:
        """Return the name of the model for requests that name none if a preset hides it, or nothing."""
        try:
            name = self.default_model(request)
        except RequestError:
            return ""
        return "" if self.presets.table.find(name) is None else name

    def default_model(self, request: Request) -> str:
        """Return the model of requests that name none. Raises RequestError where several could be meant."""
        known = self.usable(request, self.service.models())
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
