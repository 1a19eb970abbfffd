"""Prompts with a gap, compared with those of llama.cpp's own server; the differences are named here."""

from __future__ import annotations

import json
import os
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from models.doctor.tiny_model import TinyModel, Vocabulary, write_tiny_gguf
from models.llamacpp.model import Model
from server.ipc.prompts import ExtraText, InfillPrompt
from server.worker.infill import InfillPrompts
from tests.e2e.running import free_port

SERVER = Path(os.environ.get("CORRAL_LLAMA_CPP_TOOLS", "/nowhere")) / "llama-server"

pytestmark = [
    pytest.mark.oracle,
    pytest.mark.skipif(not SERVER.is_file(), reason="CORRAL_LLAMA_CPP_TOOLS has no llama-server"),
]

QWEN = ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>", "<|repo_name|>", "<|file_sep|>")
STARCODER = ("<fim_prefix>", "<fim_suffix>", "<fim_middle>")
CODELLAMA = ("▁<PRE>", "▁<SUF>", "▁<MID>")
EXTRA = [{"filename": "llama.h", "text": "the cat\n"}, {"text": "hello  world"}]
GAPS: list[dict[str, Any]] = [
    {"input_prefix": "the cat ", "input_suffix": " on the mat"},
    {"input_prefix": "the cat\n", "prompt": "  sat", "input_suffix": "\nllama"},
    {"input_prefix": "", "input_suffix": ""},
    {"input_prefix": "the", "input_suffix": "cat", "input_extra": EXTRA},
    {"input_prefix": "<|im_end|><fim_suffix>", "input_suffix": "<|fim_prefix|>é\n", "prompt": ""},
]


@contextmanager
def served(model: Path, *options: str) -> Iterator[str]:
    port = free_port()
    shared = [
        "--no-warmup",
        "-c",
        "512",
        "-b",
        "128",
        "-np",
        "1",
        "-t",
        "1",
        "--verbose",
        "--port",
        str(port),
    ]
    command = [str(SERVER), "-m", str(model), *shared, *options]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(300):
            try:
                urllib.request.urlopen(f"{address}/health", timeout=1).close()  # noqa: S310
                break
            except OSError:
                assert process.poll() is None
                time.sleep(0.1)
        yield address
    finally:
        process.terminate()
        process.wait()


def theirs(address: str, gap: dict[str, Any]) -> tuple[str, int]:
    """The prompt of llama-server's answer, with its special tokens spelled out, and how long it is."""
    data = json.dumps(gap | {"n_predict": 1, "ignore_eos": True}).encode()
    request = urllib.request.Request(f"{address}/infill", data, {"Content-Type": "application/json"})  # noqa: S310
    with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
        body = json.load(answer)
    return body["prompt"], body["tokens_evaluated"]


def ours(model: Model, gap: dict[str, Any], *, suffix_first: bool | None = None) -> tuple[str, int]:
    prompt = InfillPrompt(
        prefix=gap["input_prefix"],
        suffix=gap["input_suffix"],
        begun=gap.get("prompt", ""),
        extra=tuple(ExtraText(e["text"], e.get("filename", "tmp")) for e in gap.get("input_extra", ())),
        in_repository=True,
        suffix_first=suffix_first,
    )
    tokens = InfillPrompts(model.vocab, 512).tokens(prompt, 1).tokens
    return model.vocab.detokenize(tokens, special=True).decode(), len(tokens)


@pytest.mark.parametrize("control", [QWEN, STARCODER])
@pytest.mark.parametrize("suffix_first", [False, True])
def test_prompts_are_llama_servers(tmp_path: Path, control: tuple[str, ...], suffix_first: bool) -> None:
    path = write_tiny_gguf(tmp_path / "m.gguf", TinyModel(vocabulary="bpe", n_layer=1, control=control))
    with (
        served(path, *(["--spm-infill"] if suffix_first else [])) as address,
        Model.load(path, vocab_only=True) as model,
    ):
        for gap in GAPS:
            assert ours(model, gap, suffix_first=suffix_first or None) == theirs(address, gap), gap


def test_sentencepiece_prompts_have_one_bos_in_front_and_no_space_after_the_gap(tmp_path: Path) -> None:
    """llama-server has the space before the suffix, and BOS behind other files; transformers have neither."""
    vocabulary: Vocabulary = "spm"
    path = write_tiny_gguf(
        tmp_path / "m.gguf", TinyModel(vocabulary=vocabulary, n_layer=1, control=CODELLAMA)
    )
    with served(path) as address, Model.load(path, vocab_only=True) as model:
        gap = {"input_prefix": "the cat", "input_suffix": "mat"}
        assert ours(model, gap) == ("<s>▁<PRE> the cat▁<SUF>mat▁<MID>", 7 + 1 - 1)
        text, _ = theirs(address, gap)
        assert text.replace("▁<SUF> mat", "▁<SUF>mat") == ours(model, gap)[0]
        text, _ = theirs(address, gap | {"input_extra": [{"text": "on"}]})
        assert "<s>▁<PRE>" in text
        assert not text.startswith("<s>")
        assert ours(model, gap | {"input_extra": [{"text": "on"}]})[0].startswith("<s>")
