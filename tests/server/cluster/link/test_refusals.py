from __future__ import annotations

import inspect

from models import errors
from models.errors import CorralError, RequestError, StoreError, WorkerBusy, WorkerDied
from server.cluster.deployments import ReplicaLost
from server.cluster.link.link_messages import Answer, decode_from_replica, link_frame
from server.cluster.link.refusals import Refusal, error_of, refusal_of
from server.ipc.frames import HEADER
from server.openai.errors import from_error
from server.supervisor.load_wait import StillLoading


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
        frame = link_frame(Answer("1", refusal_of(error)))
        answer = decode_from_replica(frame[HEADER.size :])
        assert isinstance(answer, Answer)
        assert isinstance(answer.reply, Refusal)
        again = error_of(answer.reply)
        assert from_error(again) == from_error(error)
        assert (type(again) is type(error)) == (type(error).__module__ == "models.errors")


def test_an_error_of_another_version_is_one_all_the_same() -> None:
    for kind in ("Unheard", "annotations", "Final"):
        assert type(error_of(Refusal(kind, "m"))) is CorralError


def test_the_paths_of_another_machine_stay_there() -> None:
    refusal = refusal_of(StoreError("at /home/me", "somewhere"))
    assert "/home" not in repr(refusal)
