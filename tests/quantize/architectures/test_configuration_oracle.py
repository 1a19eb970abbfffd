"""Every field that a family reads, absent, null, moved or renamed: what transformers' class makes of it.

The class reads config.json and writes it again, complete: derived sizes, defaults, rotary settings at their
newest place. Both files must be the same model to us, or both be refused.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pytest

from models.errors import CheckpointError
from quantize.architectures.base.config import ModelConfig
from quantize.architectures.registry import architecture_of
from tests.quantize.families.all_families import ALL_FAMILIES
from tests.quantize.families.checkpoint import read_golden
from tests.quantize.families.family import Family

pytestmark = [pytest.mark.oracle, pytest.mark.timeout(900), pytest.mark.filterwarnings("ignore")]

Config = dict[str, Any]
REFUSED = "refused"
ABSENT = object()

SECTIONS = (
    "text_config",
    "attn_config",
    "rope_parameters",
    "rope_scaling",
    "full_attention",
    "sliding_attention",
)

BY_TRANSFORMERS = [
    family
    for family in ALL_FAMILIES
    if (family.model is not None and family.name != "exaone4") or family.name in ("phi-moe", "exaone4.5")
]
"""The families whose configuration class is transformers' own; of EXAONE 4 the one that says null."""

LLAMA3 = {
    "rope_type": "llama3",
    "factor": 4.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
YARN = {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}
ROTARY: tuple[dict[str, Any], ...] = (
    {},
    {"rope_type": "linear", "factor": 2.0},
    {"rope_type": "linear", "factor": None},
    YARN,
    {"rope_type": "yarn", "factor": 4.0, "rope_theta": 30000.0, "beta_fast": None},
    {"rope_type": "yarn", "factor": None},
    {"rope_type": "yarn"},
    LLAMA3,
    {key: value for key, value in LLAMA3.items() if key != "low_freq_factor"},
    {key: value for key, value in LLAMA3.items() if key != "original_max_position_embeddings"},
    {"rope_type": "default", "rope_theta": None},
    {"rope_type": None},
)
OUTER_ROTARY: dict[str, tuple[Any, ...]] = {
    "rope_theta": (20000.0, None),
    "partial_rotary_factor": (0.5, None),
    "rotary_pct": (0.5, None),
    "rotary_emb_base": (20000.0, None),
    "rope_local_base_freq": (20000.0, None),
    "original_max_position_embeddings": (64, None),
}

DIFFERENCES: Mapping[tuple[str, str, str], str] = {
    ("minimax-text", "num_key_value_heads", "null"): "the type hint refuses what the class says null is",
    **{
        (family, name, "null"): "beside the makers' name for it, which counts"
        for family in ("kimi-linear", "bailing-moe3")
        for name in (
            *("max_position_embeddings", "n_group", "n_shared_experts", "norm_topk_prob"),
            "num_experts_per_tok",
        )
    },
    ("bailing-moe3", "topk_group", "null"): "all groups are used, which the class's type hint refuses",
    ("kimi-linear", "num_hidden_layers", "absent"): "the class finds its list of layers too short",
    **{
        (family, "tie_word_embeddings", "null"): "the one outside of text_config counts, where there is one"
        for family in (
            *("exaone4.5", "gemma3-vision", "gemma4", "glm4v-moe", "hunyuan-vl", "llama4", "llava"),
            *("mistral3", "qwen3-vl-moe", "qwen3.5"),
        )
    },
    **{
        (family, "tie_word_embeddings", "absent"): "where the outer one is silent, text_config's counts"
        for family in ("mistral3", "qwen3-vl-moe")
    },
    **{
        ("internlm3", name, "absent"): "llama.cpp has each bias by itself, the class one code for all of them"
        for name in ("attention_bias", "mlp_bias")
    },
    ("mistral", "num_key_value_heads", "null"): "the class says what null is, and its type hint refuses it",
    ("mixtral", "num_key_value_heads", "null"): "the class says what null is, and its type hint refuses it",
    ("phi-moe", "num_key_value_heads", "null"): "the class says what null is, and its type hint refuses it",
    ("jamba", "num_key_value_heads", "null"): "the class says what null is, and its type hint refuses it",
    ("lfm2", "intermediate_size", "null"): "block_ff_dim, the older name, takes its place",
    ("mamba2", "time_step_limit", "null"): "there are no bounds, either way",
    ("nemotron-h", "time_step_limit", "null"): "there are no bounds, either way",
    ("phi3", "head_dim", "null"): "a field that the class doesn't have; heads have one size only",
    ("phi-moe", "head_dim", "null"): "a field that the class doesn't have; heads have one size only",
    (
        "phi-moe",
        "original_max_position_embeddings",
        "absent",
    ): "rope_parameters lacks it: the outer one counts",
    ("phi-moe", "original_max_position_embeddings", "null"): "an outer null is refused for every family",
    **{
        (family, "rope_scaling", json.dumps(YARN)): "the class's rope_type default hides the older name, type"
        for family in ("gemma3", "embedding-gemma")
    },
    ("modern-bert", "rope_scaling", json.dumps(YARN)): "the class's rope_type default hides type, as above",
    ("glm4-moe", "num_mtp_layers", "beside"): "the class takes this alias alone otherwise than all others",
    ("hunyuan-vl", "factor", "absent"): "alpha stretches the rotation, whether a factor is said or not",
    ("hunyuan-vl", "type", "null"): "null is refused, though rope_type says the kind, too",
    ("olmo3", "rope_scaling", json.dumps(YARN)): "the class's rope_type default hides the older name, type",
    **{
        (
            family,
            "num_attention_heads",
            "absent",
        ): "the class divides the embedding by the heads, which may have a size of their own"
        for family in ("iquestcoder", "internlm3", "jais2", "hrm-text", "minicpm3")
    },
    ("phi3", "original_max_position_embeddings", "absent"): "the class's default hides rope_parameters' own",
    ("gpt2", "n_positions", "absent"): "n_ctx, which old files say, too, counts before the default",
    ("deepseek", "n_routed_experts", "null"): "the makers' class: a model without experts",
    ("deepseek", "n_shared_experts", "null"): "the makers' class: no experts that are always used",
}
"""What is read otherwise on purpose, by the beginning of the family's name, the field and its state."""


MAKERS_OWN = (
    *("layernorm_epsilon", "num_hidden_layers"),
    *("rope_scaling", "rope_theta", "partial_rotary_factor"),
)
"""MiMo V2's fields that transformers' class doesn't look at, or whose lists have the length of others."""


def ours(config: Mapping[str, Any]) -> Any:
    """Return what we make of a config.json: metadata, and every tensor's rule."""
    try:
        architecture = architecture_of(config)
        metadata = {key: (value.type, value.data) for key, value in architecture.metadata().items()}
        return metadata, {rule.name: rule for rule in architecture.tensor_rules()}
    except CheckpointError:
        return REFUSED


def completed(config: Config) -> Any:
    """Return config.json as transformers' class completes it."""
    from transformers import CONFIG_MAPPING

    try:
        known = CONFIG_MAPPING[config["model_type"]].from_dict(copy.deepcopy(config)).to_dict()
    except Exception:  # noqa: BLE001  whatever it raises is a refusal
        return REFUSED
    written: Config = json.loads(json.dumps(known, default=str))
    return written | {"architectures": config["architectures"]}


def changed(config: Config, path: tuple[str, ...], value: Any) -> Config:
    """Return `config` with one field, perhaps of a section, set or (ABSENT) left out."""
    name, *inner = path
    if inner:
        return {**config, name: changed(config[name], tuple(inner), value)}
    rest = {key: old for key, old in config.items() if key != name}
    return rest if value is ABSENT else {**rest, name: value}


def fields_read(config: Config, monkeypatch: pytest.MonkeyPatch) -> frozenset[str]:
    """Return the names of all fields that the family looks for, in whatever section."""
    names: set[str] = set()
    get, first = ModelConfig._get, ModelConfig.first

    def noted_get(self: ModelConfig, name: str, default: Any = None) -> Any:
        names.add(name)
        return get(self, name, default)

    def noted_first(self: ModelConfig, asked: Iterable[str]) -> str | None:
        names.update(asked := list(asked))
        return first(self, asked)

    with monkeypatch.context() as patch:
        patch.setattr(ModelConfig, "_get", noted_get)
        patch.setattr(ModelConfig, "first", noted_first)
        assert ours(config) != REFUSED
    return frozenset(names - {"architectures"})


def sections(config: Config, at: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the path of the whole and of every section in it."""
    yield at
    for name, value in config.items():
        if isinstance(value, dict) and name in SECTIONS:
            for inner in sections(value):
                yield (*at, name, *inner)


def states(config: Config, read: frozenset[str]) -> Iterator[tuple[tuple[str, ...], str, Config]]:
    """Yield each field that is read, in each section, absent and null."""
    for section in sections(config):
        for name in sorted(read):
            yield (*section, name), "absent", changed(config, (*section, name), ABSENT)
            yield (*section, name), "null", changed(config, (*section, name), None)


def moved(config: Config, read: frozenset[str]) -> Iterator[tuple[tuple[str, ...], str, Config]]:
    """Yield rotary settings in each of their places, with and without those of the newest."""
    if "rope_parameters" not in read or "text_config" in config:
        return
    for given in (config, changed(config, ("rope_parameters",), ABSENT)):
        for name in ("rope_parameters", "rope_scaling"):
            for settings in ROTARY:
                yield (name,), json.dumps(settings), given | {name: settings}
        for name, values in OUTER_ROTARY.items():
            for value in values:
                yield (name,), json.dumps(value), given | {name: value}


def renamed(config: Config) -> Iterator[tuple[tuple[str, ...], str, Config]]:
    """Yield each field under the other name that the class has for it, alone and beside its own."""
    from transformers import CONFIG_MAPPING

    for alias, own in CONFIG_MAPPING[config["model_type"]].attribute_map.items():
        if own in config:
            yield (alias,), "alone", changed(config, (own,), ABSENT) | {alias: config[own]}
            yield (alias,), "beside", changed(config, (own,), other_value(config[own])) | {alias: config[own]}


def other_value(value: Any) -> Any:
    """Return another value of a field's type."""
    return not value if isinstance(value, bool) else 2 * value


def is_meant(family: Family, path: tuple[str, ...], state: str, config: Config) -> bool:
    """Tell whether a difference is known, or one of the two ways in which this comparison itself errs."""
    if any(
        family.name.startswith(name) and path[-1:] == (field,) and state == at
        for name, field, at in DIFFERENCES
    ):
        return True
    if path == ("model_type",):
        return True  # it names the class that is asked
    if path == ("partial_rotary_factor",) and state == "null":
        return True  # the class writes nothing then, and would read its default; test_decoder.py has it
    if family.name == "kimi-linear" and path[0] in ("rope_parameters", "rope_scaling"):
        return True  # it attends without positions, and we read none of these
    if family.name == "mimo2" and path[0] in MAKERS_OWN:
        return True
    # The class compares the length of a list that we have no use for.
    has_list = any("layer_types" in section for section in (config, config.get("text_config", {})))
    return path[-1] == "num_hidden_layers" and state == "absent" and has_list


@pytest.mark.parametrize("family", BY_TRANSFORMERS, ids=str)
def test_fields_mean_what_the_class_says(family: Family, monkeypatch: pytest.MonkeyPatch) -> None:
    config = read_golden(family)["config"]
    if family.name == "umt5":
        config["tie_word_embeddings"] = True  # the class forgets anything else when it writes
    read = fields_read(config, monkeypatch)
    assert "vocab_size" in read
    assert ours(completed(config)) == ours(config), "as it was saved"
    wrong = []
    for path, state, variant in (*states(config, read), *moved(config, read), *renamed(config)):
        theirs = completed(variant)
        expected = theirs if theirs == REFUSED else ours(theirs)
        if ours(variant) != expected and not is_meant(family, path, state, config):
            wrong.append((".".join(path), state, "refused" if theirs == REFUSED else theirs.get(path[0])))
    assert wrong == []
