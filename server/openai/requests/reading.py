"""`read`: the bytes of a body as messages for the engine and what its answer needs to know. Pure.

All that takes time in proportion to a body is here, so that it can run in the event loop for a small one and
in a process of its own (`reading_process`) for any other, with the same outcome.
"""

from __future__ import annotations

from typing import Literal, TypeVar

import msgspec
from pydantic import BaseModel, ValidationError

from models.errors import RequestError
from server.anthropic.requests import to_engine as messages_to_engine
from server.anthropic.requests.schemas import CountTokensRequest, MessagesRequest
from server.anthropic.requests.to_engine import MessageOptions
from server.embeddings.form import AnswerForm
from server.embeddings.read import SCHEMAS, PooledPurpose, read_pooled
from server.embeddings.schemas import PooledRequest
from server.hosting.attributes import NO_ATTRIBUTES, Attributes
from server.hosting.read import HostedRead, read_hosted
from server.hosting.tensors import TEXT_PURPOSES, TensorForm, TextPurpose, completion_of
from server.ipc.messages import ApplyTemplate, CountTokens, Detokenize, Generate, Pool, Tokenize
from server.llama_server import to_engine as native_to_engine
from server.llama_server.schemas import InfillRequest, NativeCompletionRequest, NativeRequest
from server.ollama import to_engine as ollama_to_engine
from server.ollama.form import OllamaForm
from server.ollama.schemas import (
    OllamaChatRequest,
    OllamaEmbeddingsRequest,
    OllamaEmbedRequest,
    OllamaGenerateRequest,
    OllamaRequest,
)
from server.openai.requests import field_errors, to_engine
from server.openai.requests.answer_options import AnswerOptions, answer_options, native_options
from server.openai.requests.body_limits import check_form, check_structure
from server.openai.requests.schemas import (
    ApplyTemplateRequest,
    ChatCompletionRequest,
    CompletionRequest,
    DetokenizeRequest,
    GenerationRequest,
    TokenizeRequest,
    for_the_log,
    unknown_fields,
)
from server.presets.apply import Asker, prepare
from server.presets.table import Choice, decoded
from server.responses.read import History, HistoryWanted, ResponseRead, read_response
from server.responses.schemas import ResponsesRequest, metadata_of

Purpose = (
    Literal[
        "chat",
        "text",
        "native",
        "infill",
        "response",
        "tokenize",
        "detokenize",
        "apply_template",
        "count_chat",
        "messages",
        "count_tokens",
        "ollama_chat",
        "ollama_generate",
        "hosted",
    ]
    | PooledPurpose
    | TextPurpose
)
"""The route that got a body: `text` is `/v1/completions`, `native` llama-server's `/completion`, `messages`
Anthropic's `/v1/messages`, `ollama_…` is Ollama's, `hosted` the clouds' `/invocations`, `infer_tensors` and
`generate_text` are those of the Open Inference Protocol."""

Schema = TypeVar("Schema", bound=BaseModel)


class ReadJob(msgspec.Struct, frozen=True, kw_only=True):
    """One body to read."""

    purpose: Purpose
    request_id: str = ""
    timeout_s: float | None = None
    history: History | None = None
    """The kept turns before a response, once it is known that they are wanted."""
    presets: bytes = b""
    """The presets, encoded (`PresetTable.encoded`); empty: there are none."""
    owner: str = ""
    """The owner of the request's API key."""
    draw: float = 0.0
    """A number from 0 to 1, which chooses the arm of a preset for those who are nobody."""
    session: str = ""
    """The client's session by a header: it stands for a user where the body names none."""
    default_preset: str = ""
    """The preset that a body names which names no model; empty: none."""
    attributes: Attributes = NO_ATTRIBUTES
    """The members that a hosted body may leave out."""
    model: str = ""
    """The model that the path of the Open Inference Protocol names; empty: the body may name one."""


def kept_parts(job: ReadJob) -> list[bytes]:
    """Return what is read beside the body: the kept turns."""
    return [] if job.history is None else [*job.history.items, *job.history.references.values()]


class GenerationRead(msgspec.Struct, frozen=True, kw_only=True, tag="generation"):
    """A request that generates: its engine's messages, one per prompt, and the form of its answer."""

    model: str | None
    choice: Choice | None = None
    unknown: list[str]
    """The names of fields that no schema knows, the first of them and cut."""
    without_effect: list[str] = []
    """The names of what is known, and does less than a client may think."""
    stream: bool
    options: AnswerOptions
    generates: list[Generate]
    message: MessageOptions | None = None
    """The form of an answer of `/v1/messages`, for which `options` say nothing."""
    ollama: OllamaForm | None = None
    """The form of an answer of `/api/chat` or `/api/generate`, for which they say nothing either. Such a
    request may ask nothing, and then it has no messages."""
    store: bool = False
    """True if the client wants its chat to be kept, with `metadata`."""
    metadata: dict[str, str] = {}
    tensors: TensorForm | None = None
    """The form of an answer of the Open Inference Protocol, for which `options` say nothing."""
    response_fields: tuple[str, ...] = ()
    """The fields that an answer of `/completion` or `/infill` has; none: all."""


class QuestionRead(msgspec.Struct, frozen=True, kw_only=True, tag="question"):
    """A request that is a question to the worker."""

    model: str | None
    choice: Choice | None = None
    unknown: list[str]
    without_effect: list[str] = []
    question: Tokenize | Detokenize | ApplyTemplate | CountTokens
    counted: bool = False
    """True if the client wants the number of tokens, too: the form of vLLM's `/tokenize`."""


class PooledRead(msgspec.Struct, frozen=True, kw_only=True, tag="pooled"):
    """A request for vectors or scores."""

    model: str | None
    choice: Choice | None = None
    unknown: list[str]
    without_effect: list[str] = []
    pool: Pool
    form: AnswerForm


ReadRequest = GenerationRead | QuestionRead | PooledRead | ResponseRead | HistoryWanted | HostedRead


def read(job: ReadJob, body: bytes) -> ReadRequest:
    """Return what `body` requests. Raises BodyTooLarge, and RequestError naming the field that is wrong."""
    check_structure(body)
    if job.purpose == "hosted":
        return read_hosted(body, job.attributes)
    tensors: TensorForm | None = None
    if (purpose := job.purpose) in TEXT_PURPOSES:
        body, tensors = completion_of(purpose, body, job.model)
        job = msgspec.structs.replace(job, purpose="text")
    outcome = _read_preset(job, body) if job.presets else _read(job, body)
    if tensors is not None:
        assert isinstance(outcome, GenerationRead)
        vain = [*outcome.without_effect, *tensors.without_effect]
        outcome = msgspec.structs.replace(outcome, tensors=tensors, without_effect=vain)
    if isinstance(outcome, GenerationRead | ResponseRead):
        for generate in outcome.generates[:1]:  # all have the same
            check_form(generate.constraint)
    return outcome


def _read_preset(job: ReadJob, body: bytes) -> ReadRequest:
    """Return what `body` requests, changed as the preset has it that it may name."""
    asker = Asker(job.owner, job.session, job.draw)
    body, choice = prepare(job.presets, asker, job.purpose, body, job.default_preset)
    outcome = _read(job, body)
    if isinstance(outcome, HistoryWanted | HostedRead):
        return outcome
    # Two readers of one body: what isn't JSON to the stricter one mustn't get around a preset.
    named = outcome.model if outcome.model and decoded(job.presets).find(outcome.model) else None
    if named != (None if choice is None else choice.preset):
        raise RequestError("the request's body is not valid JSON", code="invalid_json")
    return outcome if choice is None else msgspec.structs.replace(outcome, choice=choice)


def _read(job: ReadJob, body: bytes) -> ReadRequest:
    match job.purpose:
        case "chat":
            chat = parse(body, ChatCompletionRequest)
            options = answer_options(chat)
            return _generation(
                chat, options, to_engine.from_chat(chat, options, job.request_id, job.timeout_s)
            )
        case "text":
            text = parse(body, CompletionRequest)
            options = answer_options(text)
            return _generation(
                text, options, to_engine.from_completion(text, options, job.request_id, job.timeout_s)
            )
        case "native" | "infill":
            return _read_native(job, body)
        case "response":
            wish = parse(body, ResponsesRequest)
            return read_response(wish, unknown_fields(wish), job.request_id, job.timeout_s, job.history)
        case "tokenize" | "detokenize" | "apply_template" | "count_chat" | "count_tokens":
            return _read_question(job, body)
        case "messages":
            return _message(parse(body, MessagesRequest), job)
        case "ollama_chat" | "ollama_generate":
            return _read_ollama(job, body)
        case "hosted" | "infer_tensors" | "generate_text":
            raise AssertionError(f"{job.purpose} is another purpose's by now")
        case purpose:
            return _pooled(purpose, parse(body, SCHEMAS[purpose]), job)


def _read_question(job: ReadJob, body: bytes) -> QuestionRead:
    match job.purpose:
        case "tokenize":
            return _tokenize(parse(body, TokenizeRequest))
        case "detokenize":
            ids = parse(body, DetokenizeRequest)
            question = Detokenize(tokens=tuple(ids.tokens))
            return QuestionRead(model=ids.model, unknown=unknown_fields(ids), question=question)
        case "apply_template":
            chat_only = parse(body, ApplyTemplateRequest)
            template = ApplyTemplate(prompt=to_engine.chat_prompt(chat_only))
            return QuestionRead(model=chat_only.model, unknown=unknown_fields(chat_only), question=template)
        case "count_chat":
            chat = parse(body, ChatCompletionRequest)
            chat_count = CountTokens(prompt=to_engine.chat_prompt(chat))
            return QuestionRead(model=chat.model, unknown=unknown_fields(chat), question=chat_count)
        case _:
            counted = parse(body, CountTokensRequest)
            count = CountTokens(prompt=messages_to_engine.chat_prompt(counted))
            return QuestionRead(
                model=counted.model,
                unknown=unknown_fields(counted),
                without_effect=for_the_log(messages_to_engine.without_effect(counted)),
                question=count,
            )


def parse(body: bytes, schema: type[Schema]) -> Schema:
    """Return the body as a `schema`. Raises RequestError naming the field that is wrong."""
    try:
        return schema.model_validate_json(body)
    except ValidationError as error:
        raise field_errors.from_validation(error) from error


def _generation(
    request: GenerationRequest, options: AnswerOptions, generates: list[Generate]
) -> GenerationRead:
    is_kept = request.store is True and isinstance(request, ChatCompletionRequest)
    return GenerationRead(
        model=request.model,
        unknown=unknown_fields(request),
        without_effect=to_engine.without_effect(request),
        stream=request.stream is True,
        options=options,
        generates=generates,
        store=is_kept,
        metadata=metadata_of(request.metadata) if is_kept else {},
    )


def _read_native(job: ReadJob, body: bytes) -> GenerationRead:
    if job.purpose == "infill":
        gap = parse(body, InfillRequest)
        options = answer_options(gap)
        made = native_to_engine.from_infill(gap, options, job.request_id, job.timeout_s)
        return _native(gap, options, made)
    native = parse(body, NativeCompletionRequest)
    options = native_options(native)
    made = native_to_engine.from_native(native, options, job.request_id, job.timeout_s)
    return _native(native, options, made)


def _native(request: NativeRequest, options: AnswerOptions, generates: list[Generate]) -> GenerationRead:
    read = _generation(request, options, generates)
    return msgspec.structs.replace(
        read,
        response_fields=tuple(request.response_fields or ()),
        without_effect=[*read.without_effect, *native_to_engine.without_effect(request)],
    )


def _message(request: MessagesRequest, job: ReadJob) -> GenerationRead:
    generate, options = messages_to_engine.from_messages(request, job.request_id, job.timeout_s)
    return GenerationRead(
        model=request.model,
        unknown=unknown_fields(request),
        without_effect=for_the_log(messages_to_engine.without_effect(request)),
        stream=request.stream is True,
        options=AnswerOptions(),
        generates=[generate],
        message=options,
    )


def _pooled(purpose: PooledPurpose, request: PooledRequest, job: ReadJob) -> PooledRead:
    pool, form = read_pooled(purpose, request, job.request_id, job.timeout_s)
    options = request.options if isinstance(request, OllamaEmbedRequest | OllamaEmbeddingsRequest) else None
    return PooledRead(
        model=request.model,
        unknown=unknown_fields(request),
        without_effect=for_the_log(ollama_to_engine.given_options(options)),
        pool=pool,
        form=form,
    )


def _read_ollama(job: ReadJob, body: bytes) -> GenerationRead:
    if job.purpose == "ollama_chat":
        chat = parse(body, OllamaChatRequest)
        return _ollama(chat, *ollama_to_engine.from_chat(chat, job.request_id, job.timeout_s))
    text = parse(body, OllamaGenerateRequest)
    return _ollama(text, *ollama_to_engine.from_generate(text, job.request_id, job.timeout_s))


def _ollama(request: OllamaRequest, generates: list[Generate], form: OllamaForm) -> GenerationRead:
    return GenerationRead(
        model=request.model,
        unknown=unknown_fields(request),
        without_effect=for_the_log(ollama_to_engine.without_effect(request)),
        stream=request.stream is not False,
        options=AnswerOptions(),
        generates=generates,
        ollama=form,
    )


def _tokenize(request: TokenizeRequest) -> QuestionRead:
    """Special tokens go around a `prompt` unless the client says no, around a `content` if it says yes."""
    if request.content is not None:
        text, add_special = request.content, (request.add_special or request.add_special_tokens) is True
    elif request.prompt is not None:
        text = request.prompt
        add_special = request.add_special_tokens is not False and request.add_special is not False
    else:
        raise RequestError(
            "Missing required parameter: 'content'", param="content", code="missing_required_parameter"
        )
    question = Tokenize(
        text=text,
        add_special=add_special,
        parse_special=request.parse_special is not False,
        with_pieces=request.with_pieces is True,
    )
    return QuestionRead(
        model=request.model,
        unknown=unknown_fields(request),
        question=question,
        counted=request.content is None,
    )
