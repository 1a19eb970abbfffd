"""Workers that make vectors are told when answers are written, and when no more."""

from __future__ import annotations

from server.engine.sampling_params import SamplingParams
from server.ipc.messages import Generate, Pool
from server.ipc.prompts import PooledInputs, TextPrompt
from server.supervisor.core_share import CoreShare

ANSWER = Generate(id="g", prompt=TextPrompt("x"), params=SamplingParams())
VECTORS = Pool(id="p", inputs=PooledInputs(("x",)))


class Worker:
    def __init__(self) -> None:
        self.told: list[bool] = []

    def give_way(self, active: bool) -> None:
        self.told.append(active)


def test_the_first_answer_and_the_end_of_the_last_are_told() -> None:
    share, chat, vectors, idle = CoreShare(), Worker(), Worker(), Worker()
    with share.running(vectors, VECTORS), share.running(vectors, VECTORS):
        with share.running(chat, ANSWER), share.running(chat, ANSWER):
            pass
        with share.running(chat, ANSWER):
            pass
    assert vectors.told == [False, True, False, True, False]
    with share.running(chat, ANSWER):
        pass
    assert (chat.told, idle.told, len(vectors.told)) == ([], [], 5)


def test_a_request_that_comes_later_hears_it_too() -> None:
    share, chat, vectors = CoreShare(), Worker(), Worker()
    with share.running(chat, ANSWER):
        for _ in range(2):
            with share.running(vectors, VECTORS):
                pass
    with share.running(vectors, VECTORS):
        pass
    assert vectors.told == [True, True, False]
