"""How far a token's logits move with the shape of the batch, on the demo model as users serve it.

`docs/exactness.md` gives the figures; here they are held. F32 weights are exact: `test_runner.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from models.demo import DEMO_DIR
from models.llamacpp.batch import TokenBatch
from models.llamacpp.context import Context
from models.llamacpp.model import Model
from quantize.pipeline import quantize

pytestmark = [pytest.mark.model]

N_STREAMS = 16
BOUND = 0.12
"""Largest difference of a logit, in standard deviations of its row."""
QUESTION = (
    "A chat between a curious user and an artificial intelligence assistant. USER: What is the capital of "
)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The demo model in the three default types."""
    folder = tmp_path_factory.mktemp("demo")
    result = quantize(DEMO_DIR, ["Q8_0", "Q5_K_M", "Q4_K_M"], folder, name="demo")
    return {file.type: file.path for file in result.files}


@pytest.fixture
def model(files: dict[str, Path], request: pytest.FixtureRequest) -> Iterator[Model]:
    with Model.load(files[request.param]) as loaded:
        yield loaded


def last_rows(model: Model, prompts: list[list[int]], steps: list[list[int]]) -> npt.NDArray[np.float32]:
    """Prefill all prompts in one batch, then decode `steps` side by side; the first sequence's rows."""
    rows = []
    with Context(
        model,
        n_ctx=256 * N_STREAMS,
        n_batch=2048,
        n_ubatch=512,
        n_seq_max=N_STREAMS,
        n_threads=1,
        n_threads_batch=1,
        kv_unified=False,
        flash_attn="auto",
    ) as context:
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
    difference = np.abs(alone - among).max(axis=1) / alone.std(axis=1)
    print("largest difference, standard deviations:", difference.round(4))
    assert difference.max() < BOUND
    assert (alone.argmax(axis=1) == among.argmax(axis=1)).all()
