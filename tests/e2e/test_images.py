"""Images in chats of a real server: all protocols, the second turn, what is refused, streams beside them."""

from __future__ import annotations

import base64
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from models.llamacpp.projector import is_available
from tests.e2e.running import RunningServer, environment, serving
from tests.server.images.samples import broken_files, encoded, fields
from tests.server.images.site import running_site
from tests.vision_models import write_projector, write_text_model

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.model,
    pytest.mark.skipif(not is_available(), reason="this build of llama.cpp has no libmtmd"),
]
DATA = base64.b64encode(encoded(fields())).decode()
IMAGE = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{DATA}"}}
TEXT = {"type": "text", "text": "the cat and the dog"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("seeing")
    model, eyes = (
        write_text_model(folder / "pico.gguf", "llava"),
        write_projector(folder / "eyes.gguf", "llava"),
    )
    with serving(
        *(str(model), "--mmproj", str(eyes), "--parallel", "3", "--ctx", "512", "--threads", "1"),
        "--image-hosts", "127.0.0.1", env=environment(folder) | {"no_proxy": "*"}, log=folder / "log",
    ) as running:  # fmt: skip
        yield running


def chat(server: RunningServer, messages: list[Any], **more: Any) -> httpx.Response:
    body = {"messages": messages, "max_tokens": 4, "temperature": 0, "ignore_eos": True, **more}
    return httpx.post(f"{server.url}/v1/chat/completions", json=body, timeout=60)


def test_all_protocols_see_the_same(server: RunningServer) -> None:
    talk = [{"role": "user", "content": [IMAGE, TEXT]}]
    n_prompt = chat(server, talk).json()["usage"]["prompt_tokens"]
    assert (
        n_prompt > chat(server, [{"role": "user", "content": [TEXT]}]).json()["usage"]["prompt_tokens"] + 15
    )
    source = {"type": "base64", "media_type": "image/png", "data": DATA}
    message = [{"role": "user", "content": [{"type": "image", "source": source}, TEXT]}]
    body: dict[str, Any] = {"model": "pico", "messages": message, "max_tokens": 4}
    answer = httpx.post(f"{server.url}/v1/messages", json=body, timeout=60).json()
    usage = answer["usage"]
    assert usage["input_tokens"] + usage["cache_read_input_tokens"] == n_prompt
    counted = httpx.post(f"{server.url}/v1/messages/count_tokens", json=body, timeout=60).json()
    assert counted["input_tokens"] == n_prompt
    parts = [
        {"type": "input_image", "image_url": IMAGE["image_url"]["url"]},  # type: ignore[index]  # a dict
        {"type": "input_text", "text": TEXT["text"]},
    ]
    wish = {"input": [{"role": "user", "content": parts}], "max_output_tokens": 16}
    made = httpx.post(f"{server.url}/v1/responses", json=wish, timeout=60).json()
    assert made["usage"]["input_tokens"] == n_prompt
    follow = {"input": "and so", "previous_response_id": made["id"], "max_output_tokens": 16}
    next_turn = httpx.post(f"{server.url}/v1/responses", json=follow, timeout=60).json()
    assert next_turn["usage"]["input_tokens_details"]["cached_tokens"] >= n_prompt - 1
    ollama = {
        "model": "pico",
        "messages": [{"role": "user", "content": TEXT["text"], "images": [DATA]}],
        "stream": False,
        "options": {"num_predict": 4},
    }
    told = httpx.post(f"{server.url}/api/chat", json=ollama, timeout=60).json()
    assert told["prompt_eval_count"] == n_prompt


def test_the_second_turn_finds_the_image(server: RunningServer) -> None:
    talk: list[Any] = [{"role": "user", "content": [TEXT, IMAGE, TEXT]}]
    first = chat(server, talk).json()
    talk += [
        {"role": "assistant", "content": first["choices"][0]["message"]["content"]},
        {"role": "user", "content": "and the stars"},
    ]
    second = chat(server, talk).json()
    cached = second["usage"]["prompt_tokens_details"]["cached_tokens"]
    assert cached >= first["usage"]["prompt_tokens"] - 1


def test_what_a_client_is_told(server: RunningServer) -> None:
    assert httpx.get(f"{server.url}/props").json()["modalities"] == {"vision": True, "audio": False}
    (model,) = httpx.get(f"{server.url}/v1/models").json()["data"]
    assert model["input_modalities"] == ["text", "image"]


def test_what_is_refused_names_the_part_and_the_server_goes_on(server: RunningServer) -> None:
    pids = [worker.pid for worker in server.workers()]
    for data in broken_files(15):
        url = f"data:image/png;base64,{base64.b64encode(data).decode()}"
        part = {"type": "image_url", "image_url": {"url": url}}
        refused = chat(server, [{"role": "user", "content": [TEXT, part]}])
        assert refused.status_code == 400, refused.text
        assert refused.json()["error"]["param"].startswith("messages[0].content[1]")
    elsewhere = {"type": "image_url", "image_url": {"url": "http://localhost:1/a.png"}}
    refused = chat(server, [{"role": "user", "content": [elsewhere]}])
    assert (refused.status_code, "--image-hosts" in refused.text) == (400, True)
    assert chat(server, [{"role": "user", "content": [IMAGE, TEXT]}]).status_code == 200
    assert [worker.pid for worker in server.workers()] == pids


def test_slow_hosts_hold_up_their_own_requests_alone(server: RunningServer) -> None:
    def see(url: str) -> int:
        part = {"type": "image_url", "image_url": {"url": url}}
        return chat(server, [{"role": "user", "content": [part, TEXT]}]).status_code

    data = encoded(fields(seed=9))
    n_slow = 6  # more than there are threads in any lane
    with running_site({"/a": data, "/slow": data}) as site, ThreadPoolExecutor(n_slow) as pool:
        slow = [pool.submit(see, f"{site.url}/slow") for _ in range(n_slow)]
        for _ in slow:
            assert site.waiting.acquire(timeout=60)
        assert see(f"{site.url}/a") == 200
        assert see(IMAGE["image_url"]["url"]) == 200  # type: ignore[index]  # a dict
        assert not any(each.done() for each in slow)
        site.gate.set()
        assert [each.result() for each in slow] == [200] * n_slow


def test_a_stream_goes_on_beside_images(server: RunningServer) -> None:
    stop = threading.Event()

    def see() -> None:
        seed = 10
        while not stop.is_set():
            seed += 1
            url = f"data:image/png;base64,{base64.b64encode(encoded(fields(seed=seed))).decode()}"
            part = {"type": "image_url", "image_url": {"url": url}}
            assert chat(server, [{"role": "user", "content": [part, TEXT]}]).status_code == 200

    seeing = threading.Thread(target=see)
    seeing.start()
    body = {
        "messages": [{"role": "user", "content": "the stars"}],
        "max_tokens": 300,
        "ignore_eos": True,
        "stream": True,
    }
    gaps, last = [], time.monotonic()
    with httpx.stream("POST", f"{server.url}/v1/chat/completions", json=body, timeout=60) as answer:
        for line in answer.iter_lines():
            if line.startswith("data: {"):
                now = time.monotonic()
                gaps.append(now - last)
                last = now
    stop.set()
    seeing.join()
    print(f"gaps beside images: {len(gaps)}, longest {max(gaps[1:]) * 1e3:.0f} ms")
    assert len(gaps) > 5
    assert max(gaps[1:]) < 5
