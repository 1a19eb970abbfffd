"""The Open Inference Protocol's bodies as those of `/v1/completions`, and facts of a model. Pure.

Texts come as tensors of BYTES (`infer`) or as `text_input` (`generate`); parameters are those of completions.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec

from models.errors import RequestError
from server.hosting.read import members_of
from server.hosting.shapes import Members

TextPurpose = Literal["infer_tensors", "generate_text"]
"""The route that got a body: `…/infer`, or `…/generate` and `…/generate_stream`."""
TEXT_PURPOSES: Final = ("infer_tensors", "generate_text")
"""Both of them."""
OUTPUTS = ("text_output", "finish_reason")
"""The tensors of an answer."""
MOST_TEXTS = 1_000
"""A request has at most so many texts."""
MOST_AXES = 8
"""A tensor has at most so many: each may be as long as 64 bits tell."""
_TENSORS = ("text_input", "prompt", "text", "input")
"""The names that the tensor of texts may have."""
_NOT_HERE = ("logprobs", "n_probs", "stream_options", "return_tokens", "timings_per_token")
"""Parameters whose effect an answer of this protocol has no place for."""
_encode = msgspec.json.encode


class Tensor(msgspec.Struct, frozen=True, kw_only=True):
    """A tensor of a request. What is another model's input has a datatype that isn't ours."""

    name: str
    datatype: str
    shape: list[int]
    data: msgspec.Raw = msgspec.Raw(b"null")
    parameters: dict[str, msgspec.Raw] = {}


class Output(msgspec.Struct, frozen=True, kw_only=True):
    """A tensor that a client wants in the answer."""

    name: str
    parameters: dict[str, msgspec.Raw] = {}


class _Inference(msgspec.Struct, frozen=True, kw_only=True):
    inputs: list[Tensor]
    outputs: list[Output] | None = None
    parameters: dict[str, msgspec.Raw] | None = None
    id: str | None = None


class TensorForm(msgspec.Struct, frozen=True, kw_only=True):
    """The form of an answer of this protocol."""

    id: str | None = None
    """The request's own id, which stands in its answer."""
    outputs: tuple[str, ...] = OUTPUTS
    without_effect: list[str] = []


def completion_of(purpose: TextPurpose, body: bytes, model: str) -> tuple[bytes, TensorForm]:
    """Return the body for `/v1/completions`, and the answer's form. Raises RequestError.

    `model` is the one of the path; empty: the body may name one.
    """
    if purpose == "infer_tensors":
        texts, parameters, form = _inference(body)
        prompt: Any = texts
    else:
        prompt, parameters, form = _generation(body)
    wanted: dict[str, Any] = dict(parameters)
    for name in ("n", "best_of"):
        if bytes(wanted.get(name, b"1")) not in (b"1", b"null"):
            raise RequestError(
                f"'{name}' can't be more than 1 here: each text has one answer; send the text several times",
                param=name,
                code="invalid_value",
            )
    vain = [name for name in _NOT_HERE if wanted.pop(name, None) is not None]
    wanted.pop("stream", None)  # the route says it
    if model:
        wanted["model"] = model
    return _encode({**wanted, "prompt": prompt}), msgspec.structs.replace(form, without_effect=vain)


def _inference(body: bytes) -> tuple[list[str], Members, TensorForm]:
    try:
        request = msgspec.json.decode(body, type=_Inference)
    except msgspec.ValidationError as error:
        raise RequestError(f"the request is no inference request: {error}", code="invalid_type") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RequestError("the request's body is not valid JSON", code="invalid_json") from error
    if len(request.inputs) != 1:
        raise RequestError(
            f"'inputs' has {len(request.inputs)} tensors; send one of texts, 'text_input', and the rest as"
            " 'parameters'",
            param="inputs",
            code="invalid_value",
        )
    names = tuple(output.name for output in request.outputs or ()) or OUTPUTS
    if unknown := next((name for name in names if name not in OUTPUTS), None):
        raise RequestError(
            f"there is no output {unknown!r:.80}; there are {', '.join(OUTPUTS)}",
            param="outputs",
            code="invalid_value",
        )
    return _texts(request.inputs[0]), request.parameters or {}, TensorForm(id=request.id, outputs=names)


def _texts(tensor: Tensor) -> list[str]:
    """Return the texts of a tensor. Raises RequestError."""
    where = f"the input {tensor.name!r:.80}"
    if tensor.name not in _TENSORS:
        raise _wrong(f"{where} is unknown; the texts are called {_TENSORS[0]}")
    if tensor.datatype != "BYTES":
        raise _wrong(f"{where} has the datatype {tensor.datatype!r:.20}; texts are BYTES")
    if "binary_data_size" in tensor.parameters:
        raise _wrong(f"{where} comes as binary data, which isn't read here; send its 'data' as JSON")
    data = _flat(tensor)
    if len(tensor.shape) > MOST_AXES:
        raise _wrong(f"{where} has {len(tensor.shape):,} axes; send one or two")
    if min(tensor.shape, default=1) < 0 or math.prod(tensor.shape) != len(data):
        raise _wrong(f"{where} has {len(data)} texts, and its shape {tensor.shape!r:.80} wants others")
    if not 0 < len(data) <= MOST_TEXTS:
        raise _wrong(f"{where} has {len(data):,} texts; send 1 to {MOST_TEXTS:,}")
    return data


def _flat(tensor: Tensor) -> list[str]:
    """Return the data as one list, whether it is nested as the shape has it or not."""
    try:
        data = msgspec.json.decode(tensor.data, type=list[str | list[str]])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _wrong(f"'data' of {tensor.name!r:.80} must be a list of strings") from error
    return [text for row in data for text in ([row] if isinstance(row, str) else row)]


def _wrong(message: str) -> RequestError:
    return RequestError(message, param="inputs", code="invalid_value")


def _generation(body: bytes) -> tuple[msgspec.Raw, Members, TensorForm]:
    members = dict(members_of(body))
    text = members.pop("text_input", msgspec.Raw(b"null"))
    if not bytes(text).startswith(b'"'):
        raise RequestError("'text_input' must be a string", param="text_input", code="invalid_type")
    id_ = members.pop("id", None)
    try:
        told = None if id_ is None else msgspec.json.decode(id_, type=str | None)
    except msgspec.DecodeError as error:
        raise RequestError("'id' must be a string", param="id", code="invalid_type") from error
    given = members.pop("parameters", msgspec.Raw(b"null"))
    parameters = {} if bytes(given) == b"null" else members_of(given, "'parameters'")
    return text, {**members, **parameters}, TensorForm(id=told)


# --- facts --------------------------------------------------------------------------------------------------


def model_metadata(name: str, version: str | None) -> dict[str, Any]:
    """Return the tensors of a model; its version is its quantization type."""
    return {
        "name": name,
        "versions": [] if version is None else [version],
        "platform": "gguf_llama.cpp",
        "inputs": [_tensor_of("text_input")],
        "outputs": [_tensor_of(name) for name in OUTPUTS],
    }


def _tensor_of(name: str) -> Mapping[str, Any]:
    return {"name": name, "datatype": "BYTES", "shape": [-1]}
