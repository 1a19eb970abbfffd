"""llama-server's validated requests → the engine's `Generate` messages. Pure."""

from __future__ import annotations

from typing import Any

import msgspec

from models.errors import RequestError
from server.ipc.messages import Generate
from server.ipc.prompts import ExtraText, InfillPrompt, MixedPrompt, Prompt, TextPrompt, TokenPrompt
from server.llama_server.schemas import InfillRequest, NativeCompletionRequest, NativePrompt, NativeRequest
from server.openai.requests.answer_options import AnswerOptions
from server.openai.requests.to_engine import generates

_OFF: dict[str, dict[str, float]] = {
    "penalties": {"repeat_penalty": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0},
    "dry": {"dry_multiplier": 0.0},
    "top_n_sigma": {"top_n_sigma": 0.0},
    "top_k": {"top_k": 0},
    "typ_p": {"typical_p": 1.0},
    "top_p": {"top_p": 1.0},
    "min_p": {"min_p": 0.0},
    "xtc": {"xtc_probability": 0.0},
    "temperature": {"temperature": 1.0, "dynatemp_range": 0.0},
}
"""llama.cpp's samplers in its order, which is the only one here, and the parameters that switch each off."""
SAMPLERS = tuple(_OFF)
_OTHER_NAMES = {
    **{name.replace("_", "-"): name for name in SAMPLERS},
    **dict.fromkeys(("typical", "typical_p", "typical-p", "typ"), "typ_p"),
    "nucleus": "top_p",
    "temp": "temperature",
}
_LETTERS = {**dict(zip("edskypmxt", SAMPLERS, strict=True)), "i": "infill", "a": "adaptive_p"}
_ELSEWHERE = ("infill", "adaptive_p")
"""llama.cpp has these samplers, too; here they do nothing."""
_WITHOUT_EFFECT = (
    "n_indent",
    "min_keep",
    "adaptive_target",
    "adaptive_decay",
    "backend_sampling",
    "n_discard",
    "n_cache_reuse",
    "sse_ping_interval",
)
_NEUTRAL = (None, False, 0, -1)


def from_native(
    request: NativeCompletionRequest, options: AnswerOptions, request_id: str, timeout_s: float | None = None
) -> list[Generate]:
    """Return one `Generate` per prompt, in order. Raises RequestError for what isn't supported."""
    if request.n is not None and request.n_cmpl is not None and request.n != request.n_cmpl:
        raise RequestError("'n' and 'n_cmpl' are the same and differ; send one of them", param="n_cmpl")
    if request.n_cmpl is not None:
        request = request.model_copy(update={"n": request.n_cmpl})
    prompts = [_prompt(prompt) for prompt in request.prompt]
    return _native(request, generates(request, options, prompts, request_id, timeout_s))


def from_infill(
    request: InfillRequest, options: AnswerOptions, request_id: str, timeout_s: float | None = None
) -> list[Generate]:
    """Return one `Generate`. Raises RequestError for what isn't supported."""
    if (request.n or 1) > 1:
        raise RequestError(f"'n' is {request.n}; /infill answers once, so leave it out", param="n")
    prompt = InfillPrompt(
        prefix=request.input_prefix,
        suffix=request.input_suffix,
        begun=request.prompt or "",
        extra=tuple(
            ExtraText(extra.text, "tmp" if extra.filename is None else extra.filename)
            for extra in request.input_extra or ()
        ),
        in_repository=True,
        suffix_first=request.spm_infill,
        param="input_prefix",
    )
    return _native(request, generates(request, options, [prompt], request_id, timeout_s))


def without_effect(request: NativeRequest) -> list[str]:
    """Return the names of fields that do nothing here, and for which a client may wait."""
    told = [name for name in _WITHOUT_EFFECT if getattr(request, name) not in _NEUTRAL]
    named = _named_samplers(request) or []
    told += [f"samplers ({name})" for name in _ELSEWHERE if name in named]
    names = [name for name in named if name in _OFF]
    if names != [name for name in SAMPLERS if name in names]:
        told.append("samplers (their order)")
    return told


def _native(request: NativeRequest, messages: list[Generate]) -> list[Generate]:
    texts = tuple((key, bias) for key, bias in request.logit_bias if isinstance(key, str))
    limit_ms = request.t_max_predict_ms
    off = _switched_off(request)
    return [
        msgspec.structs.replace(
            message,
            return_tokens=message.return_tokens or request.stream is True,  # as llama-server's streams
            params=msgspec.structs.replace(message.params, **off),
            given=tuple(dict.fromkeys((*message.given, *off))),
            tells_reading=True,
            bias_texts=texts,
            after_sampling=request.post_sampling_probs is True,
            predict_ms=float(limit_ms) if limit_ms and limit_ms > 0 else None,
        )
        for message in messages
    ]


def _switched_off(request: NativeRequest) -> dict[str, float]:
    """Return the parameters that switch off the samplers which `samplers` leaves out."""
    names = _named_samplers(request)
    if names is None:
        return {}
    return {field: value for name, off in _OFF.items() if name not in names for field, value in off.items()}


def _named_samplers(request: NativeRequest) -> list[str] | None:
    """Return the samplers that the request names. Raises RequestError for one that isn't known."""
    given: Any = request.samplers
    if given is None:
        return None
    if isinstance(given, str):
        names = [_LETTERS.get(letter, letter) for letter in given]
    elif isinstance(given, list) and all(isinstance(name, str) for name in given):
        names = [_OTHER_NAMES.get(name, name) for name in map(str, given)]
    else:
        raise RequestError("'samplers' must be an array of names, or their letters", param="samplers")
    for name in names:
        if name not in _OFF and name not in _ELSEWHERE:
            raise RequestError(
                f"'samplers' has {name!r:.40}, which isn't here; known are {', '.join(SAMPLERS)}",
                param="samplers",
            )
    return names


def _prompt(prompt: NativePrompt) -> Prompt:
    texts = [part for part in prompt if isinstance(part, str)]
    if not texts:
        return TokenPrompt(tuple(part for part in prompt if isinstance(part, int)))
    if len(prompt) == 1:
        return TextPrompt(texts[0])
    parts: list[str | tuple[int, ...]] = []
    for part in prompt:
        if isinstance(part, str):
            parts.append(part)
        elif parts and isinstance(parts[-1], tuple):
            parts[-1] = (*parts[-1], part)
        else:
            parts.append((part,))
    return MixedPrompt(tuple(parts))
