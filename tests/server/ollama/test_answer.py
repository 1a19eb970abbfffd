"""Lines that no event makes: those that fill a silence, and an error's."""

from __future__ import annotations

import json

import pytest

from server.ollama.answer import OllamaAnswer
from server.ollama.form import OllamaForm
from server.openai.errors import ApiError, ErrorBody


def answer(form: OllamaForm) -> OllamaAnswer:
    return OllamaAnswer("demo", form, streamed=True, begun_ns=0)


def test_a_silence_is_filled_with_lines_that_say_nothing() -> None:
    """Clients read each line as JSON, so no comment and no empty line may come."""
    chat, text = answer(OllamaForm(route="chat")), answer(OllamaForm(route="generate"))
    for line, said in ((chat.keep_alive(), "message"), (text.keep_alive(), "response")):
        assert line.endswith(b"\n")
        told = json.loads(line)
        assert (told["model"], told["done"]) == ("demo", False)
        assert told[said] in ("", {"role": "assistant", "content": ""})
    assert chat.end() == b""


@pytest.mark.parametrize(
    ("param", "words"), [("top_k", "top_k: it is wrong"), ("it", "it is wrong"), (None, "it is wrong")]
)
def test_an_error_names_the_field(param: str | None, words: str) -> None:
    error = ApiError(status=400, body=ErrorBody(message="it is wrong", type="a", param=param))
    assert json.loads(answer(OllamaForm(route="chat")).error(error)) == {"error": words}
