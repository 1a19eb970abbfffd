"""The shim's translation of llama-server's flags, and the stories of the stand-ins."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.llama_server_suite.as_llama_server import NoCounterpart, corral, llama_server
from tests.llama_server_suite.stand_ins import pieces

FOLDER = Path("/models")
MODEL = ("--hf-repo", "ggml-org/test-model-stories260K", "--offline")


def translated(*arguments: str) -> list[str]:
    return corral([*MODEL, *arguments], FOLDER, lambda: FOLDER)


def test_flags_mean_the_same() -> None:
    command = translated("--ctx-size", "512", "--parallel", "2", "--temp", "0.8", "--no-slots", "--jinja")
    assert command[:4] == ["serve", "--dialect", "llama-server", "/models/stories260K.gguf"]
    text = " ".join(command)
    assert "--ctx 256 --chat-template chatml" in text  # of each slot
    assert text.endswith("--no-metrics --parallel 2 --temperature 0.8 --no-slots")
    assert "--ctx 512" in " ".join(translated("--ctx-size", "512", "--kv-unified", "--parallel", "2"))
    assert "--no-metrics" not in translated("--metrics")


@pytest.mark.parametrize(
    "arguments", [("--media-path", "x"), ("--reasoning-format", "none"), ("--alias", "a,b")]
)
def test_a_flag_without_counterpart_ends_it(arguments: tuple[str, ...]) -> None:
    with pytest.raises(NoCounterpart):
        translated(*arguments)


def test_the_real_server_gets_its_flags_and_the_stand_in() -> None:
    command = llama_server("/bin/ls", [*MODEL, "--parallel", "2"], FOLDER)
    assert command == ["/bin/ls", "--model", "/models/stories260K.gguf", "--parallel", "2"]


def test_a_vocabulary_has_each_piece_once() -> None:
    assert len(set(pieces())) == len(pieces())
    assert {"\u2581Suddenly", "\u2581forest", "\u2581love"} <= set(pieces())
