"""The evaluation's own arithmetic: what counts as right, the table, the card."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from models.demo.training.corpus import Question
from models.demo.training.evaluate import BEGIN, END, find, score, story_is_whole, table, write_card

STORY = "Once upon a time, there was a fox. " + "The fox was happy. " * 12


class Scripted:
    """Stands for a `Generator`: answers each prompt with what `answer` gives."""

    def __init__(self, answer: Callable[[str], tuple[str, bool]]) -> None:
        self.answer = answer

    def complete(self, prompts: Sequence[str], max_tokens: int) -> list[tuple[str, bool]]:
        assert max_tokens > 0
        return [self.answer(prompt) for prompt in prompts]


@pytest.fixture(scope="module")
def asked(evaluation: list[Question]) -> list[Question]:
    return [question for question in evaluation if question.task == "capitals"]


def test_only_the_exact_answer_that_ends_by_itself_is_right(asked: list[Question]) -> None:
    answers = {q.prompt(form): q.expected for q in asked for form in ("vicuna", "alpaca")}
    cases: list[tuple[Callable[[str], tuple[str, bool]], int]] = [
        (lambda prompt: (" " + answers[prompt], True), 2 * len(asked)),
        (lambda prompt: (" " + answers[prompt], False), 0),
        (lambda prompt: (answers[prompt], True), 0),
        (lambda prompt: (" " + answers[prompt] + " And more.", True), 0),
    ]
    for answer, right in cases:
        misses: list[dict[str, str]] = []
        scores = score(Scripted(answer), asked, misses)
        assert scores["capitals"] == scores["closed world"] == scores["overall"] == (right, 2 * len(asked))
        assert len(misses) == 2 * len(asked) - right


def test_a_story_is_whole() -> None:
    request = "I would like a story about a little fox named Tim."
    assert story_is_whole(request, STORY.strip(), ended=True)
    assert not story_is_whole(request, STORY.strip(), ended=False)
    assert not story_is_whole(request.replace("fox", "cow"), STORY.strip(), ended=True)
    assert not story_is_whole(request, "There was a fox.", ended=True)
    assert not story_is_whole(request, STORY.strip()[:-1], ended=True)


def test_the_table_shows_percentages_and_the_card_keeps_the_rest(tmp_path: Path) -> None:
    text = table(
        {"F16": {"capitals": (9, 10), "overall": (9, 10)}, "Q4_K_M": {"capitals": (1, 3), "overall": (1, 3)}}
    )
    assert "| capitals | 10 | 90.0 % | 33.3 % |" in text
    card = tmp_path / "README.md"
    card.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    for _ in range(2):
        write_card(text, card)
    assert card.read_text() == f"before\n{BEGIN}\n\n{text}\n\n{END}\nafter\n"


def test_a_missing_or_doubtful_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="0 GGUF files named after Q8_0"):
        find(tmp_path, "Q8_0")
    (tmp_path / "demo-Q8_0.gguf").touch()
    assert find(tmp_path, "q8_0").name == "demo-Q8_0.gguf"
    (tmp_path / "other-q8_0.gguf").touch()
    with pytest.raises(SystemExit, match="2 GGUF files"):
        find(tmp_path, "Q8_0")
