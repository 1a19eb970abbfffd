from __future__ import annotations

import itertools
import os
import random
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from models.errors import RequestError
from models.llamacpp import spm_cuts, text_cuts
from models.llamacpp import vocab as vocab_module
from models.llamacpp.model import Model
from models.llamacpp.vocab import Vocab

pytestmark = pytest.mark.model

TEXTS = [
    "hello world",
    "the llama sat on the mat",
    " two  spaces\n\nand\ttabs ",
    "naïve 🦙 漢字",
    "nul \0 inside",
    "<s> </s> as text",
]


@pytest.fixture(params=["pico", "pico_bpe"])
def vocab(request: pytest.FixtureRequest) -> Vocab:
    model = request.getfixturevalue(request.param)
    assert isinstance(model, Model)
    return model.vocab


def test_spm_tokens_are_the_expected_ones(pico: Model) -> None:
    vocab = pico.vocab
    tokens = vocab.tokenize("hello world", add_special=True, parse_special=False)
    assert [vocab.text(token) for token in tokens] == ["<s>", "▁hello", "▁world"]
    tokens = vocab.tokenize("sat é", add_special=False, parse_special=False)
    assert [vocab.text(token) for token in tokens] == ["▁sat", "▁", "<0xC3>", "<0xA9>"]


def test_bpe_tokens_are_the_expected_ones(pico_bpe: Model) -> None:
    vocab = pico_bpe.vocab
    tokens = vocab.tokenize("world é", add_special=True, parse_special=False)
    assert [vocab.text(token) for token in tokens] == ["world", "Ġ", "Ã", "©"]


@pytest.mark.parametrize("text", TEXTS)
def test_text_survives(text: str, vocab: Vocab) -> None:
    tokens = vocab.tokenize(text, add_special=False, parse_special=False)
    assert vocab.detokenize(tokens).decode() == text
    joined = b"".join(vocab.piece(token) for token in tokens).decode()
    assert joined == text if vocab.type == "bpe" else joined == " " + text


def test_special_text_is_parsed_only_when_asked(pico_bpe: Model) -> None:
    vocab = pico_bpe.vocab
    end = vocab.eos
    assert end is not None
    assert vocab.tokenize("<|im_end|>", add_special=False, parse_special=True) == [end]
    assert len(vocab.tokenize("<|im_end|>", add_special=False, parse_special=False)) == 10
    assert (vocab.piece(end), vocab.piece(end, special=True)) == (b"", b"<|im_end|>")


def test_special_tokens(pico: Model, pico_bpe: Model) -> None:
    assert (pico.vocab.bos, pico.vocab.eos, pico.vocab.add_bos, pico.vocab.add_eos) == (1, 2, True, False)
    assert pico.vocab.eot is None
    assert pico.vocab.eog_tokens == (2,)
    assert pico.vocab.is_eog(2)
    assert pico.vocab.is_control(1)
    assert not pico.vocab.is_control(300)
    assert pico.vocab.suppressed_tokens == ()
    assert pico_bpe.vocab.eos in pico_bpe.vocab.eog_tokens


def test_a_lone_surrogate_is_refused(vocab: Vocab) -> None:
    with pytest.raises(RequestError, match=r"lone surrogate \(U\+D83E\) at character 2"):
        vocab.tokenize("ab\ud83e", add_special=False, parse_special=False)


def test_too_long_a_text_is_refused(vocab: Vocab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vocab_module, "MAX_TEXT_BYTES", 100)
    with pytest.raises(RequestError, match="101 bytes; the limit is 100") as caught:
        vocab.tokenize("a" * 101, add_special=False, parse_special=False)
    assert caught.value.code == "prompt_too_large"


@pytest.mark.parametrize("token", [-1, 448, 2**31])
def test_tokens_outside_are_refused(token: int, pico: Model) -> None:
    for ask in (pico.vocab.piece, pico.vocab.text, pico.vocab.is_eog, pico.vocab.is_control):
        with pytest.raises(RequestError, match=f"token {token} is outside"):
            ask(token)
    with pytest.raises(RequestError):
        pico.vocab.detokenize([5, token])


def test_long_texts_equal_their_parts(pico_bpe: Model) -> None:
    """Above a kilobyte tokenizing takes another path, on a thread with a deeper stack."""
    vocab = pico_bpe.vocab
    words = "hello world the llama sat on the mat\n" * 100
    whole = vocab.tokenize(words, add_special=False, parse_special=False)
    part = vocab.tokenize(words[: len(words) // 100], add_special=False, parse_special=False)
    assert whole == part * 100


def test_reading_from_several_threads(pico: Model) -> None:
    with ThreadPoolExecutor(4) as pool:
        results = list(
            pool.map(
                lambda text: pico.vocab.tokenize(text, add_special=True, parse_special=False), TEXTS * 20
            )
        )
    assert results == results[: len(TEXTS)] * 20


# --- the tokens of the parts are those of the whole ---

WORDS = [
    "hello",
    " world",
    "  ",
    "   ",
    "\n",
    "\n\n",
    "\t",
    "\v",
    "é",
    "漢",
    "🦙",
    "'s",
    "123",
    "<",
    "|",
    ">",
]
WORDS += ["</", "a", "\0", "\x01", "▁", "▁▁", "\u3000", " the", " " * 30, "\n" * 7]


def mixed_text(chance: random.Random, names: list[str]) -> str:
    """Words, special tokens, and pieces of them."""
    few = chance.sample(names, min(len(names), chance.choice([1, 2, 5, 50])))
    parts: list[str] = []
    for _ in range(chance.randint(1, 60)):
        name = chance.choice(few)
        at = chance.randint(0, len(name))
        parts.append(chance.choice([name, name, name[at:], name[:at], *chance.sample(WORDS, 4)]))
    return "".join(parts)


def check_parts(vocab: Vocab, n_texts: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compare with what llama.cpp makes of the whole, with parts of all sizes."""
    chance = random.Random(7)
    names = [
        vocab.piece(token, special=True).decode("utf-8", "replace") for token in vocab._special_attributes
    ]
    n_parts = 0
    for _ in range(n_texts):
        data = mixed_text(chance, [*filter(None, names)]).encode()
        monkeypatch.setattr(text_cuts, "PART_BYTES", chance.choice([1, 3, 10, 50, 200, 10**9]))
        monkeypatch.setattr(spm_cuts, "PART_LETTERS", chance.choice([1, 2, 5, 30]))
        monkeypatch.setattr(vocab_module, "_LONG_SPM_BYTES", chance.choice([0, 0, 0, 20]))
        for add_special, parse_special in itertools.product((True, False), (True, False)):
            how = (add_special, parse_special)
            whole = vocab._tokens(vocab.pointer, data, *how)
            assert vocab._tokens_of_parts(vocab.pointer, data, *how, None) == whole, (data, how)
        n_parts += len(list(vocab._cuts_of_parsed.parts(data)))
        for parse_special in (True, False):
            n_tokens = len(vocab._tokens(vocab.pointer, data, False, parse_special))
            assert vocab.least_tokens(data.decode()) <= n_tokens
    assert n_parts > 2 * n_texts


def test_the_parts_of_mixed_texts(vocab: Vocab, monkeypatch: pytest.MonkeyPatch) -> None:
    check_parts(vocab, 200, monkeypatch)


def test_special_tokens_take_a_time_that_grows_with_their_number(vocab: Vocab) -> None:
    """llama.cpp alone takes 6 s for 40,000 of them, and 16 times that for four times as many."""
    name = vocab.piece(vocab.eos or 0, special=True).decode()
    one = vocab.tokenize("a" + name, add_special=False, parse_special=True)
    begun = time.process_time()
    tokens = vocab.tokenize(("a" + name) * 160_000, add_special=False, parse_special=True)
    assert time.process_time() - begun < 20
    assert tokens == one * 160_000


def test_letters_that_the_vocabulary_lacks_take_a_time_that_grows_with_their_number(pico: Model) -> None:
    """llama.cpp alone copies all tokens so far for each letter: minutes."""
    space, *one = pico.vocab.tokenize("🦙", add_special=False, parse_special=True)
    begun = time.process_time()
    tokens = pico.vocab.tokenize("🦙" * 500_000, add_special=False, parse_special=True)
    assert time.process_time() - begun < 20
    assert tokens == [space] + one * 500_000


def test_tokens_beyond_those_that_are_enough_may_be_left_out(vocab: Vocab) -> None:
    name = vocab.piece(vocab.eos or 0, special=True).decode()
    whole = vocab.tokenize(("a" + name) * 50_000, add_special=False, parse_special=True)
    tokens = vocab.tokenize(("a" + name) * 50_000, add_special=False, parse_special=True, enough=300)
    assert 300 < len(tokens) < 3000
    assert tokens == whole[: len(tokens)]
    short = vocab.tokenize("a" + name, add_special=True, parse_special=True, enough=300)
    assert short == vocab.tokenize("a" + name, add_special=True, parse_special=True)


def test_no_token_stands_for_more_bytes(vocab: Vocab) -> None:
    longest = max(len(vocab.piece(token, special=True)) for token in range(vocab.n_tokens))
    assert vocab.bytes_per_token_max is not None
    assert longest <= vocab.bytes_per_token_max <= longest + 3


def test_hidden_tokens_are_those_without_text(vocab: Vocab) -> None:
    assert vocab.eos in vocab.hidden_tokens
    for token in range(vocab.n_tokens):
        hidden = vocab.piece(token) == b"" and vocab.piece(token, special=True) != b""
        assert (token in vocab.hidden_tokens) == hidden
        if hidden:
            assert vocab.hidden_tokens[token] == vocab.piece(token, special=True).decode()


SOURCE = os.environ.get("CORRAL_LLAMA_CPP_SOURCE")
VOCABULARIES = sorted(Path(SOURCE, "models").glob("ggml-vocab-*.gguf.out")) if SOURCE else []


MISSING = pytest.mark.skip(reason="needs CORRAL_LLAMA_CPP_SOURCE, llama.cpp's sources")
REAL: list[Any] = [*VOCABULARIES] or [pytest.param(None, marks=MISSING)]


@pytest.fixture(
    scope="module",
    params=REAL,
    ids=lambda path: path.name.split(".")[0] if path else "none",
)
def real(request: pytest.FixtureRequest) -> Iterator[tuple[Path, Vocab]]:
    """One of llama.cpp's real vocabularies, loaded once, and the path of its texts' expected tokens."""
    with Model.load(request.param.with_suffix(""), vocab_only=True) as model:
        yield request.param, model.vocab


def test_real_vocabularies_tokenize_as_expected(real: tuple[Path, Vocab]) -> None:
    expected_path, vocab = real
    texts = (
        Path(f"{expected_path.with_suffix('')}.inp").read_bytes().decode().split("\n__ggml_vocab_test__\n")
    )
    lines = expected_path.read_text().split("\n")
    for text, line in zip(texts, lines, strict=False):
        expected = [int(token) for token in line.split()]
        assert vocab.tokenize(text, add_special=False, parse_special=False) == expected, text


def test_the_parts_of_real_vocabularies(real: tuple[Path, Vocab], monkeypatch: pytest.MonkeyPatch) -> None:
    check_parts(real[1], 60, monkeypatch)


@pytest.mark.skipif(
    not VOCABULARIES or sys.platform != "linux", reason="needs CORRAL_LLAMA_CPP_SOURCE and Linux"
)
@pytest.mark.parametrize("character", ["7", "a", "!", " "])
def test_a_long_run_of_one_character_doesnt_end_the_process(character: str) -> None:
    """deepseek-llm's pre-tokenizer recurses per character: 200,000 of them overflow an 8 MiB stack."""
    assert SOURCE is not None
    with Model.load(Path(SOURCE, "models", "ggml-vocab-deepseek-llm.gguf"), vocab_only=True) as model:
        tokens = model.vocab.tokenize(character * 200_000, add_special=False, parse_special=False)
        assert model.vocab.detokenize(tokens).decode() == character * 200_000
