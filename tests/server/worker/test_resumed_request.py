from __future__ import annotations

from dataclasses import replace

import pytest

from models.errors import RequestError
from server.engine.images import ImageSpan, image_tokens
from server.engine.request import EngineRequest
from server.engine.resumption import Beginning, ChoiceSoFar, Resumption, packed, prompt_digest
from server.engine.sampling_params import SamplingParams
from server.worker.resumed_request import resumed

READ = EngineRequest(
    id="r", prompt_tokens=[1, 2, 3, 4], params=SamplingParams(), borders=(2,), n_keep=4, has_replay=True
)


def resumption(prompt: bytes, digest: bytes = b"", tokens: bytes = b"") -> Resumption:
    beginning = Beginning(prompt=prompt, digest=digest, seed=1, has_replay=True)
    return Resumption(beginning=beginning, choices=(ChoiceSoFar(index=0, tokens=tokens),))


def test_a_prompt_has_its_first_tokens() -> None:
    same = resumption(packed([1, 2, 3, 4]))
    assert resumed(READ, same) == replace(READ, resumption=same)
    other = resumption(packed([1, 9, 3]))
    assert resumed(READ, other) == replace(
        READ, prompt_tokens=[1, 9, 3], borders=(), n_keep=3, resumption=other
    )


def test_images_must_be_the_same() -> None:
    tokens = [1, *image_tokens(b"x", 2), 2]
    seen = replace(READ, prompt_tokens=tokens, images=(ImageSpan(1, 2, None),))
    same = resumption(b"", prompt_digest(tokens))
    assert resumed(seen, same).prompt_tokens == tokens
    for request, other in ((seen, resumption(b"", b"other")), (READ, same), (seen, resumption(packed([1])))):
        with pytest.raises(RequestError, match="images"):
            resumed(request, other)


def test_samplers_without_replay_begin_anew_or_not_at_all() -> None:
    blind = replace(READ, has_replay=False)
    assert resumed(blind, resumption(packed([1, 2, 3, 4]))).resumption is not None
    with pytest.raises(RequestError, match="samplers"):
        resumed(blind, resumption(packed([1, 2, 3, 4]), tokens=packed([5])))
