"""`resumed`: a request that has begun in a worker that died, as the engine goes on with it."""

from __future__ import annotations

from dataclasses import replace

from server.engine.request import EngineRequest
from server.engine.resumption import Resumption, cannot_resume, prompt_digest, unpacked


def resumed(request: EngineRequest, resumption: Resumption) -> EngineRequest:
    """Return `request`, which was read anew, with its prompt's tokens as they were at first, and what came.

    A template may have told the time, so a prompt's tokens are those of the first reading; those of images
    can only be read again. Raises RequestError where the request can't go on.
    """
    beginning = resumption.beginning
    if not request.has_replay and any(choice.tokens for choice in resumption.choices):
        raise cannot_resume("its samplers' state can't be had from its tokens")
    if request.images or beginning.digest:
        if beginning.digest != prompt_digest(request.prompt_tokens):
            raise cannot_resume("its prompt has other images there")
        return replace(request, resumption=resumption)
    tokens = unpacked(beginning.prompt)
    if tokens == request.prompt_tokens:
        return replace(request, resumption=resumption)
    n_keep = None if request.n_keep is None else min(request.n_keep, len(tokens))
    return replace(request, prompt_tokens=tokens, borders=(), n_keep=n_keep, resumption=resumption)
