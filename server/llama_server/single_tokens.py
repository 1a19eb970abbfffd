"""`single_tokens`: an event with several tokens as one event for each, as llama-server streams.

Only events with logprobs can be cut: those have each token's bytes. Pure.
"""

from __future__ import annotations

import codecs

import msgspec

from server.engine.events import Delta


def single_tokens(event: Delta) -> list[Delta]:
    """Return an event for each token, whose texts together are the event's; the event itself if it can't be.

    A character of several tokens is in the event of its last one. A text that isn't that of its tokens, as
    it lost its first space, or a stop string has held a part of it, stays whole.
    """
    n = len(event.logprobs)
    if n < 2 or n != len(event.tokens) or n != event.n_tokens:
        return [event]
    decode = codecs.getincrementaldecoder("utf-8")("replace").decode
    texts = [decode(scored.piece) for scored in event.logprobs]
    if "".join(texts) != event.text:
        return [event]
    return [
        msgspec.structs.replace(event, text=text, n_tokens=1, tokens=(token,), logprobs=(scored,))
        for text, token, scored in zip(texts, event.tokens, event.logprobs, strict=True)
    ]
