"""The models that llama.cpp's server tests fetch from the Hub, made here: same shapes, weights at random.

    python -m tests.llama_server_suite.stand_ins FOLDER

Some tests look for words of the real models' stories. These models tell them, too: after the last token of
such a test's prompt comes the first word of one of `_STORIES`, after that the next, and then what the random
weights say.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

import gguf
import numpy as np
import numpy.typing as npt

from bench.random_model import copy_vocabulary
from scripts.sources import unpack_sources
from tests.llama_server_suite.names import ADAPTER, BERT, DRAFT, MOE, RERANKER, TINY_INFILL, TINY_LLAMA

Array = npt.NDArray[np.float32]

_MERGES = (
    "_i _ki _truncated _ex an _capit ull el _labor _was, _his _veni _fun _s id _assistant _Then _c _ut "
    "_am _saw end ot _loved ay _thank _a _Li nd _l me _wh _comm |im ru _consectetur ulla ur _mag od |> "
    "_dad _ca rom _vo _dad. _exerc iat _consequ _I _da ate nt _aliquip it _will _bri _kind _template "
    "at _want _W _m _assistant. do st _c+ he _not ok _ver _believe _pl _belie _wit _eius ou _Hello _ipsum "
    "_you. _be _red _they _cillum _you ver _hou om _fou _amet, _gre _com _Franc _Fr _ali _beli "
    "_<|im§start|>syst _ea _exercit ed _<|im§start|> _bel lo start|> _f ve _Do _et _<|im§start|>sy _But "
    "_Lily. _b _par _One _ne _h _end. _H _n is re _v _over _do _outside _w on _esse _li _labore _al "
    "_incididunt _minim _litt _wa _lif sta _are et _y _F _t _nisi _<|im§start|>system _than _iru _veniam, "
    "_aliqua _fibonacc _of _cod _consect _e _ball _house. _store _and _bo sy cc _G _Ge "
)
"""The pieces of the tiny vocabulary, the most useful first, `_` for a space and `§` for `_`. They were chosen
so that the suite's prompts have as many tokens as the suite expects of the real vocabulary."""
_STORIES: Mapping[str, tuple[str, ...]] = {
    "<0x0A>": ("_Suddenly", "_But", "_she_couldn't", "_Whillicter", "_John"),
    "s": ("_blue", "_going", "_kind", "_little"),
    "d": ("_forest",),
    "lo": ("_little", "_day"),
    "?": ("_Whiskers", "_said"),
    "<fim§mid>": ("_Jimmy",),
}
"""The words that follow the last token of the suite's prompts: chats, and what is continued or filled in."""
_STORY = 40.0
"""The size of an embedding in its word's channel, beside numbers of size 1; it outlives the layers."""
_ADAPTED: Mapping[str, float] = {"_special": 0.3, "_home": 0.7, "_love": 1.0}
"""The words that come in place of a story's first one, `blue`, by the scale of the LoRA adapter."""
_STORY_WEIGHT, _SHARPNESS = 3.0, 12.0
"""Weights of a story's word in its channel; the second is by the square of how far a scale is off."""
_BYTE, _CONTROL, _UNKNOWN, _NORMAL = (
    gguf.TokenType.BYTE,
    gguf.TokenType.CONTROL,
    gguf.TokenType.UNKNOWN,
    gguf.TokenType.NORMAL,
)


def make(folder: Path, sources: Path) -> None:
    """Write all stand-ins that aren't there yet; `sources` is llama.cpp's tree, with its vocabularies."""
    folder.mkdir(parents=True, exist_ok=True)
    bert_vocabulary = sources / "models/ggml-vocab-bert-bge.gguf"
    for name, write in (
        (TINY_LLAMA, _write_llama),
        (TINY_INFILL, lambda path: _write_llama(path, infill=True)),
        (MOE, lambda path: _write_llama(path, experts=4)),
        (DRAFT, _write_llama),
        (ADAPTER, _write_adapter),
        (BERT, lambda path: _write_bert(path, bert_vocabulary, reranks=False)),
        (RERANKER, lambda path: _write_bert(path, bert_vocabulary, reranks=True)),
    ):
        if not (folder / name).exists():
            write(folder / f"{name}.part")
            (folder / f"{name}.part").rename(folder / name)


def pieces() -> list[str]:
    """Return the text tokens of the tiny vocabulary, the most useful first: merges, then characters."""
    merges = [_spaced(piece) for piece in _MERGES.split()]
    words = [_spaced(word) for story in (*_STORIES.values(), _ADAPTED) for word in story]
    return [
        *merges,
        *(chr(code) for code in range(0x21, 0x7F)),
        "\u2581",
        *(word for word in dict.fromkeys(words) if word not in merges),
    ]


def _spaced(piece: str) -> str:
    return piece.replace("_", "\u2581").replace("§", "_")


def _write_vocabulary(writer: gguf.GGUFWriter, *, infill: bool) -> list[str]:
    """Write the tiny vocabulary; return its tokens."""
    texts = pieces()
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *texts]
    kinds = [_UNKNOWN, _CONTROL, _CONTROL, *[_BYTE] * 256, *[_NORMAL] * len(texts)]
    scores = [0.0] * 259 + [-float(rank) for rank in range(len(texts))]
    if infill:  # as the real one: three characters that stories don't need
        for offset, name in enumerate(("pre", "suf", "mid"), start=1):
            token = tokens.index("\u2581") - offset
            kinds[token] = _CONTROL
            tokens[token] = f"<fim_{name}>"
            writer.add_uint32(f"tokenizer.ggml.fim_{name}_token_id", token)
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores(scores)
    writer.add_token_types(kinds)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(False)
    return tokens


def _write_llama(path: Path, *, infill: bool = False, experts: int = 0) -> None:
    """Write a Llama in stories260K's shape.

    One channel of the embeddings is constant and makes bytes and the end unlikely tokens; each word of a
    story has one that leads to it.
    """
    n_embd, n_layer, n_head, n_kv, n_ff = 64, 5, 8, 4, 172
    writer = gguf.GGUFWriter(path, "llama", use_temp_file=False)
    writer.add_name(path.stem)
    tokens = _write_vocabulary(writer, infill=infill)
    writer.add_vocab_size(len(tokens))
    writer.add_context_length(2048)
    writer.add_embedding_length(n_embd)
    writer.add_block_count(n_layer)
    writer.add_feed_forward_length(n_ff)
    writer.add_head_count(n_head)
    writer.add_head_count_kv(n_kv)
    writer.add_rope_dimension_count(n_embd // n_head)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    if experts:
        writer.add_expert_count(experts)
        writer.add_expert_used_count(2)
    rng = np.random.default_rng(260)

    def matrix(*shape: int, std: float = 0.3) -> Array:
        values: Array = rng.standard_normal(shape, dtype=np.float32) * np.float32(std)
        return values

    embeddings = matrix(len(tokens), n_embd, std=1.0)
    embeddings[:, 0] = 4.0
    output = matrix(len(tokens), n_embd, std=0.35)
    output[:, 0] = 0.0
    output[:259, 0] = -8.0  # controls and bytes
    if infill:
        output[[tokens.index(f"<fim_{name}>") for name in ("pre", "suf", "mid")], 0] = -8.0
    ways = [way for way in _transitions() if way[0] in tokens]
    embeddings[:, 1 : len(ways) + 1] = output[:, 1 : len(ways) + 1] = 0.0
    for channel, (token, following) in enumerate(ways, start=1):
        embeddings[tokens.index(token), channel] = _STORY
        output[tokens.index(following), channel] = _STORY_WEIGHT
        if following == _spaced("_blue"):
            for word, scale in _ADAPTED.items():
                output[tokens.index(_spaced(word)), channel] = _STORY_WEIGHT - _SHARPNESS * scale**2
    tensors: dict[str, Array] = {
        "token_embd.weight": embeddings,
        "output.weight": output,
        "output_norm.weight": np.ones(n_embd, np.float32),
    }
    width = n_embd // n_head * n_kv
    for layer in range(n_layer):
        prefix = f"blk.{layer}"
        tensors[f"{prefix}.attn_norm.weight"] = np.ones(n_embd, np.float32)
        tensors[f"{prefix}.ffn_norm.weight"] = np.ones(n_embd, np.float32)
        tensors[f"{prefix}.attn_q.weight"] = matrix(n_embd, n_embd)
        tensors[f"{prefix}.attn_k.weight"] = matrix(width, n_embd)
        tensors[f"{prefix}.attn_v.weight"] = matrix(width, n_embd, std=0.15)
        tensors[f"{prefix}.attn_output.weight"] = _quiet(matrix(n_embd, n_embd, std=0.1))
        if experts:
            tensors[f"{prefix}.ffn_gate_inp.weight"] = matrix(experts, n_embd)
            tensors[f"{prefix}.ffn_gate_exps.weight"] = matrix(experts, n_ff, n_embd, std=0.1)
            tensors[f"{prefix}.ffn_up_exps.weight"] = matrix(experts, n_ff, n_embd, std=0.1)
            tensors[f"{prefix}.ffn_down_exps.weight"] = _quiet(matrix(experts, n_embd, n_ff, std=0.1))
        else:
            tensors[f"{prefix}.ffn_gate.weight"] = matrix(n_ff, n_embd, std=0.1)
            tensors[f"{prefix}.ffn_up.weight"] = matrix(n_ff, n_embd, std=0.1)
            tensors[f"{prefix}.ffn_down.weight"] = _quiet(matrix(n_embd, n_ff, std=0.1))
    _write(writer, tensors)


def _write_adapter(path: Path) -> None:
    """Write a LoRA adapter that makes the logits of `_ADAPTED` grow with its scale, each at its own pace.

    At scale s the word for scale w has the weight 3 - 12 (s - w)^2, but for a part that all words have.
    """
    texts = pieces()
    writer = gguf.GGUFWriter(path, "llama", use_temp_file=False)
    writer.add_type(gguf.GGUFType.ADAPTER)
    writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
    writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, 1.0)
    channel = [following for _, following in _transitions()].index(_spaced("_blue")) + 1
    down = np.zeros((1, 64), np.float32)
    down[0, channel] = 1.0
    up = np.zeros((259 + len(texts), 1), np.float32)
    for word, scale in _ADAPTED.items():
        up[259 + texts.index(_spaced(word)), 0] = 2 * _SHARPNESS * scale
    _write(writer, {"output.weight.lora_a": down, "output.weight.lora_b": up})


def _transitions() -> list[tuple[str, str]]:
    """Return each token that a story's word follows, with the word."""
    stories = [[_spaced(token), *map(_spaced, words)] for token, words in _STORIES.items()]
    return [pair for story in stories for pair in pairwise(story)]


def _quiet(values: Array) -> Array:
    """Keep a layer from writing to the channels that mean something."""
    values[..., : len(_transitions()) + 1, :] = 0.0
    return values


def _write_bert(path: Path, vocabulary: Path, *, reranks: bool) -> None:
    """Write an encoder in bge-small's shape, but with fewer layers; a reranker has a head for one score."""
    n_embd, n_layer, n_head, n_ff, n_ctx = 384, 2, 12, 768, 512
    writer = gguf.GGUFWriter(path, "bert", use_temp_file=False)
    writer.add_name(path.stem)
    n_vocab = copy_vocabulary(gguf.GGUFReader(vocabulary), writer)
    writer.add_vocab_size(n_vocab)
    writer.add_context_length(n_ctx)
    writer.add_embedding_length(n_embd)
    writer.add_block_count(n_layer)
    writer.add_feed_forward_length(n_ff)
    writer.add_head_count(n_head)
    writer.add_layer_norm_eps(1e-12)
    writer.add_causal_attention(False)
    writer.add_pooling_type(gguf.PoolingType.RANK if reranks else gguf.PoolingType.CLS)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    rng = np.random.default_rng(384)

    def matrix(*shape: int) -> Array:
        values: Array = rng.standard_normal(shape, dtype=np.float32) * np.float32(0.05)
        return values

    tensors: dict[str, Array] = {
        "token_embd.weight": matrix(n_vocab, n_embd),
        "token_types.weight": matrix(2, n_embd),
        "position_embd.weight": matrix(n_ctx, n_embd),
        **_norm("token_embd_norm", n_embd),
    }
    for layer in range(n_layer):
        prefix = f"blk.{layer}"
        for name, rows, columns in (
            ("attn_q", n_embd, n_embd),
            ("attn_k", n_embd, n_embd),
            ("attn_v", n_embd, n_embd),
            ("attn_output", n_embd, n_embd),
            ("ffn_up", n_ff, n_embd),
            ("ffn_down", n_embd, n_ff),
        ):
            tensors[f"{prefix}.{name}.weight"] = matrix(rows, columns)
            tensors[f"{prefix}.{name}.bias"] = np.zeros(rows, np.float32)
        tensors |= _norm(f"{prefix}.attn_output_norm", n_embd) | _norm(f"{prefix}.layer_output_norm", n_embd)
    if reranks:
        tensors["cls.weight"] = matrix(n_embd, n_embd)
        tensors["cls.bias"] = np.zeros(n_embd, np.float32)
        tensors["cls.output.weight"] = matrix(1, n_embd)
        tensors["cls.output.bias"] = np.zeros(1, np.float32)
    _write(writer, tensors)


def _norm(name: str, n_embd: int) -> dict[str, Array]:
    return {f"{name}.weight": np.ones(n_embd, np.float32), f"{name}.bias": np.zeros(n_embd, np.float32)}


def _write(writer: gguf.GGUFWriter, tensors: Mapping[str, Array]) -> None:
    for name, values in tensors.items():
        writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    make(Path(sys.argv[1]), unpack_sources(dict(os.environ)))
