"""The forms in which people save tokenizers: a table of changes to tiny folders.

What transformers reads out of each is in data/saved_forms.json (`test_saved_forms_oracle.py` writes it);
`test_saved_forms.py` compares it with what we read.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from quantize.vocabulary.sentencepiece import read_sentencepiece
from tests.pico import write_json
from tests.pico_encoder_tokenizers import (
    write_t5_tokenizer,
    write_wordpiece_tokenizer,
    write_xlm_json,
    write_xlm_model,
    xlm_json,
)
from tests.pico_tokenizer import write_bpe_tokenizer, write_spm_tokenizer

GOLDEN: Final = Path(__file__).parent / "data" / "saved_forms.json"
N_BPE, N_SPM, N_ENCODER = 416, 466, 430
"""The rows of the embedding, a few more than there are tokens."""

TEXT, START, END, THINK = 406, 407, 408, 409
"""The ids of the byte-level BPE's added tokens: <|endoftext|>, <|im_start|>, <|im_end|>, <think>."""

SPM_START, SPM_END = 459, 460

GONE: Final = object()
"""The value of a field that is removed."""

Kind = Literal["bpe", "spm", "wordpiece", "t5", "xlm"]


class Folder:
    """A folder with a tokenizer, to be changed."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def edit(self, name: str, change: Callable[[dict[str, Any]], object]) -> None:
        """Change a JSON file in place; one that isn't there begins empty."""
        path = self.path / name
        value = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        change(value)
        write_json(path, value)

    def lay(self, name: str, **fields: Any) -> None:
        """Lay fields over a JSON file; one that is GONE goes."""

        def change(value: dict[str, Any]) -> None:
            value.update(fields)
            for key in [key for key, item in value.items() if item is GONE]:
                del value[key]

        self.edit(name, change)

    def settings(self, **fields: Any) -> None:
        self.lay("tokenizer_config.json", **fields)

    def write(self, name: str, text: str) -> None:
        path = self.path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def add(self, token_id: int, content: str, *, special: bool) -> None:
        """Add a token to tokenizer.json."""
        added = entry(token_id, content, special)
        self.edit("tokenizer.json", lambda value: value["added_tokens"].append(added))


def entry(token_id: int, content: str, special: bool) -> dict[str, Any]:
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {"id": token_id, "content": content, **flags, "special": special}


@dataclass(frozen=True)
class SavedForm:
    """A change of a folder whose config.json has `config`, for a model with `n_vocab` rows."""

    name: str
    kind: Kind
    change: Callable[[Folder], object]
    config: dict[str, Any]
    n_vocab: int

    def write(self, directory: Path) -> Path:
        """Write the folder; returns it."""
        directory.mkdir(parents=True, exist_ok=True)
        match self.kind:
            case "bpe":
                write_bpe_tokenizer(directory)
            case "spm":
                write_spm_tokenizer(directory)
            case "wordpiece":
                write_wordpiece_tokenizer(directory)
            case "t5":
                write_t5_tokenizer(directory)
            case "xlm":
                write_t5_tokenizer(directory)
                write_xlm_json(directory)
        write_json(directory / "config.json", self.config)
        self.change(Folder(directory))
        return directory


MODEL_TYPES: Final = {"bpe": "llama", "spm": "llama", "wordpiece": "bert", "t5": "t5", "xlm": "xlm-roberta"}


def form(name: str, change: Callable[[Folder], object], kind: Kind = "bpe", **config: Any) -> SavedForm:
    n_vocab = {"bpe": N_BPE, "spm": N_SPM}.get(kind, N_ENCODER)
    return SavedForm(name, kind, change, {"model_type": MODEL_TYPES[kind], **config}, n_vocab)


def by_transformers_5(folder: Folder) -> None:
    """Leave all tokens to tokenizer.json; tokenizer_config.json names the special ones in a list."""
    folder.settings(added_tokens_decoder=GONE, chat_template=GONE, extra_special_tokens=["<|im_start|>"])
    folder.write("chat_template.jinja", "five {{ messages[0]['content'] }}<|im_end|>")


def older_names(folder: Folder) -> None:
    folder.settings(added_tokens_decoder=GONE, eos_token=GONE, pad_token=GONE)
    folder.lay(
        "special_tokens_map.json",
        eos_token={"content": "<|im_end|>", "lstrip": False, "normalized": False},
        pad_token="<|endoftext|>",
        additional_special_tokens=["<|im_start|>", "<|im_end|>"],
    )
    folder.lay("added_tokens.json", **{"<|endoftext|>": TEXT, "<|im_start|>": START, "<|im_end|>": END})


def older_names_win(folder: Folder) -> None:
    folder.settings(added_tokens_decoder=GONE)
    folder.lay("special_tokens_map.json", eos_token="<|endoftext|>")


def added_in_settings(folder: Folder, token_id: int, content: str, special: bool) -> None:
    added = {key: value for key, value in entry(token_id, content, special).items() if key != "id"}
    folder.edit("tokenizer_config.json", lambda v: v["added_tokens_decoder"].update({str(token_id): added}))


def named_templates(folder: Folder) -> None:
    folder.settings(
        chat_template=[
            {"name": "default", "template": "plain {{ messages }}"},
            {"name": "tool_use", "template": "tools {{ tools }}"},
            {"name": "rag", "template": "documents {{ documents }}"},
        ]
    )


def templates_in_files(folder: Folder) -> None:
    named_templates(folder)
    folder.write("chat_template.jinja", "file {{ messages }}")
    folder.write("additional_chat_templates/tool_use.jinja", "file of tools {{ tools }}")


def template_beside_null(folder: Folder) -> None:
    folder.settings(chat_template=None)
    folder.write("chat_template.jinja", "file {{ messages }}")


def beyond(folder: Folder) -> None:
    folder.settings(added_tokens_decoder=GONE, pad_token="[PAD]")
    for i in range(N_BPE - THINK):
        folder.add(THINK + 1 + i, f"<more{i}>", special=True)


def stops_of_generation(folder: Folder) -> None:
    folder.settings(eos_token=None)
    folder.lay("generation_config.json", eos_token_id=[START, TEXT])


def pieces_again(folder: Folder) -> None:
    folder.settings(added_tokens_decoder=GONE)
    pieces = {"<unk>": 0, "<s>": 1, "</s>": 2, "\u2581the": 300}
    added = {"<|im_start|>": SPM_START, "<|im_end|>": SPM_END}
    write_json(folder.path / "added_tokens.json", pieces | added)


def whole_json_of_pieces(folder: Folder) -> None:
    """Give a SentencePiece model the tokenizer.json that transformers 5 writes beside it."""
    (folder.path / "added_tokens.json").unlink()
    folder.settings(added_tokens_decoder=GONE, extra_special_tokens=["<|im_start|>", "<|im_end|>"])
    pieces = read_sentencepiece(folder.path / "tokenizer.model").pieces
    texts = {piece.text: i for i, piece in enumerate(pieces)}
    special = [*enumerate(("<unk>", "<s>", "</s>")), (SPM_START, "<|im_start|>"), (SPM_END, "<|im_end|>")]
    added = [entry(i, text, special=True) for i, text in special]
    tokenizer = {
        **dict.fromkeys(("truncation", "padding", "normalizer", "pre_tokenizer", "post_processor")),
        "version": "1.0",
        "added_tokens": [*added, entry(SPM_END + 1, "<more>", special=False)],
        "decoder": {"type": "Sequence", "decoders": [{"type": "ByteFallback"}, {"type": "Fuse"}]},
        "model": {
            "type": "BPE",
            "byte_fallback": True,
            "vocab": texts,
            "merges": [[text[:-1], text[-1]] for text in texts if {text[:-1], text[-1]} <= texts.keys()],
        },
    }
    write_json(folder.path / "tokenizer.json", tokenizer)


def outgrown_pieces(folder: Folder) -> None:
    """Give tokenizer.json tokens of its own that tokenizer.model lacks."""
    whole_json_of_pieces(folder)
    more = {"\u2581corral": SPM_START, "\u2581llama": SPM_END}

    def change(value: dict[str, Any]) -> None:
        value["model"]["vocab"].update(more)
        value["added_tokens"] = [t for t in value["added_tokens"] if t["id"] < SPM_START]
        value["added_tokens"] += [entry(SPM_END + 1, "<|im_start|>", special=True)]
        value["added_tokens"] += [entry(SPM_END + 2, "<|im_end|>", special=True)]

    folder.edit("tokenizer.json", change)


def spm_names(folder: Folder) -> None:
    folder.settings(added_tokens_decoder=GONE, eos_token=GONE)
    (folder.path / "added_tokens.json").unlink()
    folder.lay("added_tokens.json", **{"<|im_start|>": SPM_START, "<|im_end|>": SPM_END})
    folder.lay(
        "special_tokens_map.json",
        eos_token={"content": "<|im_end|>"},
        additional_special_tokens=["<|im_start|>"],
    )


def file_of_unigrams(folder: Folder) -> None:
    """Put the SentencePiece file beside the tokenizer.json, which has one token more."""
    write_t5_tokenizer(folder.path)
    write_xlm_model(folder.path)
    size = len(xlm_json()["model"]["vocab"])
    folder.add(size, "<more>", special=False)


SAVED_FORMS: Final = (
    form("transformers-4", lambda f: None, eos_token_id=END),
    form("transformers-5", by_transformers_5, eos_token_id=END),
    form("older", older_names, eos_token_id=END),
    form("older-names-win", older_names_win, eos_token_id=END),
    form("name-as-object", lambda f: f.settings(eos_token={"__type": "AddedToken", "content": "<|im_end|>"})),
    form("extra-by-name", lambda f: f.settings(extra_special_tokens={"think_token": "<think>"})),
    form("own-name", lambda f: f.settings(image_token="<|im_start|>", audio_token="<|audio|>")),
    form("older-list", lambda f: f.settings(additional_special_tokens=["<|im_start|>", "<more>"])),
    form("no-settings", lambda f: (f.path / "tokenizer_config.json").unlink(), eos_token_id=[END, TEXT]),
    form("marked-in-settings", lambda f: added_in_settings(f, THINK, "<think>", special=True)),
    form("only-in-tokenizer-json", lambda f: f.add(THINK + 1, "<a>", special=True)),
    form("only-in-settings", lambda f: added_in_settings(f, THINK + 1, "<extra>", special=True)),
    form("gap-in-settings", lambda f: added_in_settings(f, THINK + 4, "<extra>", special=False)),
    form("gap", lambda f: f.add(THINK + 4, "<extra>", special=True)),
    form("own-text-again", lambda f: f.add(THINK + 1, "!", special=False)),
    form("added-text-again", lambda f: f.add(THINK + 1, "<think>", special=True)),
    form("own-id-again", lambda f: f.add(5, "<new>", special=True)),
    form("padding-token-is-new", lambda f: f.settings(pad_token="[PAD]")),
    form("beyond-the-embedding", beyond),
    form("stops-of-config", lambda f: f.settings(eos_token=None), eos_token_id=[START, THINK]),
    form("stops-of-generation", stops_of_generation, eos_token_id=THINK),
    form("stops-besides", lambda f: f.lay("generation_config.json", eos_token_id=[TEXT, THINK])),
    form("one-stop-of-generation", lambda f: f.lay("generation_config.json", eos_token_id=TEXT)),
    form("named-templates", named_templates),
    form("templates-in-files", templates_in_files),
    form("template-beside-null", template_beside_null),
    form("template-over-settings", lambda f: f.write("chat_template.jinja", "file\r\nof two lines")),
    form("template-by-name", lambda f: f.settings(chat_template={"default": "a", "rag": "b"})),
    form("pieces", lambda f: None, "spm", eos_token_id=2),
    form("pieces-without-settings", lambda f: (f.path / "tokenizer_config.json").unlink(), "spm"),
    form("pieces-older", lambda f: f.settings(added_tokens_decoder=GONE), "spm"),
    form("pieces-again", pieces_again, "spm"),
    form("pieces-and-json", whole_json_of_pieces, "spm"),
    form("pieces-outgrown", outgrown_pieces, "spm"),
    form("pieces-older-names", spm_names, "spm", eos_token_id=2),
    form("pieces-of-chat", lambda f: f.settings(eos_token="<|im_end|>"), "spm", eos_token_id=2),
    form("wordpieces", lambda f: f.add(425, "<more>", special=False), "wordpiece"),
    form("unigrams", lambda f: None, "xlm"),
    form("unigrams-and-file", file_of_unigrams, "xlm"),
)
