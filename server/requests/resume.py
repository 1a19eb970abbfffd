"""`resume`: a request and what came of its answer as the request of the worker that goes on. Pure."""

from __future__ import annotations

import msgspec

from server.engine.resumption import ChoiceSoFar, Resumption
from server.ipc.messages import Generate
from server.requests.answer_record import AnswerRecord


def can_resume(record: AnswerRecord) -> bool:
    """Return True if the request can go on in one more worker after what has come of it.

    After a token it can't with samplers whose state follows the tokens' probabilities (mirostat; XTC with a
    seed), nor within the scores of a prompt.
    """
    if record.n_workers >= record.max_workers:
        return False
    if not record.is_begun:
        return True
    if record.beginning is None or record.is_within_scores or record.has_all:
        return False
    return record.beginning.has_replay or not record.has_tokens


def resume(request: Generate, record: AnswerRecord, now_s: float) -> Generate:
    """Return the request for the next worker; the same one while no worker has begun it.

    Only if `can_resume`. Limits of time go on: `now_s` is the time of the record's clock.
    """
    beginning = record.beginning
    if beginning is None:
        return request
    choices = tuple(
        ChoiceSoFar(
            index=index,
            tokens=choice.tokens.tobytes(),
            n_characters=choice.n_characters,
            has_echo=choice.has_echo,
        )
        for index, choice in enumerate(record.choices)
        if not record.has_ended(index)
    )
    return msgspec.structs.replace(
        request,
        resumption=Resumption(
            beginning=beginning,
            choices=choices,
            is_scored=record.is_scored,
            age_s=now_s - record.created_s,
            first_token_age_s=record.first_token_age_s(now_s),
        ),
    )
