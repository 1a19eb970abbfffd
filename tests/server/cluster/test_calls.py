from __future__ import annotations

import inspect

import pytest

from models import errors
from models.errors import CorralError, RequestError, StoreError, WorkerBusy, WorkerDied
from server.cluster.calls import (
    Refusal,
    decode_answer,
    decode_info,
    decode_question,
    decode_refusal,
    decode_work,
    encode_answer,
    encode_call,
    error_of,
    refusal_of,
)
from server.cluster.handles import ReplicaInfo, ReplicaLost
from server.engine.sampling_params import SamplingParams
from server.ipc import frames
from server.ipc.frames import FrameError
from server.ipc.messages import (
    Detokenize,
    DetokenizeReply,
    Generate,
    Pool,
    Question,
    Tokenize,
    TokenizeReply,
    Work,
)
from server.ipc.prompts import PooledInputs, TextPrompt
from server.openai.errors import from_error
from server.supervisor.load_wait import StillLoading
from server.supervisor.protocol import ModelStatus

GENERATE = Generate(id="r", prompt=TextPrompt("x"), params=SamplingParams(temperature=0.5))
POOL = Pool(id="p", inputs=PooledInputs(("a",)))


@pytest.mark.parametrize("work", [GENERATE, POOL])
def test_requests(work: Work) -> None:
    assert decode_work(encode_call(work)) == work


@pytest.mark.parametrize("question", [Tokenize(text="x"), Detokenize(tokens=(1, 2))])
def test_questions(question: Question) -> None:
    assert decode_question(encode_call(question)) == question


def test_a_request_that_is_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "MAX_FRAME_BYTES", 10)
    with pytest.raises(RequestError, match="too large"):
        encode_call(GENERATE)


def test_replies() -> None:
    reply = TokenizeReply("t", [1, 2])
    assert decode_answer(encode_answer(reply), TokenizeReply) == reply
    with pytest.raises(FrameError, match="not DetokenizeReply"):
        decode_answer(encode_answer(reply), DetokenizeReply)
    info = ReplicaInfo(statuses=[ModelStatus(name="one", state="ready", created=1)], version="2")
    assert decode_info(encode_answer(info)) == info


@pytest.mark.parametrize("decode", [decode_work, decode_question, decode_info, decode_refusal])
def test_nonsense(decode: object) -> None:
    assert callable(decode)
    for data in (b"", b"\x00", b"nonsense", encode_answer(TokenizeReply("t", [1]))):
        with pytest.raises(FrameError, match="one version"):
            decode(data)


def examples() -> list[CorralError]:
    """An error of each class that a message alone makes, and of those with more to tell."""
    classes = [
        each for each in vars(errors).values() if inspect.isclass(each) and issubclass(each, CorralError)
    ]
    made: list[CorralError] = [
        RequestError("no", "prompt", "bad"),
        WorkerBusy("full", 3.0),
        WorkerDied("gone", is_killed=True),
        StoreError("at /home/me", "somewhere"),
        errors.ContextLengthExceeded("long", n_prompt=9, n_ctx=8),
        errors.DecodeError("failed", 2),
        StillLoading("wait", 7.0),
        ReplicaLost("lost"),
    ]
    for error_class in classes:
        try:
            made.append(error_class("a message"))
        except TypeError:
            continue
    return made


def test_an_error_reaches_the_client_as_it_was_there() -> None:
    made = examples()
    assert len(made) > 25
    for error in made:
        again = error_of(refusal_of(error))
        assert from_error(again) == from_error(error)
        assert (type(again) is type(error)) == (type(error).__module__ == "models.errors")
        with pytest.raises(type(again)):
            decode_answer(encode_answer(refusal_of(error)), TokenizeReply)


def test_an_error_of_another_version_is_one_all_the_same() -> None:
    for kind in ("Unheard", "annotations", "Final"):
        assert type(error_of(Refusal(kind, "m"))) is CorralError


def test_the_paths_of_another_machine_stay_there() -> None:
    refusal = refusal_of(StoreError("at /home/me", "somewhere"))
    assert "/home" not in repr(refusal)
