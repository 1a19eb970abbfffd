"""Translation of llama.cpp's statuses and logged lines into `models.errors`."""

from __future__ import annotations

from collections.abc import Sequence

from models.errors import DecodeError

_NOISE = ("failed to load model", "error loading model:", "failed to quantize:")


def reason(lines: Sequence[str]) -> str:
    """Return the most telling of llama.cpp's error lines, without `function:` prefixes; "" if none.

    llama.cpp reports a failure inside out: the first line holds the cause, later ones repeat that
    something failed.
    """
    for line in lines:
        text = line.strip()
        for noise in _NOISE:
            _, found, rest = text.partition(noise)
            if found:
                text = rest.strip(" :")
        head, colon, rest = text.partition(": ")
        if colon and head.replace("_", "").isalnum() and " " not in head:
            text = rest.strip()
        if text:
            return text.rstrip(".: ")
    return ""


def decode_error(status: int, *, n_tokens: int, n_ctx: int, lines: Sequence[str] = ()) -> DecodeError:
    """Return the error for a non-zero status of llama_decode: 1 no KV cells, 2 aborted, below 0 fatal."""
    why = reason(lines)
    detail = f": {why}" if why else ""
    if status == 1:
        message = (
            f"no KV cache cells are free for a batch of {n_tokens} tokens in a context of {n_ctx}; "
            "finish or evict a sequence, or raise --ctx"
        )
    elif status == 2:
        message = f"decoding a batch of {n_tokens} tokens was aborted by request"
    elif status == -1:
        message = f"llama.cpp refused a batch of {n_tokens} tokens as invalid{detail}"
    else:
        message = (
            f"llama.cpp failed to decode a batch of {n_tokens} tokens (status {status}){detail}; "
            "restart the model"
        )
    return DecodeError(message, status)
