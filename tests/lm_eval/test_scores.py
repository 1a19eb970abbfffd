"""lm-evaluation-harness against the server, beside what llama.cpp says without it.

`docs/exactness.md` gives the figures that `make lm-eval` prints; here they are held.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pytest

from tests.lm_eval.conftest import Served
from tests.lm_eval.direct import Score
from tests.lm_eval.harness import ANSWERS, MULTIPLE_CHOICE, TEXT, Evaluation, arguments_of, evaluate

pytestmark = [pytest.mark.lm_eval, pytest.mark.model, pytest.mark.e2e, pytest.mark.timeout(400)]

MAX_LENGTH = 512


class Compared(NamedTuple):
    """The multiple-choice task as the server had it and as llama.cpp has it, continuation by continuation."""

    told: list[list[Score]]
    direct: list[list[Score]]

    def differences(self) -> npt.NDArray[np.float64]:
        told, direct = ([one.logprob for some in side for one in some] for side in self)
        found: npt.NDArray[np.float64] = np.abs(np.array(told) - np.array(direct))
        return found

    def greedy(self) -> list[list[bool]]:
        """For each side, which continuations were the likeliest token by token."""
        return [[one.is_greedy for some in side for one in some] for side in self]


def compare(served: Served, samples: Sequence[Mapping[str, Any]], prefix: Sequence[int] = ()) -> Compared:
    """`prefix`: tokens that the client's tokenizer put before the context."""
    told = [[Score(float(lp), greedy == "True") for lp, greedy in one["filtered_resps"]] for one in samples]
    direct = [
        [
            served.direct.score_pair(context, continuation, prefix)
            for context, continuation in arguments_of(one)
        ]
        for one in samples
    ]
    return Compared(told, direct)


def accuracies(samples: Sequence[Mapping[str, Any]], scores: list[list[Score]]) -> dict[str, float]:
    """acc, and acc_norm: the likeliest choice by its logprob, and by its logprob per character."""
    right, right_per_character = 0, 0
    for sample, some in zip(samples, scores, strict=True):
        sums, doc = np.array([one.logprob for one in some]), sample["doc"]
        right += int(sums.argmax()) == doc["answer"]
        lengths = np.array([len(choice) for choice in doc["choices"]])
        right_per_character += int((sums / lengths).argmax()) == doc["answer"]
    return {"acc": right / len(samples), "acc_norm": right_per_character / len(samples)}


def hold(served: Served, evaluation: Evaluation, prefix: Sequence[int] = ()) -> None:
    """The multiple-choice task is the same on both sides; prints by how much it isn't."""
    samples = evaluation.samples[MULTIPLE_CHOICE]
    compared = compare(served, samples, prefix)
    differences, (told, direct) = compared.differences(), compared.greedy()
    metrics, expected = evaluation.metrics[MULTIPLE_CHOICE], accuracies(samples, compared.direct)
    print(
        f"\n{served.name}: {len(samples)} documents, {differences.size} continuations; "
        f"summed logprobs differ by {differences.max():.2g} at most, {np.median(differences):.2g} in the "
        f"middle, {(differences > 1e-4).sum()} by more than 0.0001; {sum(direct)} greedy, "
        f"{sum(a != b for a, b in zip(told, direct, strict=True))} flags differ; "
        f"acc {metrics['acc']:.4f} and {expected['acc']:.4f}, "
        f"acc_norm {metrics['acc_norm']:.4f} and {expected['acc_norm']:.4f}"
    )
    assert len(samples) >= 30
    assert differences.max() < served.variant.bound
    assert told == direct
    assert any(told)
    assert not all(told)
    assert {name: metrics[name] for name in expected} == pytest.approx(expected, abs=1e-12)


@pytest.fixture(scope="module")
def evaluation(served: Served, tmp_path_factory: pytest.TempPathFactory) -> Evaluation:
    """All tasks, several requests at once with several prompts each; the tokenizer is the server's."""
    arguments = {
        "model": served.model,
        "base_url": f"{served.url}/v1/completions",
        "tokenizer_backend": "remote",
        "custom_prefix_token_id": served.direct.bos,  # lm-eval takes a BOS whose id is 0 for none
        "num_concurrent": 4,
        "max_length": MAX_LENGTH,
    }
    return evaluate([MULTIPLE_CHOICE, ANSWERS, TEXT], arguments, 4, tmp_path_factory.mktemp("lm-eval"))


def test_choices_score_as_llama_cpp_scores_them(served: Served, evaluation: Evaluation) -> None:
    hold(served, evaluation)


def test_texts_score_as_llama_cpp_scores_them(served: Served, evaluation: Evaluation) -> None:
    """`loglikelihood_rolling`: every token of a text, the first after BOS."""
    differences = []
    for sample in evaluation.samples[TEXT]:
        ((text,),) = arguments_of(sample)
        expected = served.direct.score([served.direct.bos], served.direct.tokens(text)).logprob
        differences.append(abs(float(sample["filtered_resps"][0]) - expected))
    print(
        f"\n{served.name}: {len(differences)} texts; summed logprobs differ by {max(differences):.2g} at most"
    )
    assert max(differences) < served.variant.bound


def test_answers_are_llama_cpps(served: Served, evaluation: Evaluation) -> None:
    """`generate_until`, greedy."""
    samples = evaluation.samples[ANSWERS]
    asked = [one for sample in samples for one in arguments_of(sample)]
    told = [sample["resps"][0][0] for sample in samples]
    direct = [served.direct.answer(prompt, options["max_gen_toks"]) for prompt, options in asked]
    found = evaluation.metrics[ANSWERS]["exact_match"]
    differ = sum(one != other for one, other in zip(told, direct, strict=True))
    print(f"\n{served.name}: {len(told)} answers, {differ} differ; exact_match {found:.4f}")
    assert told == direct
    assert found > 0.8


def test_a_local_tokenizer_that_writes_bos(served: Served, tmp_path_factory: pytest.TempPathFactory) -> None:
    """lm-eval's `huggingface` backend on the checkpoint's folder; one request at a time."""
    arguments = {
        "model": served.model,
        "base_url": f"{served.url}/v1/completions",
        "tokenizer_backend": "huggingface",
        "tokenizer": "models/demo",
        "add_bos_token": True,
        "num_concurrent": 1,
        "max_length": MAX_LENGTH,
    }
    hold(
        served,
        evaluate([MULTIPLE_CHOICE], arguments, 5, tmp_path_factory.mktemp("lm-eval")),
        prefix=[served.direct.bos],
    )
