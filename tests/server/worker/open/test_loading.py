from __future__ import annotations

import logging
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from models.doctor.tiny_model import TinyModel, write_tiny_gguf
from models.errors import ModelLoadError, RpcServerError
from models.gguf.info import GGUFInfo, read_gguf_info
from models.gguf.reader import GGUFTensor
from models.llamacpp import library
from models.machine.device import Device
from models.machine.host_memory import Memory
from models.rpc.probe import RpcServer
from server.ipc.model_spec import ModelSpec
from server.placement import place
from server.placement.placement import Placement
from server.serve_options import ServeOptions
from server.worker.open import loading
from server.worker.open.loading import load, place_here, say_placement
from server.worker.open.servers import ask_servers, connect
from tests.server.worker.open.loaded import SilentListener

PLENTY = 2**40


@pytest.fixture(scope="module")
def info(pico_path: Path) -> GGUFInfo:
    return read_gguf_info(pico_path)


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without a GPU and with much memory."""
    monkeypatch.setattr(library, "devices", list)
    monkeypatch.setattr(loading, "memory", lambda: Memory(PLENTY, PLENTY))


def placed(info: GGUFInfo, **options: Any) -> Placement:
    found = place_here(ModelSpec(name="pico", path=str(info.path), options=ServeOptions(**options)), info)
    say_placement("pico", info, found)
    return found


def test_the_context_is_the_models_own_unless_chosen(
    info: GGUFInfo, caplog: pytest.LogCaptureFixture
) -> None:
    assert (placed(info).n_ctx, placed(info).gpu_layers) == (512, 0)
    assert placed(info, ctx=100).n_ctx == 100
    assert not caplog.text


def test_a_chosen_context_beyond_training_is_kept_and_said(
    info: GGUFInfo, caplog: pytest.LogCaptureFixture
) -> None:
    assert placed(info, ctx=1000).n_ctx == 1000
    assert "trained for 512" in caplog.text


def test_want_of_memory_halves_an_unchosen_context_and_says_so(
    info: GGUFInfo, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(place, "CTX_MIN", 64)
    monkeypatch.setattr(loading, "memory", lambda: Memory(PLENTY, 2**24))
    caplog.set_level(logging.WARNING)
    found = placed(info, parallel=64)
    assert (found.n_stream, found.n_ctx) == (256, 512)  # one request may have more than its part
    assert "doesn't fit" in caplog.text


def test_a_pool_that_is_shorter_than_what_the_model_was_trained_for_is_said(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    info = read_gguf_info(write_tiny_gguf(tmp_path / "long.gguf", TinyModel(n_ctx_train=1 << 20)))
    monkeypatch.setattr(loading, "memory", lambda: Memory(PLENTY, 2 * 2**30))
    caplog.set_level(logging.WARNING)
    n_ctx = placed(info).n_ctx
    assert 32_768 <= n_ctx < 1 << 20
    assert f"is {n_ctx} tokens, not the {1 << 20} it was trained for" in caplog.text


def test_gpu_layers_are_planned_on_auto_and_else_used_as_they_are(
    info: GGUFInfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu = Device("GPU0", "a large one", "gpu", 2**34, 2**34)
    monkeypatch.setattr(library, "devices", lambda: [gpu])
    assert placed(info).gpu_layers == 3
    assert placed(info, gpu_layers=1).gpu_layers == 1
    monkeypatch.setattr(library, "devices", lambda: [Device("CPU", "", "cpu", 2**34, 2**34)])
    assert placed(info).gpu_layers == 0


def test_experts_that_stay_on_the_cpu_are_told(
    info: GGUFInfo, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    experts = [
        GGUFTensor(f"blk.1.ffn_{part}_exps.weight", (256, 256, 8), "Q4_K", 0, 2**30)
        for part in ("gate", "up", "down")
    ]
    mixture = replace(info, tensors=(*info.tensors, *experts))
    caplog.set_level(logging.INFO)
    for free_gib, said in (
        (8.0, ""),
        (3.5, "the experts of 1 of 2 layers of pico, 3.0 GiB, stay on the CPU, and all else is on the GPU"),
    ):
        device = Device("GPU0", "a card", "gpu", PLENTY, int(free_gib * 2**30))
        monkeypatch.setattr(library, "devices", lambda device=device: [device])
        found = placed(mixture)
        assert (found.gpu_layers, bool(found.cpu_experts)) == (3, bool(said))
        assert (said in caplog.text) if said else not caplog.text
    placed(mixture, gpu_layers=2)
    assert "stay on the CPU, and 2 layers are on the GPU; see --n-cpu-moe" in caplog.text


def test_servers_are_asked_before_anything_is_loaded(info: GGUFInfo) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
    spec = ModelSpec(name="pico", path=str(info.path), options=ServeOptions(split=(address,)))
    with pytest.raises(RpcServerError, match=f"the server {address} can't be reached"):
        load(spec, lambda _: None, SilentListener())
    with pytest.raises(ModelLoadError, match="--gpu-layers is 0"):
        ask_servers(ServeOptions(split=(address,), gpu_layers=0))
    assert ask_servers(ServeOptions(gpu_layers=0)) == ()


def test_layers_for_which_servers_have_no_room_are_refused(info: GGUFInfo) -> None:
    small, large = (RpcServer("127.0.0.1:1", (n_bytes,)) for n_bytes in (2**20, 2**40))
    for options, words in (
        (ServeOptions(split=(small.address,)), "not even one layer fits .* which have 768 KiB for it"),
        (ServeOptions(split=(small.address,), gpu_layers=2), "2 layers don't fit"),
    ):
        spec = ModelSpec(name="pico", path=str(info.path), options=options)
        with pytest.raises(ModelLoadError, match=words):
            connect((small,), place_here(spec, info, (small,)), options)
    options = ServeOptions(split=(large.address,))
    spec = ModelSpec(name="pico", path=str(info.path), options=options)
    assert place_here(spec, info, (large,)).gpu_layers == 3
    assert connect((), place_here(spec, info), options) is None
