from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from models.adapter_reference import AdapterRef
from models.doctor.tiny_model import write_tiny_gguf
from models.gguf.adapter_info import read_adapter_info
from models.gguf.info import GGUFInfo, read_gguf_info
from models.machine.device import Device
from models.machine.fit import GIB
from models.machine.host_memory import Memory
from server.ipc.model_spec import AdapterSpec, ModelSpec
from server.kernels.outlook import LIBRARY_VARIABLE, expects_panels
from server.placement.facts import FreeMemory
from server.placement.place import PROMPT_SIDE_SPARE_BYTES, place
from server.placement.placement import Placement
from server.placement.read_facts import read_facts
from server.serve_options import ServeOptions
from server.supervisor import memory_check
from server.supervisor.adapters.registry import AdapterRegistry
from server.supervisor.catalogue import Catalogue, CatalogueEntry
from server.supervisor.memory_check import need
from server.supervisor.supervisor import Supervisor
from tests.adapter_gguf import adapter_tensors, write_adapter_gguf
from tests.matrix_kernels import built_library
from tests.quantize.quantize_folder import quantize_folder

ADAPTER_BYTES = 123_456_789
PLENTY = 64 * GIB


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_gguf(tmp_path_factory.mktemp("memory") / "tiny.gguf")


@pytest.fixture(scope="module")
def info(path: Path) -> GGUFInfo:
    return read_gguf_info(path)


@pytest.fixture
def spec(path: Path) -> ModelSpec:
    return ModelSpec(name="tiny", path=str(path), options=ServeOptions(ctx=1024, gpu_layers=0))


@pytest.fixture
def adapter(tmp_path: Path) -> AdapterSpec:
    file = tmp_path / "adapter.gguf"
    with file.open("wb") as stream:
        stream.truncate(ADAPTER_BYTES)
    return AdapterSpec(id=0, path=str(file))


async def fits(spec: ModelSpec) -> bool:
    return (await need(spec)).fits


def with_options(spec: ModelSpec, **options: Any) -> ModelSpec:
    return msgspec.structs.replace(spec, options=replace(spec.options, **options))


def with_free(monkeypatch: pytest.MonkeyPatch, available_bytes: int) -> None:
    monkeypatch.setattr(memory_check, "memory", lambda: Memory(PLENTY, available_bytes))


def with_devices(monkeypatch: pytest.MonkeyPatch, *devices: Device) -> None:
    monkeypatch.setattr(memory_check, "probe_devices", lambda _timeout_s: (list(devices), []))


def placed(info: GGUFInfo, spec: ModelSpec) -> Placement:
    return place(read_facts(spec, info), spec.options, FreeMemory(PLENTY))


async def test_fits_counts_all_of_it(
    info: GGUFInfo, spec: ModelSpec, adapter: AdapterSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    least = placed(info, spec).model.total
    with_free(monkeypatch, least)
    assert await fits(spec)  # without its prompt side, for which there is no room
    with_free(monkeypatch, least - 1)
    assert await fits(spec)  # with fewer cells than all requests together could fill
    assert memory_check.place_now(spec).n_cells < placed(info, spec).n_cells
    one = with_options(spec, parallel=1)
    least = placed(info, one).model.total
    with_free(monkeypatch, least)
    assert await fits(one)
    with_free(monkeypatch, least - 1)
    assert not await fits(one)
    adapted = msgspec.structs.replace(one, adapters=(adapter,))
    with_free(monkeypatch, least + ADAPTER_BYTES)
    assert await fits(adapted)
    with_free(monkeypatch, least + ADAPTER_BYTES - 1)
    assert not await fits(adapted)


async def test_a_prompt_side_without_room_is_not_opened_and_is_no_reason_to_unload_others(
    info: GGUFInfo, spec: ModelSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cache larger than the weights and the spare room: the worker asks `place` too, and leaves it."""
    large = with_options(spec, ctx=1 << 20)
    needs = placed(info, large).model
    assert needs.kv > needs.weights + PROMPT_SIDE_SPARE_BYTES
    with_free(monkeypatch, needs.total + needs.weights + PROMPT_SIDE_SPARE_BYTES)
    assert memory_check.place_now(large).prompt_side == 0
    assert await fits(large)


async def test_a_context_that_would_be_reduced_does_not_fit(
    info: GGUFInfo, spec: ModelSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = with_options(spec, ctx=None)
    least = placed(info, own).model.total
    with_free(monkeypatch, least)
    assert await fits(own)
    with_free(monkeypatch, least - 1)
    assert not await fits(own)


async def test_all_wanted_layers_must_fit_the_gpu(
    info: GGUFInfo, spec: ModelSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_free(monkeypatch, PLENTY)
    for free_bytes, gpu_layers, expected in [
        (8 * GIB, "auto", True),
        (GIB // 2, "auto", False),
        (GIB // 2, 1, False),
        (GIB // 2, 0, True),
    ]:
        with_devices(monkeypatch, Device("GPU0", "x", "gpu", 8 * GIB, free_bytes))
        assert await fits(with_options(spec, gpu_layers=gpu_layers)) is expected
    with_devices(monkeypatch)
    assert await fits(with_options(spec, gpu_layers=5))


async def test_servers_of_a_split_model_are_not_asked_and_taken_to_have_room(
    info: GGUFInfo, spec: ModelSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    split = with_options(spec, gpu_layers="auto", split=("127.0.0.1:1",))
    with_free(monkeypatch, PLENTY)
    found = await need(split)
    assert found.fits
    needs = placed(info, spec).model
    assert found.needed_bytes < needs.total - sum(needs.layer_kv)


async def test_what_cannot_be_judged_fits(spec: ModelSpec, tmp_path: Path) -> None:
    bad = tmp_path / "bad.gguf"
    bad.write_bytes(b"no model")
    assert await fits(msgspec.structs.replace(spec, path=str(bad)))


def supervisor_of(spec: ModelSpec, adapters: Sequence[Path]) -> Supervisor:
    path = Path(spec.path)
    registry = AdapterRegistry()
    for file in adapters:
        adapter = read_adapter_info(file, read_gguf_info(path))
        registry.add("tiny", AdapterRef(file, file.stem), adapter, 1, visible=True)
    entry = CatalogueEntry("tiny", path, None, path.stat().st_size, 1)
    return Supervisor(Catalogue([entry]), lambda _: spec, adapter_registry=registry)


def anonymous_bytes(pid: int) -> int:
    """What a process has allocated and touched."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    [kib] = [line.split()[1] for line in lines if line.startswith("Anonymous:")]
    return int(kib) * 1024


async def taken_bytes(spec: ModelSpec, adapters: Sequence[Path] = ()) -> int:
    """By a real worker that is ready."""
    supervisor = supervisor_of(spec, adapters)
    supervisor.start()
    try:
        await supervisor.wait_ready()
        [pid] = supervisor.pids.values()
        return anonymous_bytes(pid)
    finally:
        await supervisor.stop(1.0)


@pytest.mark.model
@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="the system doesn't tell")
async def test_a_real_worker_takes_what_was_counted(info: GGUFInfo, spec: ModelSpec, tmp_path: Path) -> None:
    alone = with_options(spec, ctx=16_384, parallel=4, n_ubatch=64, threads=1, prompt_side="off")
    sided = with_options(alone, prompt_side="on")
    adapter = write_adapter_gguf(tmp_path / "adapter.gguf", adapter_tensors(rank=1024))
    alone_bytes = await taken_bytes(alone)
    side_bytes = await taken_bytes(sided) - alone_bytes
    adapter_bytes = await taken_bytes(alone, [adapter]) - alone_bytes

    moved = placed(info, alone).model.kv // alone.options.parallel  # no state has moved yet
    counted = placed(info, sided).prompt_side - moved
    assert side_bytes == pytest.approx(counted, rel=0.15)
    assert adapter_bytes == pytest.approx(adapter.stat().st_size, rel=0.15)


@pytest.mark.model
@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="the system doesn't tell")
async def test_beside_our_matrix_kernels_a_real_worker_has_no_prompt_side_and_none_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(LIBRARY_VARIABLE, str(built_library()))
    [file] = quantize_folder("demo", ["Q4_K_M"], tmp_path)
    options = ServeOptions(ctx=16_384, parallel=4, n_ubatch=64, threads=1, prompt_side="auto")
    spec, info = ModelSpec(name="demo", path=str(file.path), options=options), read_gguf_info(file.path)
    if not expects_panels(info, options):
        pytest.skip("this CPU has no instruction set that is used by itself")
    side_bytes = placed(info, with_options(spec, kernels="off")).prompt_side
    assert placed(info, spec).prompt_side == 0 < side_bytes
    spared_bytes = await taken_bytes(with_options(spec, prompt_side="on")) - await taken_bytes(spec)
    moved = placed(info, spec).model.kv // options.parallel  # no state has moved yet
    assert spared_bytes == pytest.approx(side_bytes - moved, rel=0.15)
