from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from models.adapter_reference import AdapterRef
from models.doctor.tiny_model import TinyModel, write_tiny_gguf
from models.errors import ContextError
from models.gguf.adapter_info import read_adapter_info
from models.gguf.info import GGUFInfo, read_gguf_info
from models.machine.fit import GIB
from models.machine.host_memory import Memory
from server.ipc.model_spec import AdapterSpec, ModelSpec
from server.supervisor import memory
from server.supervisor.adapter_registry import AdapterShelf
from server.supervisor.catalogue import Catalogue, CatalogueEntry
from server.supervisor.memory import PROMPT_SIDE_SPARE_BYTES, fits, memory_of, needs_of
from server.supervisor.supervisor import Supervisor
from tests.adapter_gguf import adapter_tensors, write_adapter_gguf

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
    return ModelSpec(name="tiny", path=str(path), n_ctx=1024, n_gpu_layers=0)


@pytest.fixture
def adapter(tmp_path: Path) -> AdapterSpec:
    file = tmp_path / "adapter.gguf"
    with file.open("wb") as stream:
        stream.truncate(ADAPTER_BYTES)
    return AdapterSpec(id=0, path=str(file))


def with_free(monkeypatch: pytest.MonkeyPatch, available_bytes: int) -> None:
    monkeypatch.setattr(memory, "memory", lambda: Memory(PLENTY, available_bytes))


def test_adapters_count_with_their_files(info: GGUFInfo, spec: ModelSpec, adapter: AdapterSpec) -> None:
    gone = AdapterSpec(id=1, path=f"{adapter.path}.gone")
    taken = memory_of(info, msgspec.structs.replace(spec, adapters=(adapter, gone)), PLENTY)
    assert taken.adapters == ADAPTER_BYTES
    assert taken.beside - memory_of(info, spec, PLENTY).beside == ADAPTER_BYTES


def test_the_draft_model_counts(info: GGUFInfo, spec: ModelSpec, tmp_path: Path) -> None:
    draft = write_tiny_gguf(tmp_path / "draft.gguf", TinyModel(n_layer=1))
    drafted = msgspec.structs.replace(spec, draft_path=str(draft))
    alone = msgspec.structs.replace(spec, path=str(draft))
    assert memory_of(info, drafted, PLENTY).draft == needs_of(read_gguf_info(draft), alone).total
    assert memory_of(info, spec, PLENTY).draft == 0


def test_the_prompt_side_counts_where_the_worker_opens_one(info: GGUFInfo, spec: ModelSpec) -> None:
    needs = needs_of(info, spec)
    once = needs.kv + needs.compute + needs.output
    assert memory_of(info, spec, PLENTY).prompt_side == once + needs.kv // spec.n_parallel
    least = needs.total + needs.weights + PROMPT_SIDE_SPARE_BYTES
    assert memory_of(info, spec, least).prompt_side > 0
    assert memory_of(info, spec, least - 1).prompt_side == 0
    off = msgspec.structs.replace(spec, prompt_side="off")
    unified = msgspec.structs.replace(spec, kv_unified=True)
    assert [memory_of(info, one, PLENTY).prompt_side for one in (off, unified)] == [0, 0]
    assert memory_of(info, spec, PLENTY, n_gpu_layers=1).prompt_side == 0


@pytest.mark.parametrize("key", ["attention.sliding_window", "ssm.state_size"])
def test_no_prompt_side_for_memory_that_forgets(info: GGUFInfo, spec: ModelSpec, key: str) -> None:
    forgetful = replace(info, metadata={**info.metadata, f"{info.architecture}.{key}": 16})
    assert memory_of(forgetful, spec, PLENTY).prompt_side == 0


def test_the_wider_of_two_cache_types_counts(info: GGUFInfo, spec: ModelSpec) -> None:
    wide = needs_of(info, spec).kv
    assert needs_of(info, msgspec.structs.replace(spec, type_k="q8_0")).kv == wide
    assert needs_of(info, msgspec.structs.replace(spec, type_k="q8_0", type_v="q8_0")).kv < wide
    with pytest.raises(ContextError, match="f12"):
        needs_of(info, msgspec.structs.replace(spec, type_v="f12"))


async def test_fits_counts_all_of_it(
    info: GGUFInfo, spec: ModelSpec, adapter: AdapterSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    least = needs_of(info, spec).total
    with_free(monkeypatch, least)
    assert await fits(spec)  # without its prompt side, for which there is no room
    with_free(monkeypatch, least - 1)
    assert not await fits(spec)
    adapted = msgspec.structs.replace(spec, adapters=(adapter,))
    with_free(monkeypatch, least + ADAPTER_BYTES)
    assert await fits(adapted)
    with_free(monkeypatch, least + ADAPTER_BYTES - 1)
    assert not await fits(adapted)


async def test_a_prompt_side_that_would_be_opened_must_fit(
    info: GGUFInfo, spec: ModelSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cache larger than the room that the worker asks for: it would open the side and run out."""
    large = msgspec.structs.replace(spec, n_ctx=1 << 20)
    needs = needs_of(info, large)
    with_free(monkeypatch, needs.total + needs.weights + PROMPT_SIDE_SPARE_BYTES)
    assert needs.kv > PROMPT_SIDE_SPARE_BYTES
    assert not await fits(large)
    assert await fits(msgspec.structs.replace(large, prompt_side="off"))


async def test_what_cannot_be_judged_fits(spec: ModelSpec, tmp_path: Path) -> None:
    bad = tmp_path / "bad.gguf"
    bad.write_bytes(b"no model")
    assert await fits(msgspec.structs.replace(spec, path=str(bad)))


def supervisor_of(spec: ModelSpec, adapters: Sequence[Path]) -> Supervisor:
    path = Path(spec.path)
    shelf = AdapterShelf()
    for file in adapters:
        adapter = read_adapter_info(file, read_gguf_info(path))
        shelf.add("tiny", AdapterRef(file, file.stem), adapter, 1, visible=True)
    entry = CatalogueEntry("tiny", path, None, path.stat().st_size, 1)
    return Supervisor(Catalogue([entry]), lambda _: spec, shelf=shelf)


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
    alone = msgspec.structs.replace(
        spec, n_ctx=16_384, n_parallel=4, n_ubatch=64, n_threads=1, prompt_side="off"
    )
    sided = msgspec.structs.replace(alone, prompt_side="on")
    adapter = write_adapter_gguf(tmp_path / "adapter.gguf", adapter_tensors(rank=1024))
    alone_bytes = await taken_bytes(alone)
    side_bytes = await taken_bytes(sided) - alone_bytes
    adapter_bytes = await taken_bytes(alone, [adapter]) - alone_bytes

    moved = needs_of(info, alone).kv // alone.n_parallel  # no state has moved yet
    counted = memory_of(info, sided, PLENTY).prompt_side - moved
    assert side_bytes == pytest.approx(counted, rel=0.15)
    assert adapter_bytes == pytest.approx(adapter.stat().st_size, rel=0.15)


def test_the_room_is_what_the_worker_asks_for() -> None:
    from server.worker.run import prefill_context

    assert prefill_context._SPARE_BYTES == PROMPT_SIDE_SPARE_BYTES
