"""The names of architectures of which llama.cpp's assertions hold, kind by kind. Pure data.

A test compares them with llama.cpp's sources (`src/models/*.cpp`).
"""

from __future__ import annotations


def _names(text: str) -> frozenset[str]:
    """Return the architectures that `text` lists."""
    return frozenset(text.split())


EQUAL_HEADS = _names(
    """
    afmoe apertus arcee arctic baichuan bailingmoe2 bert bitnet bloom chameleon chatglm codeshell cogvlm
    cohere2 cohere2moe command-r dbrx deci deepseek dflash dots1 dream eagle3 ernie4_5 ernie4_5-moe
    eurobert exaone exaone-moe exaone4 falcon glm4 glm4moe gpt2 gptneox granite granite_swa granitehybrid
    granitemoe graniteswitch grok grovemoe hunyuan-dense hunyuan-moe hunyuan_vl hy_v3 internlm2 jais jais2
    jina-bert-v2 jina-bert-v3 laguna llada llada-moe llama llama-embed llama4 maincoder maple mellum
    minicpm minimax-01 minimax-m2 minimax-m3 mistral3 modern-bert mpt muse-glimmer nanbeige nemotron
    nemotron_h nemotron_h_moe neo-bert nomic-bert nomic-bert-moe olmo olmo2 olmoe openelm orion paddleocr
    pangu-embedded phi2 phi3 phimoe plamo pockettts qwen qwen2 qwen2moe qwen2vl qwen3 qwen35 qwen35moe
    qwen3moe qwen3next qwen3vl qwen3vlmoe qwen4exp refact rnd1 seed_oss smallthinker smollm3 spark2_5
    stablelm starcoder starcoder2 t5 t5encoder talkie xverse
    """
)
"""The architectures whose keys and values must have heads of one size."""

WHOLE_ROTATION = _names(
    """
    apertus arcee arctic baichuan chameleon codeshell cogvlm cohere2moe dbrx deci deepseek dots1
    dream ernie4_5 ernie4_5-moe exaone exaone-moe exaone4 falcon granite granite_swa granitemoe
    graniteswitch grok grovemoe hunyuan-dense hunyuan-moe hunyuan_vl hy_v3 internlm2 jais2 llada
    llada-moe llama llama-embed llama4 maincoder mellum minicpm mistral3 olmo olmo2 olmoe orion
    paddleocr pangu-embedded plamo pockettts qwen2 qwen2moe qwen2vl qwen3 qwen3moe qwen3vl
    qwen3vlmoe rnd1 seed_oss smallthinker smollm3 starcoder2 talkie xverse
    """
)
"""The architectures whose heads must be rotated as a whole."""

LLAMAS = _names(
    """
    apertus arcee hrm_text jais jais2 llama-embed llama4 maincoder maple mellum mistral3 nanbeige olmo
    olmoe orion pangu-embedded seed_oss spark2_5 talkie
    """
)
"""The architectures of Llama's cousins, a part of PLAIN_ATTENTION."""

IMAGE_TOKENS_END = 8196
"""Chameleon's tokens of images are those from 4 on and before this one."""

DEFAULT_GATING = _names(
    """
    afmoe cohere2moe deepseek2 deepseek2-ocr glm-dsa glm4moe glm5-next hy_v3 laguna step35
    """
)
"""The architectures that have a gating function of their own where a file says 0, "none"."""

PLAIN_ATTENTION = LLAMAS | _names(
    """
    afmoe arctic baichuan bailingmoe bailingmoe2 bert bitnet bloom chameleon chatglm codeshell
    cohere2 cohere2moe command-r dbrx deci deepseek dots1 eagle3 ernie4_5 ernie4_5-moe eurobert
    exaone exaone-moe exaone4 falcon gemma gemma-embedding gemma2 gemma3 gemma3n glm4 glm4moe
    gpt-oss gpt2 gptneox granite granite_swa granitemoe grok grovemoe hunyuan-dense hunyuan-moe
    hunyuan_vl hy_v3 internlm2 jina-bert-v2 laguna llama mimo2 minicpm minimax-m2 minimax-m3
    modern-bert mpt nemotron neo-bert nomic-bert nomic-bert-moe olmo2 openelm phi2 phi3 phimoe qwen qwen2
    qwen2moe qwen2vl qwen3 qwen3moe qwen3vl qwen3vlmoe refact smallthinker smollm3 stablelm
    starcoder starcoder2 step35 t5 t5encoder
    """
)
"""The architectures whose projections have the rows of their heads; layers of `deci` may have none."""

LATENT_ATTENTION = _names("deepseek2 deepseek32 dots3note glm-dsa minicpm3")
"""The architectures whose keys and values are made from a latent vector, with a rotated part beside it."""

INDEXED_ATTENTION = _names("deepseek32 dots3note glm-dsa")
"""Those of them in which an indexer's heads choose the tokens, rotated by a Hadamard matrix."""

BLOCK_INDEXER = ("head_count", "key_length", "top_k", "block_size", "local_blocks")
"""The numbers of an indexer that chooses blocks of tokens."""

HYBRID = _names("falcon-h1 granitehybrid jamba lfm2 lfm2moe nemotron_h nemotron_h_moe")
"""The architectures some of whose layers attend, with projections that have the rows of their heads."""

STATE_SPACES = _names("falcon-h1 granitehybrid mamba2 nemotron_h nemotron_h_moe")
"""The architectures with layers of Mamba 2."""

RECURRENT = _names("mamba mamba2")
"""The architectures in which no layer attends."""

TWICE_AS_WIDE = _names("granitehybrid jamba")
"""The architectures whose state spaces must have twice the embedding's numbers."""

GEMMA3N_OWN_CACHES = 20
"""The number of Gemma 3n's layers with keys and values of their own: llama.cpp reads it from no key."""

GATING_FUNCTIONS = range(1, 5)
"""llama.cpp's gating functions: softmax, sigmoid, softmax of the chosen, square root of softplus."""

DELTA_NETS = _names("qwen35 qwen35moe qwen3next")
"""The architectures whose layers of linear attention are gated delta nets, and whose queries have gates."""

DELTA_LATENT = _names("bailingmoe3 kimi-linear")
"""The architectures with layers of delta attention between those of latent attention."""

LINEAR_ATTENTION = DELTA_NETS | DELTA_LATENT | _names("minimax-01")
"""The architectures most of whose layers have a state for each head instead of keys and values."""

GATED_WINDOWS = "muse-glimmer"
"""The architecture whose attention is plain but for a gate of its result."""

WINDOW_PERIODS = {
    "afmoe": 4,
    "cohere2": 4,
    "cohere2moe": 4,
    "exaone-moe": 4,
    "exaone4": 4,
    "gemma2": 2,
    "gemma3": 6,
    "gemma3n": 5,
    "gpt-oss": 2,
    "laguna": 4,
    "llama4": 4,
    "mellum": 4,
    "muse-glimmer": 4,
    "olmo2": 4,
    "plamo3": 8,
    "smallthinker": 4,
}
"""The architectures one of whose so many layers has no window where a header doesn't say which."""

ENCODER_WINDOW_PERIODS = {"gemma-embedding": 6, "modern-bert": 3}
"""The encoders with windows, which have no cache, and their periods where a header doesn't say them."""

WHOLE_FIRST = _names("cohere2moe laguna smallthinker")
"""Those of them whose first layer is one without a window."""

WINDOWS_IF_POSITIVE = _names("afmoe gemma3 laguna mellum olmo2 plamo3 smallthinker")
"""Those of them in which no layer needs a window where its size is 0 or missing."""

EXAONE4_LAYERS_WITH_WINDOWS = 64
"""The number of layers by which llama.cpp tells an EXAONE 4 with windows."""

LISTED_WINDOWS = _names("gemma4 granite_swa maple mimo2 spark2_5 step35")
"""The architectures whose header must list the layers with a window."""

TEMPERATURES = _names("deepseek2 mistral4")
"""The architectures that read after how many tokens attention is scaled from a header alone."""

EXPERTS_ONLY = _names("bailingmoe2 glm4moe grovemoe lfm2moe llada-moe smallthinker")
"""The architectures that must have experts; `lfm2moe` may have feed-forward layers alone."""

COUNTS = {
    "afmoe": ("attention.sliding_window",),
    "deepseek32": ("attention.key_length_mla", "attention.value_length_mla"),
    "dots3note": ("attention.key_length_mla", "attention.value_length_mla"),
    "ernie4_5-moe": ("interleave_moe_layer_step",),
    "glm-dsa": ("attention.key_length_mla", "attention.value_length_mla"),
    "grovemoe": ("experts_per_group",),
    "minimax-m3": tuple(f"attention.indexer.{key}" for key in BLOCK_INDEXER),
}
"""The keys that an architecture's header must have, with a number from 1 on."""

SHORT_CONVOLUTIONS = _names("lfm2 lfm2moe")
"""The architectures with layers of convolutions of two tokens or more."""

SAME_WIDTH = {"gemma-embedding": ("dense_2_feat_in", "dense_3_feat_out")}
"""The widths that must be the embedding's own where a header has them."""

GATING_NEEDED = _names("dots1 hy_v4 minimax-m2 smallthinker")
"""The architectures that have no gating function where a header doesn't say."""

MIXED_BY_HEADS = _names("bailingmoe3 granitehybrid jamba kimi-linear lfm2 lfm2moe nemotron_h nemotron_h_moe")
"""The architectures in which a layer without key-value heads has a state, and the others attend."""

MIXED_BY_INTERVAL = {"minimax-01": 8, "qwen35": 4, "qwen35moe": 4, "qwen3next": 4}
"""The architectures in which one of so many layers attends, where a header doesn't say which."""

GLM_LONG_CONTEXT = 1 << 20
"""The tokens of context from which on llama.cpp takes a GLM to share indexers, where a header doesn't say."""
