"""The embedded demo checkpoint: files, sizes, shapes and the chat template."""

from __future__ import annotations

import json
import struct
from typing import Any

import jinja2
import pytest

from models.demo import CHECKPOINT_FILES, DEMO_DIR
from models.demo.training.corpus.exchange import Chat, Exchange
from models.demo.training.corpus.formats import prompt

LIMIT_BYTES = 24 * 1024 * 1024
QWEN2_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|"
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def read(name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((DEMO_DIR / name).read_text())
    return content


@pytest.fixture(scope="module")
def header() -> dict[str, Any]:
    """The safetensors header: name → dtype, shape, offsets."""
    with (DEMO_DIR / "model.safetensors").open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        content: dict[str, Any] = json.loads(file.read(length))
    content.pop("__metadata__", None)
    return content


def test_the_files_are_there_and_small() -> None:
    sizes = {name: (DEMO_DIR / name).stat().st_size for name in CHECKPOINT_FILES}
    assert all(sizes.values())
    assert sum(sizes.values()) <= LIMIT_BYTES


def test_the_weights_file_is_as_long_as_its_header_says(header: dict[str, Any]) -> None:
    path = DEMO_DIR / "model.safetensors"
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
    assert path.stat().st_size == 8 + length + max(entry["data_offsets"][1] for entry in header.values())


def test_every_row_is_a_multiple_of_256(header: dict[str, Any]) -> None:
    config = read("config.json")
    for key in ("hidden_size", "intermediate_size", "vocab_size"):
        assert config[key] % 256 == 0, key
    assert config["num_attention_heads"] * config["head_dim"] % 256 == 0
    assert config["num_key_value_heads"] < config["num_attention_heads"]
    for name, entry in header.items():
        assert entry["dtype"] == "F16", name
        assert entry["shape"][-1] % 256 == 0, name


def test_the_tensors_are_those_of_the_config(header: dict[str, Any]) -> None:
    config = read("config.json")
    assert config["architectures"] == ["LlamaForCausalLM"]
    assert config["tie_word_embeddings"] is True
    assert "lm_head.weight" not in header
    hidden, keys = config["hidden_size"], config["num_key_value_heads"] * config["head_dim"]
    assert header["model.embed_tokens.weight"]["shape"] == [config["vocab_size"], hidden]
    for layer in range(config["num_hidden_layers"]):
        assert header[f"model.layers.{layer}.self_attn.k_proj.weight"]["shape"] == [keys, hidden]
        assert header[f"model.layers.{layer}.mlp.down_proj.weight"]["shape"] == [
            hidden,
            config["intermediate_size"],
        ]
    assert len(header) == 2 + 9 * config["num_hidden_layers"]


def test_the_tokenizer_is_qwen2s_kind_and_adds_bos() -> None:
    tokenizer, config = read("tokenizer.json"), read("tokenizer_config.json")
    split, byte_level = tokenizer["pre_tokenizer"]["pretokenizers"]
    assert tokenizer["normalizer"] == {"type": "NFC"}
    assert split["pattern"] == {"Regex": QWEN2_SPLIT}
    assert split["behavior"] == "Isolated"
    assert byte_level["type"] == "ByteLevel"
    assert byte_level["use_regex"] is False
    vocabulary = tokenizer["model"]["vocab"]
    assert sorted(vocabulary.values()) == list(range(read("config.json")["vocab_size"]))
    assert vocabulary[config["bos_token"]] == read("config.json")["bos_token_id"]
    assert vocabulary[config["eos_token"]] == read("config.json")["eos_token_id"]
    assert config["add_bos_token"] is True
    assert tokenizer["post_processor"]["single"][0] == {"SpecialToken": {"id": "<s>", "type_id": 0}}


def render(messages: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
    environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined)  # noqa: S701
    config = read("tokenizer_config.json")
    return environment.from_string(config["chat_template"]).render(
        messages=messages,
        add_generation_prompt=add_generation_prompt,
        bos_token=config["bos_token"],
        eos_token=config["eos_token"],
    )


def test_the_chat_template_is_vicuna_v1_1() -> None:
    user, assistant = {"role": "user", "content": "U1"}, {"role": "assistant", "content": "A1"}
    later = {"role": "user", "content": "U2"}
    system = (
        "A chat between a curious user and an artificial intelligence assistant. The assistant gives "
        "helpful, detailed, and polite answers to the user's questions."
    )
    assert render([user]) == f"{system} USER: U1 ASSISTANT:"
    assert render([user, assistant, later]) == f"{system} USER: U1 ASSISTANT: A1</s>USER: U2 ASSISTANT:"
    assert render([{"role": "system", "content": "S"}, user]) == "S USER: U1 ASSISTANT:"
    assert render([user, assistant], add_generation_prompt=False) == f"{system} USER: U1 ASSISTANT: A1</s>"


def test_the_chat_template_writes_what_was_trained() -> None:
    turns = tuple(Exchange("chats", f"question {n}?", f"Answer {n}.") for n in range(3))
    messages = [{"role": "system", "content": "Be kind."}]
    for turn in turns:
        messages += [{"role": "user", "content": turn.user}, {"role": "assistant", "content": turn.answer}]
    assert render(messages[:-1]) == prompt(Chat(turns, "Be kind."), "vicuna")
