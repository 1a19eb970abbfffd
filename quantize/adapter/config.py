"""adapter_config.json of a PEFT adapter: how strong it is, and which fields are refused.

It has two readers: `quantize.adapter.convert` makes a GGUF adapter of it, `quantize.merge` adds it to its
base. `read_adapter_config` refuses what neither can express; `refuse_what_gguf_lacks` what a merge can and
GGUF can't.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from models.errors import CheckpointError

_NAME = "adapter_config.json"
_CHANGES_BASE = ("pissa", "olora", "corda", "lora_ga", "loftq")
"""These initialisations also change the base's weights, and the adapter alone doesn't say how."""
_PLAIN_PATTERN = re.compile(r"\^?[\w.\\]+\$?")

_GGUF_LACKS: dict[str, str] = {
    "use_dora": "is a DoRA adapter (weight-decomposed)",
    "modules_to_save": "holds whole modules beside its matrices",
    "lora_bias": "has biases of its own",
}
"""The fields that change the adapter's effect in a way that only a merge can express, with the reason."""

_UNSUPPORTED: dict[str, str] = {
    "trainable_token_indices": "has embeddings of single tokens: merge it into its base with PEFT",
    "target_parameters": "changes parameters that are no linear layers: merge it into its base with PEFT",
    "layer_replication": "repeats layers of its base: merge it with PEFT",
    "use_qalora": "is a QA-LoRA adapter: merge it into its base with PEFT",
    "use_bdlora": "is a block-diagonal LoRA: merge it into its base with PEFT",
    "kasa_config": "is a KaSA adapter, which changes its base too: merge it into its base with PEFT",
    "arrow_config": "chooses among adapters token by token, and can't be part of the weights",
    "alora_invocation_tokens": "is an activated LoRA, which works only after its invocation tokens",
}
"""The fields that change the adapter's effect in a way that can't be expressed here, with the reason."""

_BIASES = ("none", "all", "lora_only")


@dataclass(frozen=True)
class AdapterConfig:
    """The strength of each module's product: `alpha / rank`, or `alpha / sqrt(rank)` if `rank_stabilized`."""

    rank: int
    alpha: float
    rank_stabilized: bool
    alpha_pattern: Mapping[str, float]
    base_model: str | None
    modules_to_save: tuple[str, ...] = ()
    """The modules of which the adapter has whole copies of its own, by the ends of their paths."""

    ties_weights: bool = False
    """True if a change of a tied embedding is meant for the output matrix, too (`ensure_weight_tying`)."""

    def is_copy(self, module: str) -> bool:
        """True if the adapter's tensor of the module is a copy of its own, and not the base's parameter."""
        return module.endswith(self.modules_to_save)

    def strength(self, module: str, rank: int) -> float:
        """Return the factor of a module's B·A."""
        return self.alpha_of(module) / (math.sqrt(rank) if self.rank_stabilized else rank)

    def alpha_of(self, module: str) -> float:
        return next((value for key, value in self.alpha_pattern.items() if _names(key, module)), self.alpha)

    @property
    def file_alpha(self) -> float:
        """The one alpha of the GGUF file, by which llama.cpp computes `alpha / rank` for every tensor."""
        return self.alpha * math.sqrt(self.rank) if self.rank_stabilized else self.alpha

    def correction(self, module: str, rank: int) -> float:
        """Return the factor of a module's B with which the file's alpha gives its own strength.

        It is exactly 1.0 where nothing is out of the ordinary.
        """
        alpha = self.alpha_of(module)
        if not self.rank_stabilized:
            return alpha / self.alpha
        if rank == self.rank:
            return alpha / self.alpha
        return (alpha / math.sqrt(rank)) / (self.file_alpha / rank)


def read_adapter_config(fields: Mapping[str, Any]) -> AdapterConfig:
    """Read the fields. Raises CheckpointError: a wrong type, or an adapter that is more than its tensors."""
    kind = fields.get("peft_type")
    if kind != "LORA":
        raise _refuse(f"has peft_type {kind!r}, and only LORA can be used: merge it into its base with PEFT")
    for name, what in _UNSUPPORTED.items():
        if fields.get(name):
            raise _refuse(f"has {name} set: it {what}")
    if fields.get("bias") not in (None, *_BIASES):
        raise _refuse(f"has bias {fields['bias']!r:.80}; known are {', '.join(_BIASES)}")
    initial = fields.get("init_lora_weights")
    if isinstance(initial, str) and initial.lower().startswith(_CHANGES_BASE):
        raise _refuse(
            f"has init_lora_weights {initial!r}, which changes the base's weights too: convert it to a plain"
            " LoRA with PEFT (path_initial_model_for_weight_conversion)"
        )
    rank = fields.get("r")
    if type(rank) is not int or not 0 < rank < 2**31:
        raise _refuse(f"has r {rank!r}; it must be a whole number, 1 or more")
    base = fields.get("base_model_name_or_path")
    return AdapterConfig(
        rank=rank,
        alpha=_alpha(fields.get("lora_alpha"), "lora_alpha"),
        rank_stabilized=fields.get("use_rslora") is True,
        alpha_pattern=_alpha_pattern(fields.get("alpha_pattern")),
        base_model=base if isinstance(base, str) else None,
        modules_to_save=_names_of(fields.get("modules_to_save")),
        ties_weights=fields.get("ensure_weight_tying") is True,
    )


def refuse_what_gguf_lacks(fields: Mapping[str, Any]) -> None:
    """Check for GGUF. Raises CheckpointError for an adapter that can be merged, but not be a GGUF file."""
    merge = "merge it while quantizing (corral quantize --lora)"
    for name, what in _GGUF_LACKS.items():
        if fields.get(name):
            raise _refuse(f"has {name} set: it {what}, for which GGUF adapters have no place; {merge}")
    if fields.get("bias") not in (None, "none"):
        raise _refuse(f"has bias {fields['bias']!r}: biases have no place in a GGUF adapter; {merge}")


def _names_of(value: Any) -> tuple[str, ...]:
    """Read modules_to_save: names, or one name alone."""
    if not value:
        return ()
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
        raise _refuse(f"has modules_to_save {value!r:.80}; it must be a list of modules' names")
    return tuple(names)


def _alpha_pattern(value: Any) -> dict[str, float]:
    """Read alphas by module. PEFT's keys are regular expressions; only those that are names are accepted."""
    if not value:
        return {}
    if not isinstance(value, dict):
        raise _refuse("has an alpha_pattern that is no object")
    for key in value:
        if not _PLAIN_PATTERN.fullmatch(key):
            raise _refuse(f"has the regular expression {key!r:.80} in alpha_pattern: only names can be used")
    return {key: _alpha(alpha, f"alpha_pattern of {key}") for key, alpha in value.items()}


def _names(key: str, module: str) -> bool:
    """True if a pattern's key means a module: its whole path, or the end of it."""
    plain = key.replace("\\.", ".").removesuffix("$")
    if plain.startswith("^"):
        return module == plain[1:]
    return module == plain or module.endswith(f".{plain}")


def _alpha(value: Any, what: str) -> float:
    if type(value) not in (int, float) or not 0 < abs(value) <= sys.float_info.max:
        raise _refuse(f"has {what} {value!r:.40}; it must be a number other than 0")
    return float(value)


def _refuse(reason: str) -> CheckpointError:
    return CheckpointError(f"{_NAME} {reason}")
