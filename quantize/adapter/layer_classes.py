"""The classes of adapted layers: which matrices are transformers' Conv1D, and which are Linear.

A Linear stores `[n_out, n_in]`, a Conv1D `[n_in, n_out]`. PEFT looks at the layer's class and corrects
`fan_in_fan_out` by it, without writing that down: the field of adapter_config.json says nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

_GPT2: Final = frozenset({"c_attn", "q_attn", "c_proj", "c_fc"})

CONV1D_MODULES: Final[Mapping[str, frozenset[str]]] = {
    "gpt2": _GPT2,
    "openai-gpt": frozenset({"c_attn", "c_proj", "c_fc"}),
    "imagegpt": _GPT2,
    "decision_transformer": _GPT2,
    "jais": _GPT2 | {"c_fc2"},
    "btlm": _GPT2 | {"c_fc2"},
}
"""The modules that are Conv1D, by config.json's `model_type`; every other matrix is a Linear's.

Those of transformers, and of two models with code of their own that has it from GPT-2's.
"""

_CLASSES: Final[Mapping[str, str]] = {
    "GPT2": "gpt2",
    "OpenAIGPT": "openai-gpt",
    "ImageGPT": "imagegpt",
    "DecisionTransformer": "decision_transformer",
    "JAIS": "jais",
    "BTLM": "btlm",
}
"""The beginnings of `architectures` entries, for a config.json without `model_type`."""


def conv1d_modules(config: Mapping[str, Any]) -> frozenset[str]:
    """Return the last names of the modules whose weights are stored `[n_in, n_out]`."""
    kind = config.get("model_type")
    if isinstance(kind, str) and kind:
        return CONV1D_MODULES.get(kind, frozenset())
    names = config.get("architectures")
    name = str(names[0]) if isinstance(names, list) and names else ""
    return next(
        (CONV1D_MODULES[type_] for start, type_ in _CLASSES.items() if name.startswith(start)), frozenset()
    )


def is_conv1d(module: str, modules: frozenset[str]) -> bool:
    """True if the module at this path is one of `modules`."""
    return module.rpartition(".")[2] in modules
