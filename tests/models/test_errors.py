"""Messages of errors: whole, unless they are as long as what a stranger has put into them."""

from __future__ import annotations

from models.errors import LONGEST, CheckpointError


def test_a_message_is_whole() -> None:
    text = "fact; " * (LONGEST // 6)
    assert CheckpointError(text).message == CheckpointError(text).public == text


def test_of_a_long_message_the_fact_and_the_fix_are_kept() -> None:
    error = CheckpointError(f"config.json has hidden_act {'x' * 100_000!r}; correct it")
    assert len(error.message) == LONGEST
    assert error.message.startswith("config.json has hidden_act 'xxx")
    assert error.message.endswith("xxx'; correct it")
    assert CheckpointError(error.message).message == error.message == error.public == str(error)
