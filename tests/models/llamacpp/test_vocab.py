from __future__ import annotations

import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from models.errors import LlamaCppError, RequestError
from models.llamacpp import vocab as vocab_module
from models.llamacpp.model import Model
from models.llamacpp.vocab import Vocab, call_on_stack

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
    with pytest.raises(RequestError, match="101 bytes; the limit is 100"):
        vocab.tokenize("a" * 101, add_special=False, parse_special=False)


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


SOURCE = os.environ.get("CORRAL_LLAMA_CPP_SOURCE")
VOCABULARIES = sorted(Path(SOURCE, "models").glob("ggml-vocab-*.gguf.out")) if SOURCE else []


@pytest.mark.skipif(
    not VOCABULARIES, reason="set CORRAL_LLAMA_CPP_SOURCE to llama.cpp's sources for their real vocabularies"
)
@pytest.mark.parametrize("expected_path", VOCABULARIES, ids=lambda path: path.name.split(".")[0])
def test_real_vocabularies_tokenize_as_expected(expected_path: Path) -> None:
    gguf = expected_path.with_suffix("")
    texts = Path(f"{gguf}.inp").read_bytes().decode().split("\n__ggml_vocab_test__\n")
    lines = expected_path.read_text().split("\n")
    with Model.load(gguf, vocab_only=True) as model:
        for text, line in zip(texts, lines, strict=False):
            expected = [int(token) for token in line.split()]
            assert model.vocab.tokenize(text, add_special=False, parse_special=False) == expected, text


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


def test_the_result_comes_back_and_the_setting_stays() -> None:
    before = threading.stack_size()
    assert call_on_stack(lambda: threading.current_thread().name, 2**24) == "deep-stack"
    assert threading.stack_size() == before


def test_an_exception_comes_out() -> None:
    def fail() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        call_on_stack(fail, 2**24)


def test_a_stack_beyond_the_address_space_is_an_error() -> None:
    with pytest.raises(LlamaCppError, match="no thread with a stack of"):
        call_on_stack(lambda: None, 2**46)
