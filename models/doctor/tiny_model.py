"""A tiny Llama with random weights as a GGUF file, which runs llama.cpp's real paths in a second."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from models.pooling import POOLING_NAMES, PoolingName

Vocabulary = Literal["spm", "bpe"]

# enum llama_token_type
_NORMAL, _UNKNOWN, _CONTROL, _BYTE = 1, 2, 3, 6
_WORDS = ("the", "cat", "sat", "on", "mat", "llama", "corral", "hello", "world", "ing")


@dataclass(frozen=True)
class TinyModel:
    """Sizes of a tiny model. Rows are multiples of 256, so that every k-quant applies; heads are grouped."""

    vocabulary: Vocabulary = "spm"
    n_layer: int = 2
    n_embd: int = 256
    n_ff: int = 512
    n_head: int = 4
    n_head_kv: int = 2
    n_ctx_train: int = 512
    seed: int = 0
    chat_template: str | None = None
    control: tuple[str, ...] = ()
    """The names of further control tokens."""
    pooling: PoolingName | None = None
    """The pooling that the header names, as that of a model for vectors."""
    float16: bool = False
    """The matrices are F16."""

    @property
    def n_embd_head(self) -> int:
        return self.n_embd // self.n_head


def write_tiny_gguf(path: Path, tiny: TinyModel | None = None) -> Path:
    """Write `tiny`, the same bytes each time for the same sizes; returns `path`."""
    import gguf
    import numpy as np

    tiny = tiny or TinyModel()
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name(f"tiny {tiny.vocabulary}")
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16 if tiny.float16 else gguf.LlamaFileType.ALL_F32)
    writer.add_context_length(tiny.n_ctx_train)
    writer.add_embedding_length(tiny.n_embd)
    writer.add_block_count(tiny.n_layer)
    writer.add_feed_forward_length(tiny.n_ff)
    writer.add_head_count(tiny.n_head)
    writer.add_head_count_kv(tiny.n_head_kv)
    writer.add_rope_dimension_count(tiny.n_embd_head)
    writer.add_layer_norm_rms_eps(1e-5)
    n_vocab = _add_spm(writer, tiny) if tiny.vocabulary == "spm" else _add_bpe(writer, tiny)
    writer.add_vocab_size(n_vocab)
    if tiny.pooling is not None:
        writer.add_pooling_type(gguf.PoolingType(POOLING_NAMES.index(tiny.pooling)))
    if tiny.chat_template is not None:
        writer.add_chat_template(tiny.chat_template)
    random = np.random.Generator(np.random.PCG64(tiny.seed))
    for name, shape in tensor_shapes(tiny, n_vocab).items():
        if name.endswith("_norm.weight"):
            data = np.ones(shape, np.float32)
        else:
            data = random.standard_normal(shape, np.float32) / np.float32(np.sqrt(shape[-1]))
            data = data.astype(np.float16) if tiny.float16 else data
        writer.add_tensor(name, data)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def tensor_shapes(tiny: TinyModel, n_vocab: int) -> dict[str, tuple[int, ...]]:
    """Return every tensor's shape by its GGUF name, as numpy has them, the row length last."""
    embd, ff = tiny.n_embd, tiny.n_ff
    embd_kv = tiny.n_head_kv * tiny.n_embd_head
    shapes: dict[str, tuple[int, ...]] = {"token_embd.weight": (n_vocab, embd)}
    for layer in range(tiny.n_layer):
        block = f"blk.{layer}"
        shapes |= {
            f"{block}.attn_norm.weight": (embd,),
            f"{block}.attn_q.weight": (embd, embd),
            f"{block}.attn_k.weight": (embd_kv, embd),
            f"{block}.attn_v.weight": (embd_kv, embd),
            f"{block}.attn_output.weight": (embd, embd),
            f"{block}.ffn_norm.weight": (embd,),
            f"{block}.ffn_gate.weight": (ff, embd),
            f"{block}.ffn_up.weight": (ff, embd),
            f"{block}.ffn_down.weight": (embd, ff),
        }
    return shapes | {"output_norm.weight": (embd,), "output.weight": (n_vocab, embd)}


def _add_spm(writer: object, tiny: TinyModel) -> int:
    """Add a SentencePiece vocabulary: bytes, letters, and prefixes of a few words, so that merges work."""
    import gguf

    assert isinstance(writer, gguf.GGUFWriter)
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    types = [_UNKNOWN, _CONTROL, _CONTROL, *[_BYTE] * 256]
    pieces = ["▁", *(chr(code) for code in range(ord("!"), ord("~") + 1))]
    for word in _WORDS:
        for start in ("", "▁"):
            spelled = start + word
            pieces += [spelled[:end] for end in range(2, len(spelled) + 1)]
    pieces = list(dict.fromkeys(pieces))
    tokens += pieces
    types += [_NORMAL] * len(pieces)
    tokens += tiny.control
    types += [_CONTROL] * len(tiny.control)
    _pad(tokens, types)
    scores = [0.0] * 259 + [-float(rank) for rank in range(len(tokens) - 259)]
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_scores(scores)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(False)
    return len(tokens)


def _add_bpe(writer: object, tiny: TinyModel) -> int:
    """Add a byte-level BPE vocabulary of the GPT-2 kind, with two control tokens as chat models have them."""
    import gguf

    assert isinstance(writer, gguf.GGUFWriter)
    tokens = sorted(_byte_symbols())
    merges = []
    for word in _WORDS:
        for spelled in (word, "Ġ" + word):
            for end in range(2, len(spelled) + 1):
                if spelled[:end] not in tokens:
                    tokens.append(spelled[:end])
                    merges.append(f"{spelled[: end - 1]} {spelled[end - 1]}")
    types = [_NORMAL] * len(tokens)
    control = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *tiny.control]
    tokens += control
    types += [_CONTROL] * len(control)
    _pad(tokens, types)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges(merges)
    writer.add_bos_token_id(tokens.index("<|endoftext|>"))
    writer.add_eos_token_id(tokens.index("<|im_end|>"))
    writer.add_add_bos_token(False)
    return len(tokens)


def _pad(tokens: list[str], types: list[int]) -> None:
    """Fill up to a multiple of 64 rows, as real vocabularies are; some kernels need it."""
    while len(tokens) % 64:
        types.append(_CONTROL)
        tokens.append(f"<reserved_{len(tokens)}>")


def _byte_symbols() -> list[str]:
    """Return the 256 characters by which GPT-2's byte-level BPE writes bytes: printable ones as they are."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return [chr(byte) for byte in printable] + [chr(256 + index) for index in range(len(others))]
