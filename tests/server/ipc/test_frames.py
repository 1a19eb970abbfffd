from __future__ import annotations

import pytest

from server.engine.events import Delta, Failure, Finish, Timings, TokenLogprob, Usage
from server.engine.sampling_params import SamplingParams
from server.ipc import frames
from server.ipc.frames import (
    HEADER,
    FrameError,
    decode_reply,
    decode_request,
    decode_spec,
    encode_frame,
    frame_length,
)
from server.ipc.messages import Cancel, Drain, Generate, Reply, StepEvents, TokenizeReply, WorkerRequest
from server.ipc.model_spec import AdapterSpec, ModelSpec
from server.ipc.prompts import ChatPrompt, TextPrompt, TokenPrompt
from server.serve_options import ServeOptions

PARAMS = SamplingParams(temperature=0.5, logit_bias=((3, float("-inf")),), stop=("a", "###"), seed=2**63)


def payload_of(frame: bytes) -> bytes:
    """Return the frame's payload; its header must give the length of exactly that."""
    assert frame_length(frame) == len(frame) - HEADER.size
    return frame[HEADER.size :]


@pytest.mark.parametrize(
    "message",
    [
        Generate(id="a", prompt=TextPrompt("né"), params=PARAMS, n=3, timeout_s=1.5),
        Generate(id="a", prompt=TokenPrompt((1, 2)), params=SamplingParams(), echo=True),
        Generate(
            id="a", prompt=ChatPrompt([{"role": "user", "content": "x"}], "vicuna"), params=SamplingParams()
        ),
        Cancel("a"),
        Drain(2.5),
    ],
)
def test_a_request_is_decoded_as_it_was_encoded(message: WorkerRequest) -> None:
    assert decode_request(payload_of(encode_frame(message))) == message


@pytest.mark.parametrize(
    "message",
    [
        StepEvents(
            [
                Delta(id="a", index=1, text="né", tokens=(3,), logprobs=(TokenLogprob(3, b"n\xc3", -0.5),)),
                Finish(
                    id="a",
                    usage=Usage(prompt_tokens=3, completion_tokens=1),
                    timings=Timings(queue_ms=1, prompt_n=3, prompt_ms=2, predicted_n=1, predicted_ms=4),
                ),
            ]
        ),
        TokenizeReply("a", [1, 2], [b"\xff", b""]),
        Failure(id="a", kind="busy", message="later", retry_after_s=1.5),
    ],
)
def test_a_reply_is_decoded_as_it_was_encoded(message: Reply) -> None:
    assert decode_reply(payload_of(encode_frame(message))) == message


def test_the_spec_is_decoded_as_it_was_encoded() -> None:
    spec = ModelSpec(
        name="demo", path="/x.gguf", options=ServeOptions(gpu_layers=3), adapters=(AdapterSpec(1, "/a.gguf"),)
    )
    assert decode_spec(payload_of(encode_frame(spec))) == spec


def test_a_header_counts_the_payload_from_any_place() -> None:
    two = encode_frame(Cancel("a")) + encode_frame(Cancel("longer"))
    second = HEADER.size + frame_length(two)
    assert decode_request(two[second + HEADER.size :]) == Cancel("longer")
    assert frame_length(two, second) == len(two) - second - HEADER.size


def test_a_frame_that_is_too_long_is_refused_at_both_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FrameError, match="the limit is"):
        frame_length(HEADER.pack(frames.MAX_FRAME_BYTES + 1))
    monkeypatch.setattr(frames, "MAX_FRAME_BYTES", 1000)
    with pytest.raises(FrameError, match="the limit is 1,000"):
        encode_frame(TokenizeReply("a", list(range(1000))))


@pytest.mark.parametrize("payload", [b"", b"\xff\xff", b"\x93\x01", b"\x81\xa4type\xa3foo", b"\x80"])
def test_what_is_no_message_is_a_frame_error(payload: bytes) -> None:
    for decode in (decode_request, decode_reply, decode_spec):
        with pytest.raises(FrameError, match="doesn't decode"):
            decode(payload)
