"""The engine's logprobs in OpenAI's two forms: that of chats and that of completions. Pure.

Used only where a client requests logprobs. A token's text need not be whole characters: chats get U+FFFD in
their place and the exact `bytes`, completions get `bytes:\\xe2\\x80`.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterable

from server.engine.events import Delta, PromptPart, TokenLogprob
from server.openai import response_types

LEAST = -9999.0
"""OpenAI's logprob for "as good as impossible"; JSON has no infinity."""

_utf8 = codecs.getincrementaldecoder("utf-8")


# --- chats --------------------------------------------------------------------------------------------------


def chat_logprobs(entries: Iterable[TokenLogprob]) -> response_types.ChatLogprobs:
    """Return the tokens in a chat's form."""
    return response_types.ChatLogprobs(
        [
            response_types.ChatTokenLogprob(
                token=entry.piece.decode("utf-8", "replace"),
                logprob=_finite(LEAST if entry.logprob is None else entry.logprob),
                bytes=list(entry.piece),
                top_logprobs=[
                    response_types.ChatTopLogprob(
                        piece.decode("utf-8", "replace"), _finite(logprob), list(piece)
                    )
                    for _, piece, logprob in entry.top
                ],
            )
            for entry in entries
        ]
    )


# --- completions --------------------------------------------------------------------------------------------


class TextLogprobs:
    """One choice of a completion, delta by delta: knows where in its text each token begins."""

    def __init__(self) -> None:
        self._place = _Place()

    def place(self, delta: Delta) -> response_types.TextLogprobs:
        """Return the delta's tokens with their offsets in the choice's text.

        A `delta` that `is_prompt` brings the prompt's text and tokens, or the last of them after those that
        are a `PromptPart`; any other follows the text before it.
        """
        place, entries = self._place, delta.logprobs
        place.show(delta.text)
        names = [_name(entry.piece) for entry in entries]
        logprobs = response_types.TextLogprobs(
            tokens=names,
            token_logprobs=[None if e.logprob is None else _finite(e.logprob) for e in entries],
            top_logprobs=[_top(entry, name) for entry, name in zip(entries, names, strict=True)],
            text_offset=[place.next(entry.piece) for entry in entries],
        )
        if delta.is_prompt and not isinstance(delta, PromptPart):
            place.end_of_prompt()
        return logprobs


def _top(entry: TokenLogprob, name: str) -> dict[str, float] | None:
    """Return the most likely tokens and the generated one, which is always under its own name.

    Another token with the same name (a byte token and the same character) is named `token_id:5`.
    """
    if entry.logprob is None:
        return None
    top: dict[str, float] = {}
    for token, piece, logprob in entry.top:
        other = _name(piece)
        if token != entry.token and (other == name or other in top):
            other = f"token_id:{token}"
        top[other] = _finite(logprob)
    top.setdefault(name, _finite(entry.logprob))
    return top


def _name(piece: bytes) -> str:
    try:
        return piece.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in piece)


def _finite(logprob: float) -> float:
    return max(LEAST, logprob)


class _Place:
    """Finds the tokens of a choice in its text, which may lag behind them.

    ```
    text shown so far   |-------------------------|
    tokens so far       |--- found ---|--- ahead: not shown as a whole yet ---|  next
                                      _found
    ```

    A token that isn't in the text where it should be takes no room there: control tokens are not shown, nor
    is the space that a tokenizer puts before a prompt.
    """

    __slots__ = ("_ahead", "_decoder", "_found", "_n_ahead", "_shown", "_shown_from")

    def __init__(self) -> None:
        self._decoder = _utf8("replace")
        self._shown = ""
        self._shown_from = 0
        self._found = 0
        self._ahead: list[str] = []
        self._n_ahead = 0

    def show(self, text: str) -> None:
        """Add text to the choice."""
        self._shown = self._shown[self._found - self._shown_from :] + text
        self._shown_from = self._found
        ahead, self._ahead, self._n_ahead = self._ahead, [], 0
        for piece in ahead:
            self._follow(piece)

    def next(self, piece: bytes) -> int:
        """Return the character with which `piece` begins, or of which it is a part, and pass the piece."""
        begins, state = self._found + self._n_ahead, self._decoder.getstate()
        text = self._decoder.decode(piece)
        if not self._follow(text) and not (begins == 0 and text[:1] == " " and self._follow(text[1:])):
            self._decoder.setstate(state)
        return begins

    def end_of_prompt(self) -> None:
        """Let generated text begin where the text so far ends."""
        self._decoder.reset()
        self._found = self._shown_from + len(self._shown)
        self._ahead, self._n_ahead = [], 0

    def _follow(self, text: str) -> bool:
        """Pass `text` and return True, if it can be what follows."""
        at = self._found - self._shown_from
        n_known = min(len(text), len(self._shown) - at)
        if not self._ahead and not self._shown.startswith(text[:n_known], at):
            return False
        if self._ahead or n_known < len(text):
            self._ahead.append(text)
            self._n_ahead += len(text)
        else:
            self._found += len(text)
        return True
