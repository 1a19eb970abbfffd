"""The lists of architectures are llama.cpp's own."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from pathlib import Path

import pytest

from models.gguf.architecture_lists import (
    DEFAULT_GATING,
    ENCODER_WINDOW_PERIODS,
    EQUAL_HEADS,
    EXPERTS_ONLY,
    GATED_WINDOWS,
    GATING_NEEDED,
    HYBRID,
    LATENT_ATTENTION,
    LINEAR_ATTENTION,
    LISTED_WINDOWS,
    PLAIN_ATTENTION,
    RECURRENT,
    TEMPERATURES,
    TWICE_AS_WIDE,
    WHOLE_FIRST,
    WHOLE_ROTATION,
    WINDOW_PERIODS,
)
from quantize.architectures.registry import ARCHITECTURES

SOURCES = os.environ.get("CORRAL_LLAMA_CPP_SOURCE")


class LlamaCppSources:
    """Which architectures' sources hold a text, as a graph of their own or as one that they share."""

    def __init__(self, root: Path) -> None:
        names = dict(re.findall(r'\{ (LLM_ARCH_\w+),\s*"([^"]+)"', (root / "llama-arch.cpp").read_text()))
        model = (root / "llama-model.cpp").read_text()
        self._architectures: dict[str, list[str]] = defaultdict(list)
        for cases, name in re.findall(r"((?:case LLM_ARCH_\w+:\s*)+)return new (llama_model_\w+)", model):
            self._architectures[name] += [names[case] for case in re.findall(r"LLM_ARCH_\w+", cases)]
        self._graph_of: dict[str, str] = {}
        owner = ""
        for line in (root / "models/models.h").read_text().splitlines():
            if found := re.match(r"struct (llama_model_\w+)", line):
                owner = found[1]
            if found := re.match(r"\s+using graph\s*=\s*(llama_model_\w+)::graph", line):
                self._graph_of[owner] = found[1]
        self._lines: dict[str, list[str]] = defaultdict(list)
        for path in sorted((root / "models").glob("*.cpp")):
            owner = ""
            for line in path.read_text().splitlines():
                if found := re.match(r"\S.*?(llama_model_\w+)(?:::\w+(?:<[\w, ]+>)?)?::\w+\(", line):
                    owner = found[1]
                self._lines[owner].append(line.partition("//")[0])

    def loading(self, text: str) -> set[str]:
        owners = {owner for owner, lines in self._lines.items() if any(text in line for line in lines)}
        return {name for owner in owners for name in self._architectures[owner]}

    def building(self, text: str) -> set[str]:
        owners = {owner for owner, lines in self._lines.items() if any(text in line for line in lines)}
        sharing = {owner for owner, graph in self._graph_of.items() if graph in owners}
        return {name for owner in owners | sharing for name in self._architectures[owner]}


@pytest.mark.skipif(not SOURCES, reason="CORRAL_LLAMA_CPP_SOURCE doesn't point to llama.cpp's sources")
def test_the_lists_are_those_of_the_sources() -> None:
    sources = LlamaCppSources(Path(str(SOURCES)) / "src")
    equal = sources.building("GGML_ASSERT(n_embd_head == hparams.n_embd_head_k());")
    equal |= sources.building("GGML_ASSERT(n_embd_head == hparams.n_embd_head_v());")
    assert equal == EQUAL_HEADS
    assert sources.building("GGML_ASSERT(n_embd_head == n_rot);") == WHOLE_ROTATION
    assert sources.loading("GGML_ASSERT(2 * n_embd == d_inner);") == TWICE_AS_WIDE
    gating = sources.loading("expert_gating_func == LLAMA_EXPERT_GATING_FUNC_TYPE_NONE")
    assert gating == DEFAULT_GATING
    optional = sources.loading("hparams.expert_gating_func, false)")
    optional |= sources.loading("hparams.expert_gating_func,   false)")
    assert optional - gating == GATING_NEEDED
    assert sources.loading("load_swa_pattern(ml") == {*WINDOW_PERIODS, *ENCODER_WINDOW_PERIODS}
    assert sources.loading("load_swa_pattern(ml, 4, ") == WHOLE_FIRST
    others = {"dflash", "dots3note", "gemma4-assistant"}
    assert sources.loading("SLIDING_WINDOW_PATTERN, hparams.is_swa_impl)") - others == LISTED_WINDOWS
    experts = sources.loading("n_expert > 0 &&") | sources.loading("GGML_ASSERT(n_expert && n_expert_used)")
    assert experts - {"lfm2"} == EXPERTS_ONLY
    assert sources.loading("n_attn_temp_floor_scale, false)") == TEMPERATURES - {"mistral4"}  # as deepseek2


def test_every_family_that_is_quantized_has_its_rules() -> None:
    ours = {architecture.gguf_name for architecture in ARCHITECTURES if architecture.gguf_name}
    others = HYBRID | RECURRENT | {"gemma4"}  # the last one's heads have two sizes
    assert ours - LINEAR_ATTENTION - {GATED_WINDOWS} <= PLAIN_ATTENTION | LATENT_ATTENTION | others
