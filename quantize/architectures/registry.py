"""The list of all families, and the family of a checkpoint or of a GGUF file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from models.errors import UnknownArchitecture
from quantize.architectures.baichuan import Baichuan
from quantize.architectures.base.architecture import Architecture
from quantize.architectures.base.config import ModelConfig
from quantize.architectures.bert import Bert, Roberta, XLMRoberta
from quantize.architectures.bloom import Bloom
from quantize.architectures.chatglm import ChatGLM
from quantize.architectures.command_r import Cohere2, CommandR
from quantize.architectures.deepseek import Deepseek
from quantize.architectures.deepseek2 import Deepseek2, Deepseek3
from quantize.architectures.falcon import Falcon
from quantize.architectures.gemma import Gemma, Gemma2
from quantize.architectures.gemma3 import Gemma3
from quantize.architectures.glm import Glm, Glm4
from quantize.architectures.gpt2 import GPT2
from quantize.architectures.gptneox import GPTNeoX
from quantize.architectures.granite import Granite, GraniteMoe
from quantize.architectures.internlm2 import InternLM2
from quantize.architectures.jina_bert import JinaBert
from quantize.architectures.llama import Llama, Mistral
from quantize.architectures.mixtral import Mixtral
from quantize.architectures.mpt import MPT
from quantize.architectures.nomic_bert import NomicBert
from quantize.architectures.olmo2 import Olmo2
from quantize.architectures.phi2 import Phi2
from quantize.architectures.phi3 import Phi3
from quantize.architectures.phi_moe import PhiMoE
from quantize.architectures.qwen2 import Qwen2, Qwen2Moe
from quantize.architectures.qwen3 import Qwen3, Qwen3Moe
from quantize.architectures.smollm3 import SmolLM3
from quantize.architectures.stablelm import StableLM
from quantize.architectures.starcoder2 import StarCoder2
from quantize.architectures.t5 import MT5, T5, UMT5, T5Encoder

ARCHITECTURES: Final[tuple[type[Architecture], ...]] = (
    Llama,
    Mistral,
    Mixtral,
    SmolLM3,
    Granite,
    GraniteMoe,
    Qwen2,
    Qwen2Moe,
    Qwen3,
    Qwen3Moe,
    Olmo2,
    Gemma,
    Gemma2,
    Gemma3,
    Phi2,
    Phi3,
    PhiMoE,
    CommandR,
    Cohere2,
    StableLM,
    StarCoder2,
    InternLM2,
    Baichuan,
    GPT2,
    GPTNeoX,
    Falcon,
    MPT,
    Bloom,
    ChatGLM,
    Glm,
    Glm4,
    Deepseek,
    Deepseek2,
    Deepseek3,
    Bert,
    Roberta,
    XLMRoberta,
    JinaBert,
    NomicBert,
    T5,
    T5Encoder,
    MT5,
    UMT5,
)
"""Every family. Their order means nothing: each `architectures` entry belongs to one of them."""

READING_BACK: Final[Mapping[str, type[Architecture]]] = {
    "bert": Bert,
    "chatglm": ChatGLM,
    "deepseek2": Deepseek2,
    "llama": Llama,
    "t5": T5,
}
"""The family by which a GGUF file is read back, for each architecture that several families write."""

UNKNOWN_TO_LLAMA_CPP: Final[Mapping[str, str]] = {"OPTForCausalLM": "OPT", "OPTModel": "OPT"}
"""The `architectures` entries of well-known models that llama.cpp can't run, and the models' names."""


def architecture_of(config: Mapping[str, Any]) -> Architecture:
    """Return the family of a checkpoint.

    Raises UnknownArchitecture, naming those known, or CheckpointError.
    """
    fields = ModelConfig(config)
    name = fields.architecture()
    for family in ARCHITECTURES:
        if name in family.huggingface_names:
            return family(fields.with_aliases(family.aliases))
    known = ", ".join(known_architectures())
    if name in UNKNOWN_TO_LLAMA_CPP:
        raise UnknownArchitecture(
            f"{UNKNOWN_TO_LLAMA_CPP[name]} ({name}) is not known to llama.cpp, so nothing could run a file "
            f"of it; choose a model of another architecture, known are {known}"
        )
    raise UnknownArchitecture(f"the architecture {name} is not known here; known are {known}")


def known_architectures() -> list[str]:
    """Return the `architectures` entries that can be quantized."""
    return sorted(name for family in ARCHITECTURES for name in family.huggingface_names)


def families_by_gguf_name() -> Mapping[str, type[Architecture]]:
    """Return the family by which a GGUF file of each architecture is read back.

    Families that choose their GGUF name by the configuration are not among them.
    """
    return {**{family.gguf_name: family for family in ARCHITECTURES if family.gguf_name}, **READING_BACK}
