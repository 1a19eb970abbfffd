"""Byte-level BPE from tiktoken's files (Llama 3's own tokenizer.model, GLM-4's, qwen.tiktoken …).

    IQ== 0          each line has a token's bytes in base64, and its rank, which is its id
    Ig== 1

Merges aren't in the file: two tokens merge if together they are a token, the lowest rank first. The models'
Python code says how text is split and which tokens are special; an unknown `Kind` is refused.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final

from models.errors import UnknownTokenizer
from quantize.checkpoint.json_file import read_bounded
from quantize.vocabulary.files import AddedToken, TokenizerFiles
from quantize.vocabulary.special_tokens import special_tokens
from quantize.vocabulary.token_table import TokenTable
from quantize.vocabulary.tokenizer_json import by_id, check_own_ids
from quantize.vocabulary.vocabulary import SpecialTokens, Token, TokenType, Vocabulary

Ranks = dict[bytes, int]

_PRINTABLE: Final = frozenset([*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)])


def _byte_characters() -> tuple[str, ...]:
    others = iter(range(0x100, 0x200))
    return tuple(chr(byte if byte in _PRINTABLE else next(others)) for byte in range(256))


BYTE_CHARACTERS: Final = _byte_characters()
"""The printable character for each byte in GPT-2's and all byte-level vocabularies.

Source: https://github.com/openai/gpt-2/blob/master/src/encoder.py (`bytes_to_unicode`).
"""


@dataclass(frozen=True)
class Kind:
    """A family's tiktoken files.

    `special` are the tokens after the ranks, and `roles` their parts, where no file names them. With
    `all_pairs` every pair that makes a token merges, as in Llama 3's tokenizer.json; else the one that the
    tokens' order leads to, as in Qwen's.
    """

    pre: str
    special: tuple[str, ...] = ()
    roles: Mapping[str, str] | None = None
    adds_bos: bool | None = None
    all_pairs: bool = False


LLAMA3_SPECIAL: Final = (
    "<|begin_of_text|>",
    "<|end_of_text|>",
    "<|reserved_special_token_0|>",
    "<|reserved_special_token_1|>",
    "<|finetune_right_pad_id|>",
    "<|reserved_special_token_2|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eom_id|>",
    "<|eot_id|>",
    "<|python_tag|>",
    *(f"<|reserved_special_token_{i}|>" for i in range(3, 248)),
)
LLAMA3: Final = Kind(
    "llama-bpe",
    LLAMA3_SPECIAL,
    {"bos": "<|begin_of_text|>", "eos": "<|end_of_text|>", "eot": "<|eot_id|>", "eom": "<|eom_id|>"},
    adds_bos=True,
    all_pairs=True,
)
QWEN: Final = Kind(
    "qwen2",
    ("<|endoftext|>", "<|im_start|>", "<|im_end|>", *(f"<|extra_{i}|>" for i in range(205))),
    {"bos": "<|endoftext|>", "eos": "<|endoftext|>", "unk": "<|endoftext|>"},
)
GLM4: Final = Kind(
    "chatglm-bpe",
    (
        "<|endoftext|>",
        "[MASK]",
        "[gMASK]",
        "[sMASK]",
        "<sop>",
        "<eop>",
        "<|system|>",
        "<|user|>",
        "<|assistant|>",
        "<|observation|>",
        "<|begin_of_image|>",
        "<|end_of_image|>",
        "<|begin_of_video|>",
        "<|end_of_video|>",
    ),
    {"eos": "<|endoftext|>", "pad": "<|endoftext|>"},
)
ARCADE: Final = Kind("stablelm2", roles={"bos": "<|endoftext|>", "eos": "<|endoftext|>"})
BY_FILE: Final[Mapping[str, Kind]] = {"qwen.tiktoken": QWEN, "arcade100k.tiktoken": ARCADE}
BY_MODEL_TYPE: Final[Mapping[str, Kind]] = {"llama": LLAMA3, "chatglm": GLM4, "qwen": QWEN}
SHARED_NAMES: Final = ("tokenizer.model", "tokenizer.tiktoken")


def tiktoken_vocabulary(files: TokenizerFiles, n_vocab: int | None) -> Vocabulary | None:
    """Return the vocabulary if the folder has such a file and no tokenizer.json, else None.

    Raises UnknownTokenizer: a damaged file, one of an unknown kind, or an id beyond the embedding.
    """
    location = _find(files)
    if location is None or files.tokenizer is not None:
        return None
    path, kind = location
    ranks = read_ranks(path)
    texts = {token: "".join(BYTE_CHARACTERS[byte] for byte in token) for token in ranks}
    table = _table(files, kind, path.name, {text: ranks[token] for token, text in texts.items()}, n_vocab)
    tokens = by_id(table, n_vocab)
    for token_id, added in table.added.items():
        tokens[token_id] = Token(added.content, TokenType.CONTROL)
    pairs = (pair for token in ranks for pair in merges_of(token, ranks, all_pairs=kind.all_pairs))
    merges = [f"{texts[left]} {texts[right]}" for left, right in pairs]
    return Vocabulary("gpt2", kind.pre, tokens, merges, _roles(files, kind, table, n_vocab), table=table)


def is_tiktoken(path: Path) -> bool:
    """True if this is a list of base64 lines, whose first token is mostly `!`."""
    with path.open("rb") as file:
        line = file.readline(200)
    first, _, rank = line.strip().partition(b" ")
    return rank.isdigit() and len(first) % 4 == 0 and first.replace(b"=", b"").isalnum()


def read_ranks(path: Path) -> Ranks:
    """Return each token's rank, in the order of the ranks.

    Raises UnknownTokenizer: not such a file, or gaps.
    """
    ranks: Ranks = {}
    for number, line in enumerate(read_bounded(path).splitlines(), start=1):
        if not line.strip():
            continue
        try:
            text, rank = line.split()
            ranks[base64.b64decode(text, validate=True)] = int(rank)
        except (ValueError, binascii.Error) as error:
            raise UnknownTokenizer(
                f"line {number} of {path.name} isn't a token in base64 and a rank; download it again"
            ) from error
    if sorted(ranks.values()) != list(range(len(ranks))) or not ranks:
        raise UnknownTokenizer(f"the ranks of {path.name} have gaps; download it again")
    return dict(sorted(ranks.items(), key=lambda item: item[1]))


def merges_of(token: bytes, ranks: Ranks, *, all_pairs: bool) -> list[tuple[bytes, bytes]]:
    """Return the pairs of tokens that make this one, in the order in which they count."""
    if len(token) == 1:
        return []
    if all_pairs:
        pairs = [
            (token[:cut], token[cut:])
            for cut in range(1, len(token))
            if token[:cut] in ranks and token[cut:] in ranks
        ]
        return sorted(pairs, key=lambda pair: (ranks[pair[0]], ranks[pair[1]]))
    parts = _merge_below(token, ranks)
    return [(parts[0], parts[1])] if len(parts) == 2 else []


def _merge_below(token: bytes, ranks: Ranks) -> list[bytes]:
    """Merge the token's bytes as long as the results have lower ranks than the token itself."""
    parts = [token[i : i + 1] for i in range(len(token))]
    limit = ranks[token]
    while len(parts) > 1:
        rank, at = min((ranks.get(left + right, limit), i) for i, (left, right) in enumerate(pairwise(parts)))
        if rank >= limit:
            break
        parts[at : at + 2] = [parts[at] + parts[at + 1]]
    return parts


def _find(files: TokenizerFiles) -> tuple[Path, Kind] | None:
    for name, kind in BY_FILE.items():
        if (files.directory / name).is_file():
            return files.directory / name, kind
    for name in SHARED_NAMES:
        path = files.directory / name
        if path.is_file() and is_tiktoken(path):
            model_type = str(files.config.get("model_type"))
            if model_type not in BY_MODEL_TYPE and files.tokenizer is None:
                raise UnknownTokenizer(
                    f"{name} is a tiktoken file, which doesn't say how text is split, and for the model type "
                    f"{model_type!r} that isn't known here; add a tokenizer.json"
                )
            return path, BY_MODEL_TYPE.get(model_type, LLAMA3)
    return None


def _table(
    files: TokenizerFiles, kind: Kind, name: str, ranks: Mapping[str, int], n_vocab: int | None
) -> TokenTable:
    """Return texts and ids: the ranks, then special tokens, of files or else those the kind always has."""
    own = dict(ranks)
    if not files.added_elsewhere():
        own |= {text: len(ranks) + i for i, text in enumerate(kind.special)}
    check_own_ids(own, n_vocab, f"{name} with its special tokens")
    table = TokenTable.of(files, own, n_vocab, as_declared=True)
    special = {own[text]: AddedToken(own[text], text, special=True) for text in kind.special if text in own}
    return dataclasses.replace(table, added=special | dict(table.added))


def _roles(files: TokenizerFiles, kind: Kind, table: TokenTable, n_vocab: int | None) -> SpecialTokens:
    by_files = special_tokens(files, table, n_vocab)
    ids = dict(by_files.ids)
    for role, text in (kind.roles or {}).items():
        if text in table.ids:
            ids.setdefault(role, table.ids[text])
    add = dict(by_files.add)
    if kind.adds_bos is not None:
        add.setdefault("bos", kind.adds_bos)
    return SpecialTokens(ids, add)
