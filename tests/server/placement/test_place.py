from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.doctor.tiny_model import TinyModel, write_tiny_gguf
from models.errors import ContextError
from models.gguf.info import GGUFInfo, read_gguf_info
from models.gguf.reader import GGUFTensor
from models.llamacpp import library
from models.machine.device import Device
from models.machine.fit import GIB, MIB
from models.machine.host_memory import Memory
from server.cli.models.model_rows import fit_of_info
from server.ipc.model_spec import AdapterSpec, ModelSpec
from server.placement.facts import FreeMemory, ModelFacts
from server.placement.place import CTX_MIN, GPU_MARGIN_BYTES, PROMPT_SIDE_SPARE_BYTES, estimate_at, place
from server.placement.placement import Placement
from server.serve_options import KVType, ServeOptions
from server.supervisor import memory_check
from server.worker.open import loading
from tests.memory_models import write_windowed_gguf

PLENTY = FreeMemory(64 * GIB)
KV_TYPES: tuple[KVType, ...] = get_args(KVType)
OPTIONS = ServeOptions(ctx=1024)


@pytest.fixture(scope="module")
def info(tmp_path_factory: pytest.TempPathFactory) -> GGUFInfo:
    return read_gguf_info(write_tiny_gguf(tmp_path_factory.mktemp("placement") / "tiny.gguf"))


@pytest.fixture(scope="module")
def draft(tmp_path_factory: pytest.TempPathFactory) -> GGUFInfo:
    path = tmp_path_factory.mktemp("placement") / "draft.gguf"
    return read_gguf_info(write_tiny_gguf(path, TinyModel(n_layer=1)))


@pytest.fixture
def facts(info: GGUFInfo) -> ModelFacts:
    return ModelFacts(info)


def trained_for(info: GGUFInfo, n_ctx: int) -> ModelFacts:
    return ModelFacts(replace(info, metadata={**info.metadata, f"{info.architecture}.context_length": n_ctx}))


def gpu(free_bytes: int) -> Device:
    return Device("GPU0", "a card", "gpu", 80 * GIB, free_bytes)


# --- context --------------------------------------------------------------------------------------


ROOMY = FreeMemory(2**50)


@pytest.mark.parametrize("trained", [300, 2048, 131_072, 1_048_576])
def test_the_context_is_what_the_model_was_trained_for(info: GGUFInfo, trained: int) -> None:
    placement = place(trained_for(info, trained), ServeOptions(), ROOMY)
    assert (placement.n_ctx, placement.n_ctx_wanted) == (trained, trained)
    assert placement.fits_as_wanted
    assert placement.n_cells >= max(trained, 8 * min(trained, 4096))


def test_a_header_that_says_nothing_gives_each_request_4096(info: GGUFInfo) -> None:
    silent = replace(info, metadata={k: v for k, v in info.metadata.items() if "context_length" not in k})
    placement = place(ModelFacts(silent), ServeOptions(), ROOMY)
    assert (placement.n_ctx, placement.n_stream, placement.layout) == (4096, 4096, "streams")


def test_cells_are_counted_for_all_requests_in_units_of_256(facts: ModelFacts) -> None:
    assert place(facts, ServeOptions(ctx=300, parallel=3), PLENTY).n_cells == 3 * 512


def test_one_request_may_have_all_cells_of_a_pool_that_memory_bounds(info: GGUFInfo) -> None:
    facts = trained_for(info, 131_072)
    base = place(replace(facts, n_ctx_told=32_768), ServeOptions(), ROOMY)
    tight = place(facts, ServeOptions(), FreeMemory(base.verdict.needed_bytes))
    assert (tight.n_ctx, tight.n_cells, tight.layout) == (32_768, 32_768, "by_need")
    assert tight.fits_as_wanted
    # Growing leaves a spare for others, and costs nothing that makes the model slower.
    spare = base.verdict.needed_bytes + 2 * GIB
    grown = place(facts, ServeOptions(), FreeMemory(spare))
    assert grown.n_ctx == grown.n_cells > 32_768 or grown.n_ctx == 131_072
    assert grown.verdict.needed_bytes + (1 << 30) <= spare


def test_cells_that_do_not_fit_are_halved(info: GGUFInfo) -> None:
    facts = trained_for(info, 4096)
    half = estimate_at(2048, info, ServeOptions(), kv_unified=True).total
    placement = place(facts, ServeOptions(), FreeMemory(half))
    assert (placement.n_stream, placement.n_ctx, placement.n_ctx_wanted) == (2048, 4096, 4096)
    assert placement.verdict.fits
    assert not placement.wanted_verdict.fits
    assert not placement.fits_as_wanted
    assert place(facts, ServeOptions(), FreeMemory(half - 1)).n_stream == 1024


def test_each_gets_no_less_than_512_and_a_chosen_context_is_kept(info: GGUFInfo) -> None:
    nothing = FreeMemory(0)
    least = place(trained_for(info, 4096), ServeOptions(), nothing)
    assert (least.n_stream, least.n_ctx, least.verdict.fits) == (CTX_MIN, 4096, False)
    assert place(trained_for(info, 300), ServeOptions(), nothing).n_ctx == 300
    chosen = place(trained_for(info, 4096), ServeOptions(ctx=9999), nothing)
    assert (chosen.n_ctx, chosen.verdict.fits) == (9999, False)
    assert 9999 <= chosen.n_cells < 9999 + 8 * 256


def test_a_chosen_context_has_as_many_cells_as_fit(facts: ModelFacts) -> None:
    for_all = place(facts, ServeOptions(ctx=8192), ROOMY)
    assert (for_all.n_cells, for_all.layout) == (8 * 8192, "streams")
    fewer = place(facts, ServeOptions(ctx=8192), FreeMemory(for_all.verdict.needed_bytes - 1))
    assert 8192 <= fewer.n_cells < 8 * 8192
    assert (fewer.n_ctx, fewer.layout, fewer.fits_as_wanted) == (8192, "by_need", True)


def test_no_context_longer_than_clients_were_told(info: GGUFInfo) -> None:
    told = replace(trained_for(info, 131_072), n_ctx_told=40_000)
    assert place(told, ServeOptions(), ROOMY).n_ctx == 40_000
    assert place(told, ServeOptions(ctx=50_000), ROOMY).n_ctx == 50_000


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("ssm.state_size", 16, "unified"),
        ("shortconv.l_cache", 3, "unified"),
        ("rope.scaling.original_context_length", 16_384, "unified"),
        ("rope.scaling.original_context_length", 4096, "by_need"),
        ("attention.sliding_window", 512, "by_need"),
        ("attention.relative_buckets_count", 32, "streams"),
    ],
)
def test_models_whose_states_fit_one_layout_have_one(
    info: GGUFInfo, key: str, value: int, expected: str
) -> None:
    metadata = {**trained_for(info, 131_072).model.metadata, f"{info.architecture}.{key}": value}  # type: ignore[attr-defined]
    facts = ModelFacts(replace(info, metadata=metadata))
    assert place(facts, ServeOptions(), ROOMY).layout == expected


@pytest.fixture(scope="module")
def windowed(tmp_path_factory: pytest.TempPathFactory) -> ModelFacts:
    """A model three of whose four layers have a window, trained for 131,072 tokens."""
    path = tmp_path_factory.mktemp("placement") / "window.gguf"
    return ModelFacts(read_gguf_info(write_windowed_gguf(path, n_window=512, n_ctx_train=131_072)))


def test_windows_keep_all_cells_only_where_memory_has_them(windowed: ModelFacts) -> None:
    roomy = place(windowed, ServeOptions(), ROOMY)
    assert (roomy.n_ctx, roomy.swa_full) == (131_072, True)
    needed = estimate_at(131_072 // 8, windowed.model, ServeOptions(), kv_unified=True, swa_full=False)
    tight = FreeMemory(needed.total + (1 << 30))
    short, whole = (place(windowed, ServeOptions(swa_full=full), tight) for full in (False, True))
    assert (short.n_ctx, short.swa_full) == (131_072, False)
    assert whole.swa_full
    assert whole.n_ctx < short.n_ctx
    assert short.verdict.fits
    assert short.model.kv < roomy.model.kv / 2
    # An image attends to all of itself, also to what is beyond a window's cells.
    seeing = place(replace(windowed, projector_bytes=1 << 20), ServeOptions(), tight)
    assert seeing.swa_full
    # A chosen context has cells for all requests.
    options = ServeOptions(ctx=131_072, parallel=2)
    needed = estimate_at(131_072, windowed.model, options, kv_unified=False, swa_full=False)
    chosen = place(windowed, options, FreeMemory(needed.total))
    assert (chosen.n_cells, chosen.layout, chosen.swa_full) == (2 * 131_072, "streams", False)


def test_windows_bring_layers_to_a_gpu(windowed: ModelFacts) -> None:
    roomy = place(windowed, ServeOptions(ctx=65_536), FreeMemory(64 * GIB, [gpu(64 * GIB)]))
    assert roomy.swa_full
    assert roomy.is_all_on_gpu
    small = gpu(GPU_MARGIN_BYTES + roomy.model.compute + roomy.model.total // 2)
    placement = place(windowed, ServeOptions(ctx=65_536), FreeMemory(64 * GIB, [small]))
    assert placement.is_all_on_gpu
    assert not placement.swa_full


def test_models_without_windows_have_none_to_keep(info: GGUFInfo) -> None:
    assert place(trained_for(info, 131_072), ServeOptions(), FreeMemory(2 * GIB)).swa_full


def test_a_longer_context_takes_no_layer_from_a_gpu(info: GGUFInfo) -> None:
    facts = trained_for(info, 1 << 20)
    cards = [FreeMemory(64 * GIB, [gpu(n * 64 * MIB + GPU_MARGIN_BYTES)]) for n in range(1, 32)]
    for card in cards:
        short = place(replace(facts, n_ctx_told=32_768), ServeOptions(), card)
        assert place(facts, ServeOptions(), card).gpu_layers >= short.gpu_layers


# --- bytes ----------------------------------------------------------------------------------------


def test_keys_and_values_are_counted_each_in_its_type(facts: ModelFacts) -> None:
    """`--type-k q4_0 --type-v f16` was estimated 3.6 times too small by workers."""

    def kv(type_k: KVType, type_v: KVType) -> int:
        return place(facts, replace(OPTIONS, type_k=type_k, type_v=type_v), PLENTY).model.kv

    assert kv("q4_0", "f16") == (kv("q4_0", "q4_0") + kv("f16", "f16")) // 2
    assert kv("q4_0", "f16") == kv("f16", "q4_0")
    assert kv("f16", "f16") / kv("q4_0", "q4_0") == pytest.approx(3.56, abs=0.01)
    with pytest.raises(ContextError, match="f12"):
        kv("f16", "f12")  # type: ignore[arg-type]


def test_a_mixed_cache_of_a_worker_is_large_enough_to_halve_its_context(info: GGUFInfo) -> None:
    facts, mixed = trained_for(info, 4096), ServeOptions(type_k="q4_0", type_v="f16", parallel=256)
    small = place(facts, replace(mixed, type_v="q4_0"), PLENTY).model.total
    assert place(facts, mixed, FreeMemory(small)).n_stream < 4096


def test_without_flash_attention_computing_takes_more(info: GGUFInfo) -> None:
    long = ServeOptions(ctx=16_384)
    with_flash, auto, without = (
        place(ModelFacts(info), replace(long, flash_attn=choice), PLENTY).model.compute
        for choice in ("on", "auto", "off")
    )
    assert with_flash == auto < without


def test_adapters_count(facts: ModelFacts) -> None:
    least = place(facts, OPTIONS, PLENTY).model.total
    adapted = replace(facts, adapter_bytes=12_345)
    assert place(adapted, OPTIONS, PLENTY).adapters == 12_345
    assert place(adapted, OPTIONS, FreeMemory(least + 12_345)).n_stream == 1024
    assert place(adapted, OPTIONS, FreeMemory(least + 12_344)).n_stream < 1024


def test_the_draft_model_counts_with_a_cache_for_as_many_tokens(facts: ModelFacts, draft: GGUFInfo) -> None:
    for options in (OPTIONS, replace(OPTIONS, flash_attn="off", type_k="q8_0", ctx=8192)):
        drafted = place(replace(facts, draft=draft), options, PLENTY)
        alone = place(ModelFacts(draft), replace(options, kv_unified=True), PLENTY)
        assert drafted.draft == alone.model.total
        needed = drafted.model.total + drafted.draft
        assert drafted.verdict.needed_bytes == needed
        tight = place(replace(facts, draft=draft), options, FreeMemory(needed - 1))
        assert tight.n_stream < drafted.n_stream
    assert place(facts, OPTIONS, PLENTY).draft == 0


def test_bytes_of_a_token_in_the_cache(facts: ModelFacts, info: GGUFInfo) -> None:
    placement = place(facts, OPTIONS, PLENTY)
    assert placement.kv_bytes_per_token == 2 * 2 * 128 * 2  # layers, K and V, width, bytes of f16


# --- prompt side ----------------------------------------------------------------------------------


def test_the_prompt_side_counts_where_the_worker_opens_one(facts: ModelFacts) -> None:
    placement = place(facts, OPTIONS, PLENTY)
    needs = placement.model
    once = needs.kv + needs.compute + needs.output
    assert placement.prompt_side == once + needs.kv // OPTIONS.parallel
    least = needs.total + needs.weights + PROMPT_SIDE_SPARE_BYTES
    assert place(facts, OPTIONS, FreeMemory(least)).prompt_side > 0
    assert place(facts, OPTIONS, FreeMemory(least - 1)).prompt_side == 0
    adapted = replace(facts, adapter_bytes=1)
    assert place(adapted, OPTIONS, FreeMemory(least)).prompt_side == 0


def test_no_prompt_side_that_is_off_shared_or_beside_a_gpu(facts: ModelFacts) -> None:
    off, unified = replace(OPTIONS, prompt_side="off"), replace(OPTIONS, kv_unified=True)
    assert [place(facts, one, PLENTY).prompt_side for one in (off, unified)] == [0, 0]
    assert place(facts, OPTIONS, FreeMemory(64 * GIB, [gpu(8 * GIB)])).prompt_side == 0


def test_beside_our_matrix_kernels_a_prompt_side_counts_only_where_it_is_asked_for(
    info: GGUFInfo, facts: ModelFacts
) -> None:
    beside = replace(facts, in_panels=True)
    assert place(beside, OPTIONS, PLENTY).prompt_side == 0
    assert place(beside, replace(OPTIONS, prompt_side="on"), PLENTY) == place(
        facts, replace(OPTIONS, prompt_side="on"), PLENTY
    )
    large = trained_for(info, 1 << 20)
    with_side = place(large, ServeOptions(), FreeMemory(4 * GIB))
    without = place(replace(large, in_panels=True), ServeOptions(), FreeMemory(4 * GIB))
    assert with_side.prompt_side > 0 == without.prompt_side
    assert without.n_ctx > with_side.n_ctx  # its room is the context's


@pytest.mark.parametrize("key", ["attention.sliding_window", "ssm.state_size"])
def test_no_prompt_side_for_memory_that_forgets(info: GGUFInfo, key: str) -> None:
    forgetful = replace(info, metadata={**info.metadata, f"{info.architecture}.{key}": 16})
    assert place(ModelFacts(forgetful), OPTIONS, PLENTY).prompt_side == 0


@pytest.mark.parametrize("key", ["attention.sliding_window", "ssm.state_size", "shortconv.l_cache"])
def test_states_to_go_back_to_have_what_is_allowed_and_a_part_of_what_is_free(
    info: GGUFInfo, facts: ModelFacts, key: str
) -> None:
    forgetful = ModelFacts(replace(info, metadata={**info.metadata, f"{info.architecture}.{key}": 16}))
    assert place(facts, OPTIONS, PLENTY).checkpoints == 0, "this one can be cut back"
    assert place(forgetful, OPTIONS, PLENTY).checkpoints == GIB
    assert place(forgetful, replace(OPTIONS, checkpoint_gib=0.5), PLENTY).checkpoints == GIB // 2
    assert place(forgetful, replace(OPTIONS, checkpoint_gib=0), PLENTY).checkpoints == 0
    needed = place(forgetful, OPTIONS, PLENTY).verdict.needed_bytes
    assert place(forgetful, OPTIONS, FreeMemory(needed + 400)).checkpoints == 100
    tight = place(forgetful, OPTIONS, FreeMemory(needed - 1))  # fewer cells, which leaves a little
    assert 0 < tight.checkpoints <= (needed - tight.verdict.needed_bytes) // 4
    assert place(forgetful, OPTIONS, FreeMemory(tight.verdict.needed_bytes // 2)).checkpoints == 0


def test_no_prompt_side_without_room_for_its_own_cache(facts: ModelFacts) -> None:
    large = replace(OPTIONS, ctx=1 << 20)
    placement = place(facts, large, FreeMemory(2**50))
    least = placement.model.total + placement.prompt_side
    assert place(facts, large, FreeMemory(least)).prompt_side > 0
    without = place(facts, large, FreeMemory(least - 1))
    assert (without.prompt_side, without.verdict.fits) == (0, True)


# --- GPU ------------------------------------------------------------------------------------------


def test_layers_on_a_gpu(facts: ModelFacts, draft: GGUFInfo) -> None:
    roomy, full = FreeMemory(64 * GIB, [gpu(8 * GIB)]), FreeMemory(64 * GIB, [gpu(GPU_MARGIN_BYTES)])
    everything = place(facts, OPTIONS, roomy)
    assert (everything.gpu_layers, everything.gpu_layers_fit) == (3, True)
    assert everything.verdict.needed_bytes < everything.model.total
    assert (place(facts, OPTIONS, full).gpu_layers, place(facts, OPTIONS, full).fits_as_wanted) == (0, False)
    one = place(facts, replace(OPTIONS, gpu_layers=1), full)
    assert (one.gpu_layers, one.gpu_layers_fit) == (1, False)
    assert place(facts, replace(OPTIONS, gpu_layers=99), roomy).gpu_layers_fit
    assert place(facts, replace(OPTIONS, gpu_layers=9), PLENTY).gpu_layers == 0  # there is none
    crowded = replace(facts, adapter_bytes=8 * GIB)
    assert place(crowded, OPTIONS, roomy).gpu_layers == 0


@pytest.fixture
def mixture(info: GGUFInfo) -> ModelFacts:
    """Two layers with 4 GiB of experts each."""
    experts = [
        GGUFTensor(f"blk.{layer}.ffn_{part}_exps.weight", (256, 256, 8), "Q4_K", 0, 2 * GIB)
        for layer in range(2)
        for part in ("up", "down")
    ]
    return ModelFacts(replace(info, tensors=(*info.tensors, *experts)))


def test_experts_stay_on_the_host_where_the_gpu_is_too_small_for_them(mixture: ModelFacts) -> None:
    def placed(free_gib: int, **options: Any) -> Placement:
        return place(mixture, replace(OPTIONS, **options), FreeMemory(64 * GIB, [gpu(free_gib * GIB)]))

    roomy = placed(16)
    assert (roomy.gpu_layers, roomy.cpu_experts, roomy.is_all_on_gpu) == (3, (), True)
    assert roomy.fits_as_wanted
    small = placed(8)
    assert (small.gpu_layers, small.cpu_experts, small.is_all_on_gpu) == (3, (0,), False)
    assert not small.fits_as_wanted
    assert small.verdict.needed_bytes == roomy.verdict.needed_bytes + 4 * GIB
    assert placed(4).cpu_experts == (0, 1)
    never = placed(8, n_cpu_moe=0)
    assert (never.gpu_layers, never.cpu_experts) == (2, ())
    for free_gib in (4, 16):
        assert placed(free_gib, cpu_moe=True).cpu_experts == (0, 1)
        assert placed(free_gib, cpu_moe=True).fits_as_wanted
    assert placed(16, n_cpu_moe=1).cpu_experts == (0,)
    assert placed(16, n_cpu_moe=99).cpu_experts == (0, 1)
    assert placed(16, n_cpu_moe=99, gpu_layers=2).cpu_experts == (1,)
    assert placed(4, gpu_layers=2).cpu_experts == (1,)
    assert place(mixture, replace(OPTIONS, cpu_moe=True), PLENTY).cpu_experts == ()


def test_servers_get_whole_layers_and_the_output_stays_here(mixture: ModelFacts) -> None:
    options = replace(OPTIONS, split=("127.0.0.1:50052",))
    whole = place(mixture, options, FreeMemory(64 * GIB, [gpu(16 * GIB)]))
    assert (whole.gpu_layers, whole.cpu_experts, whole.is_split) == (3, (), True)
    assert not whole.is_all_on_gpu, "our kernels compute the output"
    on_gpu = place(mixture, OPTIONS, FreeMemory(64 * GIB, [gpu(16 * GIB)]))
    needs = whole.model
    assert whole.verdict.needed_bytes == on_gpu.verdict.needed_bytes + needs.output_weights
    small = place(mixture, options, FreeMemory(64 * GIB, [gpu(8 * GIB)]))
    assert (small.gpu_layers, small.cpu_experts) == (2, ()), "no layer is in two places"


def test_a_longer_context_takes_no_experts_from_a_gpu(mixture: ModelFacts) -> None:
    info = mixture.model
    assert isinstance(info, GGUFInfo)
    facts = trained_for(info, 1 << 20)
    for free_mib in range(4096, 16_384, 256):
        card = FreeMemory(64 * GIB, [gpu(free_mib * MIB)])
        short = place(replace(facts, n_ctx_told=32_768), ServeOptions(), card)
        assert set(place(facts, ServeOptions(), card).cpu_experts) <= set(short.cpu_experts)


# --- one decision ---------------------------------------------------------------------------------


@dataclass
class Machine:
    """What the edges of the callers see."""

    available_bytes: int = 0
    devices: tuple[Device, ...] = ()


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    seen = Machine()
    with pytest.MonkeyPatch.context() as patch:
        for module in (memory_check, loading):
            patch.setattr(module, "memory", lambda: Memory(2**50, seen.available_bytes))
        patch.setattr(memory_check, "probe_devices", lambda _timeout_s: (list(seen.devices), []))
        patch.setattr(library, "devices", lambda: list(seen.devices))
        yield seen


OPTION_VALUES: dict[str, st.SearchStrategy[Any]] = {
    "ctx": st.none() | st.integers(1, 200_000),
    "parallel": st.integers(1, 256),
    "gpu_layers": st.just("auto") | st.integers(0, 5),
    "n_cpu_moe": st.just("auto") | st.integers(0, 5),
    "cpu_moe": st.booleans(),
    "n_ubatch": st.integers(1, 2048),
    "kv_unified": st.booleans(),
    "flash_attn": st.sampled_from(["auto", "on", "off"]),
    "type_k": st.sampled_from(KV_TYPES),
    "type_v": st.sampled_from(KV_TYPES),
    "prompt_side": st.sampled_from(["auto", "on", "off"]),
}
DEVICES = st.lists(
    st.builds(
        Device,
        name=st.just("X"),
        description=st.just("x"),
        type=st.sampled_from(["cpu", "gpu", "igpu", "accel"]),
        memory_total=st.just(80 * GIB),
        memory_free=st.integers(0, 2 * GIB),
    ),
    max_size=3,
)


@settings(max_examples=100, deadline=None)
@given(
    options=st.fixed_dictionaries({}, optional=OPTION_VALUES),
    available_bytes=st.integers(0, 64 * MIB) | st.integers(0, 64 * GIB),
    devices=DEVICES,
    adapter_sizes=st.lists(st.integers(0, 512 * MIB), max_size=2),
    drafted=st.booleans(),
    trained=st.sampled_from([256, 2048, 131_072]),
)
def test_worker_supervisor_and_command_line_decide_alike(
    paths: dict[int, Path],
    draft: GGUFInfo,
    machine: Machine,
    *,
    options: dict[str, Any],
    available_bytes: int,
    devices: list[Device],
    adapter_sizes: list[int],
    drafted: bool,
    trained: int,
) -> None:
    path = paths[trained]
    machine.available_bytes, machine.devices = available_bytes, tuple(devices)
    adapters = []
    for number, n_bytes in enumerate(adapter_sizes):
        file = path.with_name(f"adapter{number}")
        with file.open("wb") as stream:
            stream.truncate(n_bytes)
        adapters.append(AdapterSpec(number, str(file)))
    spec = ModelSpec(
        name="tiny",
        path=str(path),
        options=ServeOptions(**options),
        draft_path=str(draft.path) if drafted else None,
        adapters=tuple(adapters),
    )
    info = read_gguf_info(path)
    worker = loading.place_here(spec, info)
    assert memory_check.place_now(spec) == worker
    check(worker, spec.options)

    # The command line sees no adapters, draft models and devices: without them, its row says the same.
    machine.devices = ()
    alone = loading.place_here(ModelSpec(name="tiny", path=str(path), options=spec.options), info)
    row = fit_of_info(info, available_bytes, spec.options)
    assert (row["fits"], row["memory_bytes"]) == (
        alone.wanted_verdict.fits,
        alone.wanted_verdict.needed_bytes,
    )
    assert row["fits"] == alone.fits_as_wanted
    assert row["prompt_side_bytes"] == (alone.prompt_side if alone.fits_as_wanted else 0)


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """The tiny model, by the context it says it was trained for."""
    folder = tmp_path_factory.mktemp("trained")
    return {
        n_ctx: write_tiny_gguf(folder / f"{n_ctx}.gguf", TinyModel(n_ctx_train=n_ctx))
        for n_ctx in (256, 2048, 131_072)
    }


def check(placement: Placement, options: ServeOptions) -> None:
    """What holds for every placement."""
    assert placement.n_ctx <= placement.n_ctx_wanted
    assert placement.n_cells == placement.n_stream * options.parallel >= placement.n_ctx
    if options.ctx is not None:
        assert placement.n_ctx == placement.n_ctx_wanted == options.ctx
    if placement.n_ctx < placement.n_ctx_wanted:
        assert placement.n_ctx == placement.n_cells
    if not placement.verdict.fits and options.ctx is None:
        assert placement.n_stream <= max(CTX_MIN, 256)
    if placement.layout == "streams":
        assert placement.n_ctx <= placement.n_stream
    if placement.prompt_side:
        assert placement.verdict.fits
        assert placement.model.total + placement.extra <= placement.verdict.available_bytes
