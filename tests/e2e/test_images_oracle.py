"""Logits behind an image, from the file of it on: those of llama.cpp's own server with the same files."""

from __future__ import annotations

import base64
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from models.llamacpp.projector import is_available
from tests.e2e.running import environment, free_port, serving
from tests.server.images.samples import encoded, fields
from tests.vision_models import Way, write_projector, write_text_model

SERVER = Path(os.environ.get("CORRAL_LLAMA_CPP_TOOLS", "/nowhere")) / "llama-server"

BOUND = 0.006
"""Of logprobs: keys, values and attention are F16 here."""

pytestmark = [
    pytest.mark.oracle,
    pytest.mark.skipif(not SERVER.is_file(), reason="CORRAL_LLAMA_CPP_TOOLS has no llama-server"),
    pytest.mark.skipif(not is_available(), reason="this build of llama.cpp has no libmtmd"),
]


@contextmanager
def their_server(model: Path, eyes: Path) -> Iterator[str]:
    port = free_port()
    sizes = ("-c", "1024", "-np", "1", "-t", "1", "--no-warmup", "--jinja", "--port", str(port))
    process = subprocess.Popen(
        [str(SERVER), "-m", str(model), "--mmproj", str(eyes), *sizes],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(300):
            try:
                if httpx.get(f"{url}/health", timeout=1).status_code == 200:
                    break
            except httpx.HTTPError:
                assert process.poll() is None
            time.sleep(0.1)
        yield url
    finally:
        process.terminate()
        process.wait()


def answer(url: str, file: bytes) -> tuple[int, list[int], list[float]]:
    """Return the prompt's tokens, and of an answer's last token its bytes and the likeliest ones' logprobs.

    Of tokens that are parts of characters llama-server tells no logprobs.
    """
    data = base64.b64encode(file).decode()
    parts: list[Any] = [
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}},
        {"type": "text", "text": "the cat and the dog"},
    ]
    body = {
        "messages": [{"role": "user", "content": parts}],
        "max_tokens": 4,
        "temperature": 0,
        "ignore_eos": True,
        "logprobs": True,
        "top_logprobs": 10,
    }
    reply = httpx.post(f"{url}/v1/chat/completions", json=body, timeout=60)
    assert reply.status_code == 200, reply.text
    made = reply.json()
    tops = made["choices"][0]["logprobs"]["content"][-1]["top_logprobs"]
    return made["usage"]["prompt_tokens"], tops[0]["bytes"], [float(top["logprob"]) for top in tops]


@pytest.mark.parametrize("way", ["gemma3", "qwen2vl"])
def test_logprobs_are_llama_servers(way: Way, tmp_path: Path) -> None:
    """Sizes that are scaled, cut or filled up before the projector, as each has it.

    Not of LLaVA's: that model's answer ends inside a character.
    """
    model = write_text_model(tmp_path / "pico.gguf", way)
    eyes = write_projector(tmp_path / "eyes.gguf", way)
    files = [encoded(fields(*size)) for size in ((60, 40), (31, 77), (120, 90))]
    with their_server(model, eyes) as url:
        wanted = [answer(url, file) for file in files]
    options = (str(model), "--mmproj", str(eyes), "--parallel", "1", "--ctx", "1024", "--threads", "1")
    with serving(*options, env=environment(tmp_path), log=tmp_path / "log") as server:
        found = [answer(server.url, file) for file in files]
    for ours, theirs in zip(found, wanted, strict=True):
        assert ours[:2] == theirs[:2]
        assert ours[2] == pytest.approx(theirs[2], abs=BOUND)
