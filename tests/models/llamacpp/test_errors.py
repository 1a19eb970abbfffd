from __future__ import annotations

import pytest

from models.llamacpp.errors import decode_error, reason


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([], ""),
        (["   "], ""),
        (
            [
                "llama_model_load: error loading model: missing tensor 'blk.0.attn_q.weight'",
                "f: failed to load model",
            ],
            "missing tensor 'blk.0.attn_q.weight'",
        ),
        (["llama_model_quantize: failed to quantize: no such file."], "no such file"),
        (
            ["gguf_init_from_file_impl: invalid magic characters: 'root', expected 'GGUF'"],
            "invalid magic characters: 'root', expected 'GGUF'",
        ),
    ],
)
def test_the_reason_is_the_innermost_line(lines: list[str], expected: str) -> None:
    assert reason(lines) == expected


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (1, "no KV cache cells"),
        (2, "aborted"),
        (-1, "invalid: bad position"),
        (-2, "status -2.*bad position"),
    ],
)
def test_each_decode_status_has_its_message(status: int, words: str) -> None:
    error = decode_error(status, n_tokens=8, n_ctx=256, lines=["init: bad position"])
    assert error.status == status
    with pytest.raises(type(error), match=words):
        raise error
