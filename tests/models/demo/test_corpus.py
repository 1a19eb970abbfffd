"""The demo corpus: seeded, and what is held out stays out of training."""

from __future__ import annotations

import re
from itertools import islice

import pytest

from models.demo.training.corpus import Mixture, Question, held_out_texts, normalise, questions
from models.demo.training.corpus.arithmetic import DIFFERENCES, PRODUCTS, SUMS
from models.demo.training.corpus.capitals import CAPITALS
from models.demo.training.corpus.definitions import DEFINITIONS
from models.demo.training.corpus.exchange import REFUSAL, Chat, Exchange
from models.demo.training.corpus.formats import prompt, render
from models.demo.training.corpus.mixture import TASKS
from models.demo.training.corpus.opposites import OPPOSITES
from models.demo.training.corpus.refusals import (
    ELSEWHERE,
    UNSEEN_ELSEWHERE,
    UNSEEN_TEMPLATES,
    UNSEEN_WORDS,
    WORDS,
)

SAMPLE = 4000


@pytest.fixture(scope="module")
def trained() -> list[Exchange]:
    """Every turn of a good sample of training chats."""
    mixture = Mixture(123)
    return [turn for _ in range(SAMPLE) for turn in mixture.chat().turns]


def test_same_seed_gives_the_same_documents() -> None:
    first, second, other = (list(islice(Mixture(seed), 200)) for seed in (5, 5, 6))
    assert first == second
    assert first != other


def test_no_held_out_question_is_trained(trained: list[Exchange]) -> None:
    held_out = held_out_texts()
    assert len(held_out) > 3000
    assert not {turn.user for turn in trained if normalise(turn.user) in held_out}


def test_no_question_of_the_evaluation_is_trained(
    trained: list[Exchange], evaluation: list[Question]
) -> None:
    asked = {normalise(q.chat.turns[-1].user) for q in evaluation if q.task in TASKS}
    assert len(asked) > 700
    assert not asked & {normalise(turn.user) for turn in trained}


def test_held_out_pairs_of_numbers_are_never_trained(trained: list[Exchange]) -> None:
    facts = [fact for table in (SUMS, DIFFERENCES, PRODUCTS) for fact in table]
    held_out = {fact.answer for fact in facts if fact.held_out}
    assert 0.10 < len(held_out) / len(facts) < 0.16
    answers = {turn.answer for turn in trained if turn.task == "arithmetic"}
    assert len(answers) > 500
    assert not answers & held_out


def test_refusal_templates_of_the_evaluation_are_never_trained(trained: list[Exchange]) -> None:
    refused = [turn.user for turn in trained if turn.task == "refusals"]
    assert len(refused) > 300
    patterns = [
        re.compile(re.sub(r"\\{\w+\\}", ".+", re.escape(template.rstrip("?."))), re.IGNORECASE)
        for template in UNSEEN_TEMPLATES
    ]
    assert not [text for text in refused if any(pattern.search(text) for pattern in patterns)]


def test_what_is_refused_is_not_known() -> None:
    assert not set(ELSEWHERE + UNSEEN_ELSEWHERE) & set(CAPITALS)
    assert not set(WORDS + UNSEEN_WORDS) & (set(DEFINITIONS) | set(OPPOSITES))
    assert not set(WORDS) & set(UNSEEN_WORDS)
    assert not set(ELSEWHERE) & set(UNSEEN_ELSEWHERE)


def test_arithmetic_answers_are_right() -> None:
    for table, work in ((SUMS, int.__add__), (DIFFERENCES, int.__sub__), (PRODUCTS, int.__mul__)):
        for fact in table:
            a, b = int(fact.slots["a"]), int(fact.slots["b"])
            assert fact.short == str(work(a, b))
            assert fact.answer.endswith(f"= {work(a, b)}.")


def test_one_question_has_one_answer() -> None:
    answers: dict[str, str] = {}
    for families in TASKS.values():
        for family in families:
            for fact in family.facts:
                for phrasing in (*family.phrasings, *family.unseen):
                    text = normalise(phrasing.format_map(fact.slots))
                    assert answers.setdefault(text, fact.answer) == fact.answer, text


def test_every_task_is_asked_often_enough(evaluation: list[Question]) -> None:
    counts: dict[str, int] = {}
    for question in evaluation:
        counts[question.task] = counts.get(question.task, 0) + 1
    assert set(counts) == {*TASKS, "refusals", "chats", "systems", "stories"}
    assert min(counts.values()) >= 25
    assert evaluation == questions()


def test_refusals_have_one_answer(trained: list[Exchange]) -> None:
    assert any(turn.answer == REFUSAL for turn in trained if turn.task == "refusals")


def test_prompt_forms_are_exact() -> None:
    first = Exchange("capitals", "U1", "A1")
    given = Exchange("capitals", "U1", "A1", input="I1")
    second = Exchange("capitals", "U2", "A2")
    vicuna = (
        "A chat between a curious user and an artificial intelligence assistant. The assistant gives "
        "helpful, detailed, and polite answers to the user's questions. "
    )
    alpaca = (
        "Below is an instruction that describes a task. "
        "Write a response that appropriately completes the request."
    )
    assert prompt(Chat((first, second)), "vicuna") == vicuna + "USER: U1 ASSISTANT: A1</s>USER: U2 ASSISTANT:"
    assert prompt(Chat((first,), "S"), "vicuna") == "S USER: U1 ASSISTANT:"
    assert prompt(Chat((first,)), "alpaca") == alpaca + "\n\n### Instruction:\nU1\n\n### Response:"
    assert prompt(Chat((given,)), "alpaca") == (
        "Below is an instruction that describes a task, paired with an input that provides further context. "
        "Write a response that appropriately completes the request.\n\n"
        "### Instruction:\nU1\n\n### Input:\nI1\n\n### Response:"
    )
    assert prompt(Chat((first, second)), "alpaca_chat") == (
        alpaca + "\n\n### Instruction: U1\n\n### Response: A1</s>### Instruction: U2\n\n### Response:"
    )
    assert prompt(Chat((first, second)), "vicuna_v0") == (
        "A chat between a curious human and an artificial intelligence assistant. The assistant gives "
        "helpful, detailed, and polite answers to the human's questions.\n"
        "### Human: U1\n### Assistant: A1\n### Human: U2\n### Assistant:"
    )


@pytest.mark.parametrize("form", ["vicuna", "alpaca", "alpaca_chat", "vicuna_v0"])
def test_an_answer_follows_one_space_and_ends_with_eos(form: str) -> None:
    segments = render(Chat((Exchange("capitals", "Question?", "Answer."),)), form)
    learned = "".join(text for text, is_answer in segments if is_answer)
    assert learned == " Answer.</s>"
    assert "".join(text for text, _ in segments).endswith(learned)
