"""How far a token's logits move with the shape of the batch, on the demo model as users serve it.

`docs/exactness.md` gives the figures; here they are held. F32 weights are exact: `test_speculation_model.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from models.llamacpp.batch import TokenBatch
from models.llamacpp.context import Context
from models.llamacpp.model import Model
from tests.quantize.quantize_folder import quantize_folder

pytestmark = [pytest.mark.model]

N_STREAMS = 16
BOUND = 0.12
"""Largest difference of a logit, in standard deviations of its row."""
DRAFT_BOUND = 0.2
"""The same for drafts: more tokens are compared, and later ones stand on keys and values that differ."""
TEXT = (
    "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful and "
    "polite answers to the questions of the user. USER: What is the capital of France? ASSISTANT: The "
    "capital of France is Paris. It lies on the river Seine, in the north of the country, and has been its "
    "capital since the Middle Ages. USER: And what is the capital of Peru? ASSISTANT: The capital is Lima."
)
QUESTION = (
    "A chat between a curious user and an artificial intelligence assistant. USER: What is the capital of "
)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The demo model in the three default types."""
    folder = tmp_path_factory.mktemp("demo")
    made = quantize_folder("demo", ["Q8_0", "Q5_K_M", "Q4_K_M"], folder)
    return {file.type: file.path for file in made}


@pytest.fixture
def model(files: dict[str, Path], request: pytest.FixtureRequest) -> Iterator[Model]:
    with Model.load(files[request.param]) as loaded:
        yield loaded


Rows = npt.NDArray[np.float32]


def make_context(model: Model, n_streams: int) -> Context:
    return Context(
        model,
        n_ctx=256 * n_streams,
        n_batch=2048,
        n_ubatch=512,
        n_seq_max=n_streams,
        n_threads=1,
        n_threads_batch=1,
        kv_unified=False,
        flash_attn="auto",
    )


def last_rows(model: Model, prompts: list[list[int]], steps: list[list[int]]) -> Rows:
    """Prefill all prompts in one batch, then decode `steps` side by side; the first sequence's rows."""
    rows = []
    with make_context(model, N_STREAMS) as context:
        batch = TokenBatch(2048)
        for slot, prompt in enumerate(prompts):
            batch.add_many(prompt, 0, slot, output_last=True)
        context.decode(batch)
        rows.append(context.logits()[0].copy())
        for position in range(len(steps[0])):
            batch.clear()
            for slot, prompt in enumerate(prompts):
                batch.add(steps[slot][position], len(prompt) + position, slot, True)
            context.decode(batch)
            rows.append(context.logits()[0].copy())
    return np.stack(rows)


@pytest.mark.parametrize("model", ["Q8_0", "Q5_K_M", "Q4_K_M"], indirect=True)
def test_logits_alone_and_among_fifteen_others(model: Model) -> None:
    places = ["France", "Peru", "Japan", "Italy", "Cuba", "Egypt", "Spain", "Norway"] * 2
    prompts = [
        model.vocab.tokenize(f"{QUESTION}{place}? ASSISTANT:", add_special=True, parse_special=True)
        for place in places
    ]
    answers = [
        model.vocab.tokenize(f" The capital of {place} is here", add_special=False, parse_special=True)[:6]
        for place in places
    ]
    alone = last_rows(model, prompts[:1], answers[:1])
    among = last_rows(model, prompts, answers)
    difference = deviation(among, alone)
    print("largest difference, standard deviations:", difference.round(4))
    assert difference.max() < BOUND
    assert (alone.argmax(axis=1) == among.argmax(axis=1)).all()


def deviation(rows: Rows, expected: Rows) -> npt.NDArray[np.float32]:
    """Of each row the largest difference of a logit, in standard deviations of the expected row."""
    largest: npt.NDArray[np.float32] = np.abs(rows - expected).max(axis=1) / expected.std(axis=1)
    return largest


def rows_by(model: Model, prompts: list[list[int]], answers: list[list[int]], n_at_once: int) -> Rows:
    """Prefill, then the answers `n_at_once` tokens per sequence and step; all rows of the first sequence."""
    rows = []
    with make_context(model, len(prompts)) as context:
        batch = TokenBatch(2048)
        for slot, prompt in enumerate(prompts):  # each in a batch of its own: the same for all comparisons
            batch.clear()
            batch.add_many(prompt, 0, slot, output_last=True)
            context.decode(batch)
        for at in range(0, len(answers[0]), n_at_once):
            batch.clear()
            n = 0
            for slot, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
                for i, token in enumerate(answer[at : at + n_at_once]):
                    batch.add(token, len(prompt) + at + i, slot, True)
                    n += slot == 0
            context.decode(batch)
            rows.append(context.logits()[:n].copy())
    return np.concatenate(rows)


@pytest.mark.parametrize("n_streams", [1, 8])
@pytest.mark.parametrize("model", ["Q8_0", "Q5_K_M", "Q4_K_M"], indirect=True)
def test_logits_of_drafts_and_of_the_same_tokens_one_by_one(model: Model, n_streams: int) -> None:
    """A draft of d tokens is computed in a batch of 1 + d, and among others with drafts."""
    tokens = model.vocab.tokenize(TEXT, add_special=True, parse_special=True)
    answers = [tokens[start + 20 : start + 20 + 34] for start in range(n_streams)]
    prompts = [tokens[: start + 20] for start in range(n_streams)]
    expected = rows_by(model, prompts[:1], answers[:1], 1)
    for n_drafted in (1, 2, 3, 4, 7, 8, 16):
        found = rows_by(model, prompts, answers, 1 + n_drafted)
        difference = deviation(found, expected)
        same = (found.argmax(axis=1) == expected.argmax(axis=1)).mean()
        print(f"{n_streams} x {1 + n_drafted}: {difference.max():.4f}, same first token {same:.3f}")
        assert difference.max() < DRAFT_BOUND
