"""llama.cpp's rules for the ggml type of each tensor of a quantized file.

They are C++ functions of libllama, exported for its own tools and bound here by their Itanium-mangled
names (Linux and macOS). An exception or failed assertion in them would end the process, so everything
they could object to is checked first.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

from models.errors import LlamaCppError
from models.llamacpp import library
from models.llamacpp.quantization.ggml_types import ALL_FTYPES, GGML_TYPES, blck_size, require_type, row_size
from models.quantization_types import FILE_TYPES, RULES_OF

_MAX_LAYERS = 512  # LLAMA_MAX_LAYERS
_MAX_NAME_BYTES = 63  # GGML_MAX_NAME, less its terminator
_MAX_DIMS = 4  # GGML_MAX_DIMS

_MODEL_FROM_METADATA = "_Z31llama_quant_model_from_metadataPK22llama_quant_model_desc"
_QUANT_INIT = "_Z16llama_quant_initPK11llama_modelPK27llama_model_quantize_params"
_COMPUTE_TYPES = "_Z25llama_quant_compute_typesP19quantize_state_impl11llama_ftypePP11ggml_tensorP9ggml_typem"
_QUANT_FREE = "_Z16llama_quant_freeP19quantize_state_impl"

_ATTENTION_V = ("attn_qkv.weight", "attn_kv_b.weight", "attn_v.weight")
_WIDER = {"Q4_0": "Q4_1", "Q5_0": "Q5_1"}

NEWER_ARCHITECTURES = frozenset(
    {
        "bailingmoe3",
        "cohere2moe",
        "deepseek32",
        "deepseek4",
        "dflash",
        "dots3note",
        "eagle3",
        "gemma4-assistant",
        "glm5-next",
        "granite_swa",
        "graniteswitch",
        "hrm_text",
        "hy_v3",
        "hy_v4",
        "kimi-k3",
        "laguna",
        "maple",
        "mellum",
        "minimax-01",
        "minimax-m3",
        "muse-glimmer",
        "nanbeige",
        "pockettts",
        "qwen3tts",
        "qwen4exp",
        "spark2_5",
        "talkie",
    }
)
"""llama.cpp's architectures that the `gguf` package, an older one, doesn't list."""

_LAYER = re.compile(r"blk\.(\d+)\.")


@dataclass(frozen=True)
class ModelDescription:
    """The hyper-parameters that llama.cpp's type rules look at. `architecture` as in GGUF ("llama")."""

    architecture: str
    n_embd: int
    n_ff: int
    n_layer: int
    n_head: int
    n_head_kv: int
    n_embd_head_k: int
    n_embd_head_v: int
    n_expert: int = 0


class _llama_quant_model_desc(ctypes.Structure):
    _fields_ = (
        ("architecture", ctypes.c_char_p),
        ("n_embd", ctypes.c_uint32),
        ("n_ff", ctypes.c_uint32),
        ("n_layer", ctypes.c_uint32),
        ("n_head", ctypes.c_uint32),
        ("n_head_kv", ctypes.c_uint32),
        ("n_expert", ctypes.c_uint32),
        ("n_embd_head_k", ctypes.c_uint32),
        ("n_embd_head_v", ctypes.c_uint32),
    )


class _ggml_init_params(ctypes.Structure):
    _fields_ = (
        ("mem_size", ctypes.c_size_t),
        ("mem_buffer", ctypes.c_void_p),
        ("no_alloc", ctypes.c_bool),
    )


@dataclass(frozen=True)
class TypeRules:
    """The bound C++ functions."""

    model_from_metadata: Any
    init: Any
    compute_types: Any
    free: Any


@cache
def type_rules() -> TypeRules:
    """Bind the four functions; raises LlamaCppError if this build lacks one."""
    pointer = ctypes.c_void_p
    return TypeRules(
        model_from_metadata=library.bind(
            _MODEL_FROM_METADATA, pointer, ctypes.POINTER(_llama_quant_model_desc)
        ),
        init=library.bind(_QUANT_INIT, pointer, pointer, pointer),
        compute_types=library.bind(
            _COMPUTE_TYPES,
            None,
            pointer,
            ctypes.c_int,
            ctypes.POINTER(pointer),
            ctypes.POINTER(ctypes.c_int),
            ctypes.c_size_t,
        ),
        free=library.bind(_QUANT_FREE, None, pointer),
    )


def type_plan(
    description: ModelDescription,
    ftype: int,
    tensors: Sequence[tuple[str, Sequence[int], int]],
    *,
    imatrix: bool = False,
    overrides: Mapping[str, int] | None = None,
) -> list[int]:
    """Return the ggml type that llama.cpp gives each tensor of an `ftype` file, with or without an `imatrix`.

    `tensors`: all tensors of the model as (GGUF name, ne in ggml's order (row length first), source
    type), in any order; the rules count layers in llama.cpp's own order. Returns one type per tensor, in
    the order given; one that stays as it is gets its source type. `overrides`: the types of tensors by
    name, where the file's type quantizes them at all. May be called from any thread.
    Raises LlamaCppError: an ftype not in ALL_FTYPES, or that llama.cpp has no rules for, or tensors that it
    would abort on.
    """
    if ftype not in ALL_FTYPES.values() or FILE_TYPES[ftype] in RULES_OF:
        known = [name for name in ALL_FTYPES if name not in RULES_OF]
        raise LlamaCppError(f"llama.cpp quantizes to no file type {ftype}; known: {', '.join(known)}")
    _check_description(description)
    for name, ne, source_type in tensors:
        _check_tensor(description, name, ne, source_type)
    if not tensors:
        return []
    order = sorted(range(len(tensors)), key=lambda index: _loading_order(tensors[index][0]))
    listed = [tensors[index] for index in order]
    ordered = _compute_types(description, ftype, listed, overrides or {})
    if imatrix:
        ordered = _with_imatrix(
            description.n_layer, description.n_expert, ftype, listed, ordered, overrides or {}
        )
    types = [0] * len(tensors)
    for index, ggml_type in zip(order, ordered, strict=True):
        types[index] = ggml_type
    return types


def native_overrides(overrides: Mapping[str, int] | None) -> Any:
    """Return llama.cpp's array of patterns and types, each pattern one name; None for none."""
    if not overrides:
        return None
    kind = library.load().llama_model_tensor_override
    entries = (kind * (len(overrides) + 1))()
    for entry, (name, ggml_type) in zip(entries, overrides.items(), strict=False):
        if not re.fullmatch(r"[A-Za-z0-9_.]+", name):
            raise LlamaCppError(f"{name!r} is no tensor's name; a type can be given for whole names only")
        entry.pattern = f"^{name.replace('.', '[.]')}$".encode()
        entry.type = require_type(ggml_type)
    return entries


def _compute_types(
    description: ModelDescription,
    ftype: int,
    tensors: Sequence[tuple[str, Sequence[int], int]],
    overrides: Mapping[str, int],
) -> list[int]:
    native = library.load()
    rules = type_rules()
    desc = _llama_quant_model_desc(
        description.architecture.encode(),
        description.n_embd,
        description.n_ff,
        description.n_layer,
        description.n_head,
        description.n_head_kv,
        description.n_expert,
        description.n_embd_head_k,
        description.n_embd_head_v,
    )
    params = native.llama_model_quantize_default_params()
    params.ftype = ftype
    patterns = native_overrides(overrides)  # read while `rules.init` runs
    params.tt_overrides = patterns
    result = (ctypes.c_int * len(tensors))()
    with _tensor_metadata(tensors) as pointers:
        model = rules.model_from_metadata(ctypes.byref(desc))
        state = rules.init(model, ctypes.addressof(params))
        rules.compute_types(state, ftype, pointers, result, len(tensors))
        rules.free(state)
        native.llama_model_free(model)
    return list(result)


@contextmanager
def _tensor_metadata(tensors: Sequence[tuple[str, Sequence[int], int]]) -> Iterator[Any]:
    """Yield an array of ggml_tensor* without data, owned by a ggml context that is freed after the block."""
    init = library.bind("ggml_init", ctypes.c_void_p, _ggml_init_params)
    free = library.bind("ggml_free", None, ctypes.c_void_p)
    overhead = library.bind("ggml_tensor_overhead", ctypes.c_size_t)()
    new_tensor = library.bind(
        "ggml_new_tensor",
        ctypes.c_void_p,
        ctypes.c_void_p,
        ctypes.c_int,
        ctypes.c_int,
        ctypes.POINTER(ctypes.c_int64),
    )
    set_name = library.bind("ggml_set_name", ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p)
    context = init(_ggml_init_params((len(tensors) + 1) * overhead, None, True))
    if not context:
        raise LlamaCppError(f"no memory to describe {len(tensors)} tensors; free some and try again")
    try:
        pointers = (ctypes.c_void_p * len(tensors))()
        for index, (name, ne, source_type) in enumerate(tensors):
            sizes = (ctypes.c_int64 * len(ne))(*ne)
            pointers[index] = new_tensor(context, source_type, len(ne), sizes)
            set_name(pointers[index], name.encode())
        yield pointers
    finally:
        free(context)


def _check_description(description: ModelDescription) -> None:
    """Refuse what makes the C++ code throw: an exception through ctypes ends the process."""
    if description.architecture not in _architectures():
        raise LlamaCppError(f"llama.cpp has no architecture `{description.architecture}` to quantize")
    if not 0 < description.n_layer <= _MAX_LAYERS:
        raise LlamaCppError(
            f"a model of {description.n_layer} layers can't be quantized; llama.cpp's limit is {_MAX_LAYERS}"
        )
    for field in ("n_embd", "n_ff", "n_head", "n_head_kv", "n_expert", "n_embd_head_k", "n_embd_head_v"):
        value = getattr(description, field)
        if not 0 <= value < 2**32:
            raise LlamaCppError(f"{field} is {value}; it must be between 0 and 2^32 - 1")


@cache
def _architectures() -> frozenset[str]:
    from gguf.constants import MODEL_ARCH_NAMES

    known = frozenset(MODEL_ARCH_NAMES.values()) - {"gptj"}  # a name without a model class in llama.cpp
    return known | NEWER_ARCHITECTURES


def _check_tensor(description: ModelDescription, name: str, ne: Sequence[int], source_type: int) -> None:
    if not name or "\0" in name or len(name.encode()) > _MAX_NAME_BYTES:
        raise LlamaCppError(f"tensor name {name!r} must have 1 to {_MAX_NAME_BYTES} bytes and no NUL")
    if not 1 <= len(ne) <= _MAX_DIMS or not all(0 < n < 2**40 for n in ne):
        raise LlamaCppError(
            f"tensor `{name}` has sizes {list(ne)}; ggml takes 1 to {_MAX_DIMS} sizes of 1 or more"
        )
    row_size(require_type(source_type), ne[0])
    if description.n_expert > 1 and any(part in name for part in ("ffn_up", "ffn_gate", "ffn_down")):
        layer = _LAYER.match(name)
        if layer is None or int(layer[1]) >= description.n_layer:
            raise LlamaCppError(
                f"tensor `{name}` belongs to no layer; a mixture of experts of {description.n_layer} layers "
                f"names its tensors blk.0. to blk.{description.n_layer - 1}."
            )


def _loading_order(name: str) -> tuple[int, bytes]:
    """Return a key for the order in which llama.cpp's loader, and so its type rules, see tensors."""
    layer = _LAYER.match(name)
    return (int(layer[1]) if layer else -1, name.encode())


# llama.cpp's exported rules take it that there is no importance matrix, so its four exceptions for files made
# with one are applied here. A test compares with `llama_model_quantize`.


def _with_imatrix(
    n_layer: int,
    n_expert: int,
    ftype: int,
    tensors: Sequence[tuple[str, Sequence[int], int]],
    types: Sequence[int],
    overrides: Mapping[str, int],
) -> list[int]:
    """Return the types of a file made with an importance matrix, from those of one made without.

    `tensors` in llama.cpp's order, as `type_plan` has them. Tensors that stay as they are, and `overrides`,
    are left alone.
    """
    name = next(name for name, number in ALL_FTYPES.items() if number == ftype)
    changed, n_down = list(types), 0
    for i, (tensor, ne, source_type) in enumerate(tensors):
        kept = types[i] == source_type or tensor in overrides
        if name == "IQ3_XXS" and not kept and _is_attention_v(tensor):
            changed[i] = GGML_TYPES["IQ3_XXS"] if types[i] == GGML_TYPES["IQ3_S"] else types[i]
        if not _is_ffn_down(tensor) or kept:
            continue
        layer = _layer(tensor) if n_expert > 1 else n_down
        n_down += 1
        wanted = _ffn_down(name, layer < n_layer // 8)
        if wanted is not None:
            changed[i] = _fitting(wanted, ne[0])
    return changed


def _ffn_down(ftype: str, early: bool) -> str | None:
    """Return the type of a layer's `ffn_down` where an importance matrix makes a difference, else None.

    `early`: the layer is in the first eighth.
    """
    if ftype == "IQ3_XXS":
        return "IQ3_XXS"
    if early and ftype in ("IQ4_NL", "IQ4_XS"):
        return ftype
    return _WIDER.get(ftype) if early else None


def _fitting(ggml_type: str, n_per_row: int) -> int:
    """Return the type, or llama.cpp's substitute for rows that its blocks don't divide."""
    for name in (ggml_type, "IQ4_NL"):
        if n_per_row % blck_size(GGML_TYPES[name]) == 0:
            return GGML_TYPES[name]
    return GGML_TYPES["F16"]


def _is_attention_v(name: str) -> bool:
    return any(part in name for part in _ATTENTION_V)


def _is_ffn_down(name: str) -> bool:
    return "ffn_down" in name and not _is_attention_v(name) and name.endswith("weight")


def _layer(name: str) -> int:
    layer = _LAYER.match(name)
    return int(layer[1]) if layer else 0
