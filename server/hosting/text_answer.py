"""`TextAnswer`: texts as the Open Inference Protocol has them: tensors, an object, a stream. Pure."""

from __future__ import annotations

from typing import Any

import msgspec

from models.errors import RequestError
from server.engine.events import Event, Usage
from server.hosting.tensors import TensorForm
from server.openai import sse
from server.openai.choices import Choices
from server.openai.errors import ApiError
from server.openai.response import MAX_ANSWER_BYTES

_encode = msgspec.json.encode


class TextAnswer:
    """An `EventListener` for a whole answer, a `StreamEncoder` for a stream of one text."""

    def __init__(self, model: str, version: str | None, form: TensorForm, n_texts: int) -> None:
        """`version`: the quantization type of the model that answers."""
        self._choices = Choices("text", n_texts)
        self._form = form
        self._texts: list[list[str]] = [[] for _ in range(n_texts)]
        self._reasons: list[str] = [""] * n_texts
        self._n_chars = 0
        self._head: dict[str, Any] = {"model_name": model}
        if version is not None:
            self._head["model_version"] = version
        if form.id is not None:
            self._head["id"] = form.id

    @property
    def usage(self) -> Usage | None:
        """The usage of the request, once it has ended."""
        return None if self._choices.finish is None else self._choices.finish.usage

    # --- whole ---

    def on_event(self, event: Event) -> None:
        """Take an event. Raises RequestFailed for a `Failure`, and RequestError for too long an answer."""
        for delta in self._choices.feed(event):
            self._texts[delta.index].append(delta.text)
            self._n_chars += len(delta.text)
            if delta.finish_reason is not None:
                self._reasons[delta.index] = delta.finish_reason
        if self._n_chars > MAX_ANSWER_BYTES:
            raise RequestError(
                f"the answer has more than {MAX_ANSWER_BYTES:,} characters; lower 'max_tokens', or stream it",
                code="answer_too_large",
            )

    async def drained(self) -> None:
        """Return at once: whatever comes is needed until the end."""

    def tensors(self) -> bytes:
        """Return the answer of `…/infer`. Only after `Finish`."""
        data = {"text_output": ["".join(parts) for parts in self._texts], "finish_reason": self._reasons}
        shape = [len(self._texts)]
        outputs = [
            {"name": name, "datatype": "BYTES", "shape": shape, "data": data[name]}
            for name in self._form.outputs
        ]
        return _encode({**self._head, "outputs": outputs})

    def text(self) -> bytes:
        """Return the answer of `…/generate`. Only after `Finish`."""
        return self._object("".join(self._texts[0]), self._reasons[0])

    # --- stream ---

    def feed(self, event: Event) -> bytes:
        """Return the objects that an event makes, maybe none. Raises RequestFailed for a `Failure`."""
        parts = [self._object(delta.text, delta.finish_reason) for delta in self._choices.feed(event)]
        return b"".join(map(sse.data, parts))

    def end(self) -> bytes:
        """Return nothing: the last object has the reason for the end."""
        return b""

    def error(self, error: ApiError) -> bytes:
        """Return the object of an error, which ends the stream."""
        return sse.data(words(error))

    def keep_alive(self) -> bytes:
        """Return a comment, which clients skip."""
        return sse.COMMENT

    def _object(self, text: str, reason: str | None) -> bytes:
        ending = {} if reason is None else {"finish_reason": reason}
        return _encode({**self._head, "text_output": text, **ending})


def words(error: ApiError) -> bytes:
    """Return an error as this protocol has it: its words alone."""
    return _encode({"error": error.body.message})
