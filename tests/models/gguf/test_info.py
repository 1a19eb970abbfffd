from __future__ import annotations

import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from models.gguf.info import GGUFArray, read_gguf_info, split_paths
from tests.malformed_gguf import N_EMBD, N_LAYERS, N_TOKENS, write_small_gguf
from tests.models.gguf.refusal import refused


def test_a_valid_file(small: Path) -> None:
    info = read_gguf_info(small)
    assert (info.architecture, info.name, info.ftype, info.kind) == ("llama", "small", "Q8_0", "model")
    assert (info.n_ctx_train, info.n_embd, info.n_layer, info.n_vocab) == (512, N_EMBD, N_LAYERS, N_TOKENS)
    assert info.chat_template == "{{ messages[0].content }}"
    assert info.per_layer("attention.head_count_kv") == [2, 2]
    assert info.paths == (small,)
    assert info.size_bytes == small.stat().st_size
    tokens = info.metadata["tokenizer.ggml.tokens"]
    assert isinstance(tokens, GGUFArray)
    assert list(tokens.strings())[:2] == [b"token0", b"token1"]
    types = info.metadata["tokenizer.ggml.token_type"]
    assert isinstance(types, GGUFArray)
    assert types.numbers() == [1] * N_TOKENS


def test_agrees_with_the_gguf_package(small: Path) -> None:
    theirs = gguf.GGUFReader(small)
    ours = read_gguf_info(small)
    assert [
        (t.name, tuple(int(n) for n in t.shape), t.tensor_type.name, t.data_offset, t.n_bytes)
        for t in theirs.tensors
    ] == [(t.name, t.shape, t.type, t.offset, t.nbytes) for t in ours.tensors]
    keys = {key for key in theirs.fields if not key.startswith("GGUF.")}
    assert keys == set(ours.metadata)
    for key in keys:
        value = ours.metadata[key]
        if not isinstance(value, GGUFArray):
            assert theirs.fields[key].contents() == value
    assert ours.n_params == sum(int(t.n_elements) for t in theirs.tensors)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    assert "No such file" in refused(tmp_path / "none.gguf")
    (tmp_path / "folder.gguf").mkdir()
    refused(tmp_path / "folder.gguf")


def add(key: str, value: float | str | list[int]) -> Callable[[gguf.GGUFWriter], None]:
    def change(writer: gguf.GGUFWriter) -> None:
        writer.kv_data[0].pop(key, None)
        if isinstance(value, str):
            writer.add_string(key, value)
        elif isinstance(value, list):
            writer.add_array(key, value)
        elif isinstance(value, int):
            writer.add_uint32(key, value)
        else:
            writer.add_float32(key, value)

    return change


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("llama.rope.scaling.type", "magic", "known: none linear yarn longrope"),
        ("llama.expert_count", 2000, "2,000 experts"),
        ("llama.expert_count", 8, "0 of 8 experts"),
        ("llama.attention.key_length", 2**31, "key_length"),
        ("llama.rope.scaling.factor", -2.0, "scaling.factor"),
        ("general.alignment", 24, "power of two"),
        ("general.alignment", 0, "power of two"),
        ("split.count", 3, "doesn't end in -00001-of-00003"),
    ],
)
def test_values_llama_cpp_would_abort_on(tmp_path: Path, key: str, value: float | str, reason: str) -> None:
    assert reason in refused(write_small_gguf(tmp_path / "x.gguf", add(key, value)))


def test_layer_arrays(tmp_path: Path) -> None:
    path = tmp_path / "x.gguf"
    key = "llama.attention.head_count_kv"
    info = read_gguf_info(write_small_gguf(path, add(key, [2, 2])))
    assert info.per_layer("attention.head_count_kv") == [2, 2]
    assert "2 rows; 4 heads and 1 key-value heads" in refused(write_small_gguf(path, add(key, [2, 1])))
    assert "3 entries for 2 layers" in refused(write_small_gguf(path, add(key, [1, 2, 4])))
    assert "can't share 3" in refused(write_small_gguf(path, add(key, [1, 3])))
    assert "head_count_kv" in refused(write_small_gguf(path, add(key, [1, -4])))


def test_a_sentencepiece_vocabulary_needs_its_byte_tokens(tmp_path: Path) -> None:
    path = tmp_path / "spm.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_tokenizer_model("llama")
    writer.add_token_list(["<unk>", "a"])
    writer.add_token_scores([0.0, 0.0])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    assert "lacks 255 of the 256 byte tokens" in refused(path)


@pytest.mark.parametrize(
    ("tokens", "named"),
    [
        (["a", "b", "a"], "lists 1 tokens twice: 'a' under the ids 0 and 2"),
        (["a", "b", "a\0c"], "'a' under the ids 0 and 2"),
        (["", "[EMPTY_0]"], "'[EMPTY_0]' under the ids 0 and 1"),
    ],
)
def test_a_text_under_two_ids_is_named(tokens: list[str], named: str, tmp_path: Path) -> None:
    """llama.cpp ends a text at a zero byte and an empty one gets a name; two alike end the process."""
    path = tmp_path / "twice.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokens)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    assert named in refused(path)


@pytest.mark.parametrize(
    ("ids", "expected"),
    [([5, 3], (5, 3)), ([3, -1, 999_999], (3,)), (["3"], ()), ([1.5], ()), ([3] * 2000, ())],
)
def test_tokens_that_end_an_answer(ids: list[Any], expected: tuple[int, ...], tmp_path: Path) -> None:
    path = write_small_gguf(tmp_path / "x.gguf", add("tokenizer.ggml.eos_token_ids", ids))
    assert read_gguf_info(path).stop_tokens == expected


def test_a_file_of_another_kind_needs_no_architecture(tmp_path: Path) -> None:
    path = tmp_path / "imatrix.gguf"
    writer = gguf.GGUFWriter(path, "none")
    writer.kv_data[0].clear()
    writer.add_string("general.type", "imatrix")
    writer.add_tensor("x.in_sum2", np.ones(4, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    info = read_gguf_info(path)
    assert (info.kind, info.architecture, info.n_params) == ("imatrix", None, 4)


def write_split(folder: Path) -> list[Path]:
    """A model in three parts."""
    writer = gguf.GGUFWriter(folder / "big.gguf", "llama", split_max_tensors=2)
    writer.add_context_length(8)
    writer.add_embedding_length(32)
    writer.add_block_count(1)
    for index in range(5):
        writer.add_tensor(f"t{index}", np.full((4, 32), index, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return sorted(folder.glob("big-*.gguf"))


def test_split_files(tmp_path: Path) -> None:
    parts = write_split(tmp_path)
    assert len(parts) == 3
    info = read_gguf_info(parts[0])
    assert info.paths == tuple(parts) == split_paths(parts[1])
    assert [(tensor.name, tensor.part) for tensor in info.tensors] == [
        ("t0", 0), ("t1", 0), ("t2", 1), ("t3", 1), ("t4", 2),
    ]  # fmt: skip
    assert info.size_bytes == sum(part.stat().st_size for part in parts)
    assert f"{parts[0].name} is the one to load" in refused(parts[1])


def test_split_files_that_do_not_fit_together(tmp_path: Path) -> None:
    parts = write_split(tmp_path)
    kept = parts[1].read_bytes()
    parts[1].unlink()
    assert f"its part {parts[1].name} is missing" in refused(parts[0])
    shutil.copy(parts[2], parts[1])
    assert "part 2 of 3" in refused(parts[0])
    parts[1].write_bytes(kept.replace(b"t2", b"t0"))
    assert "in two parts" in refused(parts[0])
    parts[1].write_bytes(kept[:-200])
    assert parts[1].name in refused(parts[0])
    parts[1].write_bytes(kept)
    first = parts[0].read_bytes()
    key = b"split.tensors.count"
    at = first.index(key) + len(key) + 4
    parts[0].write_bytes(first[:at] + struct.pack("<i", 9) + first[at + 4 :])
    assert "5 tensors instead of 9" in refused(parts[0])


def test_split_names() -> None:
    assert split_paths(Path("x.gguf")) is None
    assert split_paths(Path("x-00004-of-00003.gguf")) is None
    assert split_paths(Path("x-00001-of-99999.gguf")) is None
    assert split_paths(Path("a/x-00002-of-00002.gguf")) == (
        Path("a/x-00001-of-00002.gguf"),
        Path("a/x-00002-of-00002.gguf"),
    )


def test_the_template_for_chats_with_tools(tmp_path: Path) -> None:
    """The gguf package's own form of several templates is read."""
    path = tmp_path / "m.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_chat_template(
        [{"name": "default", "template": "plain"}, {"name": "tool_use", "template": "with tools"}]
    )
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    info = read_gguf_info(path)
    assert (info.chat_template, info.tool_use_template) == ("plain", "with tools")


def test_most_models_have_one_template(small: Path) -> None:
    assert read_gguf_info(small).tool_use_template is None
