"""A ModelService whose answers a test writes down: the HTTP side is tested without a worker."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable, Sequence
from typing import TypeVar, cast

from models.errors import ModelNotFound, WorkerError
from server.engine.events import (
    AnswerForm,
    ChoiceEnd,
    Delta,
    Event,
    Failure,
    Finish,
    FinishReason,
    Meaning,
    PromptScored,
    Started,
    Timings,
    TokenLogprob,
    Usage,
    Vectors,
)
from server.engine.slot_states import SlotState
from server.ipc.frames import HEADER, decode_request, frame_parts
from server.ipc.messages import (
    ApplyTemplate,
    ApplyTemplateReply,
    ChangeSlot,
    ChangeSlotReply,
    CountTokens,
    CountTokensReply,
    Detokenize,
    DetokenizeReply,
    Generate,
    Pool,
    Question,
    Reply,
    Slots,
    SlotsReply,
    Stats,
    StatsReply,
    StepEvents,
    Tokenize,
    TokenizeReply,
    Work,
)
from server.ipc.model_spec import ModelInfo
from server.ipc.parts import parts_of
from server.ipc.prompts import ChatPrompt
from server.metrics.figures import FigureBook
from server.metrics.samples import WorkerSample
from server.supervisor.protocol import EventListener, ModelStatus

R = TypeVar("R")

Step = Event | BaseException | float | asyncio.Event
"""A step is an event to hand on, an error to raise, seconds to sleep, or something to wait for."""
Script = Callable[[Generate], Sequence[Step]]
PoolScript = Callable[[Pool], Sequence[Step]]

INFO = ModelInfo(
    n_vocab=4096,
    n_ctx=2048,
    n_ctx_train=4096,
    n_embd=256,
    n_params=7_300_000,
    size_bytes=14_600_000,
    n_parallel=8,
    n_gpu_layers=0,
    description="llama 7.3M Q4_K_M",
    ftype="Q4_K_M",
    prompt_format="vicuna",
    bos_token="<s>",
    eos_token="</s>",
    chat_template="{{ messages }}",
)
DEMO = ModelStatus(name="demo", state="ready", created=1_700_000_000, type="Q4_K_M", info=INFO, n_ctx=2048)
IDLE = ModelStatus(
    name="lmsys/vicuna-7b-v1.5", state="available", created=1_700_000_001, type="Q4_K_M", n_ctx=4096
)


def finish(
    request: Generate,
    completion_tokens: int,
    *,
    prompt_tokens: int = 7,
    cached: int = 3,
    reasoning_tokens: int = 0,
) -> Finish:
    return Finish(
        id=request.id,
        usage=Usage(
            prompt_tokens=prompt_tokens,
            completion_tokens=completion_tokens,
            cached_tokens=cached,
            reasoning_tokens=reasoning_tokens,
        ),
        timings=Timings(
            queue_ms=0.5,
            prompt_n=prompt_tokens - cached,
            prompt_ms=2.0,
            predicted_n=completion_tokens,
            predicted_ms=10.0,
        ),
    )


def scored(piece: bytes, token: int, logprob: float | None, n_probs: int) -> TokenLogprob:
    """A token with `n_probs` alternatives, itself the first of them."""
    if logprob is None:
        return TokenLogprob(token, piece, None)
    others = ((token + 1000 + i, b"~%d" % i, logprob - 1 - i) for i in range(n_probs - 1))
    top = ((token, piece, logprob), *others) if n_probs else ()
    return TokenLogprob(token, piece, logprob, top)


def says(
    *pieces: str,
    reason: FinishReason = "stop",
    prompt_tokens: int = 7,
    form: AnswerForm | None = None,
    reasoning_tokens: int = 0,
) -> Script:
    """Every choice says the same pieces, one token each; choices take turns, as in an engine's steps.

    Logprobs are -0.25 for the first piece, -0.5 for the next and so on. An echoed prompt is "Hi you", of the
    tokens "<s>", " Hi" and " you".
    """

    def script(request: Generate) -> list[Step]:
        choices = range(request.n)
        steps: list[Step] = [Started(id=request.id, prompt_tokens=prompt_tokens, cached_tokens=3, form=form)]
        if request.echo:
            steps += [
                Delta(id=request.id, index=i, text="Hi you", n_tokens=0, is_prompt=True) for i in choices
            ]
        if request.score_prompt:
            prompt = ((b"<s>", None), (b" Hi", -1.5), (b" you", -2.5))
            tokens = [scored(p, i, logprob, request.n_probs or 0) for i, (p, logprob) in enumerate(prompt)]
            steps.append(PromptScored(id=request.id, logprobs=tuple(tokens)))
        told = pieces[: request.params.max_tokens]
        for position, piece in enumerate(told):
            steps += [_says(request, index, position, piece) for index in choices]
        steps += [ChoiceEnd(id=request.id, index=index, finish_reason=reason) for index in choices]
        n_tokens = len(told) * request.n
        steps.append(
            finish(request, n_tokens, prompt_tokens=prompt_tokens, reasoning_tokens=reasoning_tokens)
        )
        return steps

    return script


def _says(request: Generate, index: int, position: int, piece: str) -> Delta:
    token = 100 + position
    logprobs: tuple[TokenLogprob, ...] = ()
    if request.n_probs is not None:
        logprobs = (scored(piece.encode(), token, -0.25 * (position + 1), request.n_probs),)
    return Delta(
        id=request.id,
        index=index,
        text=piece,
        tokens=(token,) if request.return_tokens else (),
        logprobs=logprobs,
    )


def pools(*rows: Sequence[float], meaning: Meaning = "vector", prompt_tokens: int = 7) -> PoolScript:
    """Each text, or pair, is given the next of `rows`, from the last text to the first."""

    def script(request: Pool) -> list[Step]:
        n = len(request.inputs.pairs) or len(request.inputs.texts)
        steps: list[Step] = [Started(id=request.id, prompt_tokens=prompt_tokens, cached_tokens=0)]
        for index in reversed(range(n)):
            row = rows[index % len(rows)]
            data = struct.pack(f"<{len(row)}f", *row)
            steps.append(
                Vectors(
                    id=request.id, indices=(index,), n_rows=(1,), width=len(row), data=data, meaning=meaning
                )
            )
        usage = Usage(prompt_tokens=prompt_tokens, completion_tokens=0)
        timings = Timings(queue_ms=0.5, prompt_n=7, prompt_ms=2.0, predicted_n=0, predicted_ms=0.0)
        return [*steps, Finish(id=request.id, usage=usage, timings=timings)]

    return script


class ScriptedService:
    """Plays `script` for every request; remembers what it was asked and which requests were closed early."""

    def __init__(self, script: Script | None = None, models: Sequence[ModelStatus] = (DEMO,)) -> None:
        self.script = script or says("Hello", " world")
        self.statuses = list(models)
        self.is_ready = True
        self.impeded_by: str | None = None
        self.pool_script: PoolScript = pools((0.6, 0.8), (1.0, 0.0))
        self.figures = FigureBook()
        self.samples_now: list[WorkerSample] = []
        self.slots_now: list[SlotState] = []
        self.slot_changes: list[ChangeSlot] = []
        self.requests: list[tuple[str, Generate]] = []
        self.pools: list[Pool] = []
        self.prompts: list[ChatPrompt] = []
        self.closed: list[str] = []
        self.running = 0
        self.most_running = 0
        self.changed = asyncio.Condition()
        self.closing = asyncio.Event()

    async def reached(self, count: int) -> None:
        """Return once `count` requests were running at the same time."""
        async with self.changed:
            await self.changed.wait_for(lambda: self.most_running >= count)

    @property
    def request(self) -> Generate:
        """The only request so far."""
        assert len(self.requests) == 1
        return self.requests[0][1]

    def models(self) -> list[ModelStatus]:
        return list(self.statuses)

    def find(self, name: str) -> ModelStatus:
        for status in self.statuses:
            if name in (status.name, f"{status.name}:{status.type}"):
                return status
        raise ModelNotFound(f"The model `{name}` does not exist; GET /v1/models lists those that do")

    def ready(self) -> bool:
        return self.is_ready

    def impediment(self) -> str | None:
        return self.impeded_by

    def generate(self, name: str, request: Work) -> ScriptedEvents:
        return ScriptedEvents(self, name, request)

    async def ask(
        self,
        name: str,
        question: Question,
        reply_type: type[R],
        on_part: Callable[[R], None] | None = None,
    ) -> R:
        self.find(name)
        decoded = decode_request(b"".join(frame_parts(question))[HEADER.size :])  # as the worker gets it
        *parts, last = parts_of(self.reply(cast("Question", decoded)))
        for part in parts:
            assert isinstance(part, reply_type)
            assert on_part is not None
            on_part(part)
            await asyncio.sleep(0)
        assert isinstance(last, reply_type)
        return last

    def reply(self, question: Question) -> Reply:
        """One token per character; `add_special` adds 1 in front, `parse_special` makes `</s>` 2."""
        match question:
            case Tokenize(text=text):
                if question.parse_special:
                    text = text.replace("</s>", "\x02")
                tokens = [1] * question.add_special + [ord(c) for c in text]
                pieces = [b"<s>"] * question.add_special + [c.encode() for c in text]
                return TokenizeReply("t", tokens, pieces if question.with_pieces else None)
            case Detokenize(tokens=tokens):
                return DetokenizeReply("d", "".join(map(chr, tokens)))
            case ApplyTemplate(prompt=prompt):
                self.prompts.append(prompt)
                rendered = " ".join(f"{m['role']}: {m['content']}" for m in prompt.messages)
                return ApplyTemplateReply("a", rendered)
            case CountTokens(prompt=prompt):
                self.prompts.append(prompt)
                return CountTokensReply("n", 7)  # as `says` has it
            case ChangeSlot():
                self.slot_changes.append(question)
                return ChangeSlotReply("c", 84, 1000, 1.5)
            case Stats() | Slots():
                raise WorkerError("no statistics in a script")

    async def stats(self, name: str) -> StatsReply:
        raise WorkerError("no statistics in a script")

    async def slots(self, name: str) -> SlotsReply:
        if self.find(name).state != "ready":
            raise WorkerError(f"the model {name} is not loaded; send it a request first")
        return SlotsReply("s", self.slots_now)

    async def samples(self, timeout_s: float) -> list[WorkerSample]:
        return self.samples_now


class ScriptedEvents:
    """One request's events, as the script has them."""

    def __init__(self, service: ScriptedService, name: str, request: Work) -> None:
        self._service = service
        self._name = name
        self._request = request

    async def subscribe(self, listener: EventListener) -> None:
        service, request = self._service, self._request
        service.find(self._name)
        request = cast("Work", decode_request(b"".join(frame_parts(request))[HEADER.size :]))
        if isinstance(request, Pool):
            service.pools.append(request)
            steps = service.pool_script(request)
        else:
            service.requests.append((self._name, request))
            steps = service.script(request)
        service.running += 1
        service.most_running = max(service.most_running, service.running)
        async with service.changed:
            service.changed.notify_all()
        ended = False
        try:
            for step in steps:
                if isinstance(step, BaseException):
                    ended = True
                    raise step
                if isinstance(step, float):
                    await asyncio.sleep(step)
                elif isinstance(step, asyncio.Event):
                    await step.wait()
                else:
                    ended = isinstance(step, Finish | Failure)
                    await _hand_on(step, listener)
            ended = True
        finally:
            service.running -= 1
            if not ended:
                service.closed.append(request.id)
                service.closing.set()


async def _hand_on(event: Event, listener: EventListener) -> None:
    """Hand an event on as it comes from a worker: a long one in parts, each in a turn of the loop."""
    steps = parts_of(StepEvents([event]))
    for step in steps:
        assert isinstance(step, StepEvents)
        for part in step.events:
            listener.on_event(part)
        if len(steps) > 1:
            await asyncio.sleep(0)
