"""Bodies of hosts as those of other routes, without a server."""

from __future__ import annotations

import json
from typing import Any

import pytest

from models.errors import RequestError
from server.hosting.attributes import NO_ATTRIBUTES, Attributes, attributes_of
from server.hosting.read import MOST_INSTANCES, read_hosted
from server.hosting.tensors import TensorForm, completion_of
from server.openai.errors import BodyTooLarge
from server.openai.requests.reading import ReadJob, read
from server.openai.requests.reading_process import head_of, joined, parts_of

TENSOR = {"name": "text_input", "datatype": "BYTES", "shape": [2], "data": ["a", "b"]}


def encoded(value: Any) -> bytes:
    return json.dumps(value).encode()


@pytest.mark.parametrize(
    ("body", "shape"),
    [
        ({"messages": [], "prompt": "p", "input": "i"}, "chat"),
        ({"prompt": "p"}, "text"),
        ({"input": "a"}, "embeddings"),
        ({"input": ["a", "b"], "prompt": "passage: "}, "embeddings"),
        ({"input": [[1, 2], [3]]}, "embeddings"),
        ({"input": [{"role": "user", "content": "a"}]}, "response"),
        ({"input": "a", "instructions": "be brief"}, "response"),
        ({"input": "a", "instructions": None}, "embeddings"),
        ({"query": "q", "documents": ["d"]}, "rerank"),
        ({"query": "q", "texts": ["d"]}, "rerank"),
        ({"text_1": "a", "text_2": "b"}, "score"),
        ({"text_input": "a"}, "generate_text"),
    ],
)
def test_shapes_are_told_by_their_members(body: dict[str, Any], shape: str) -> None:
    assert read_hosted(encoded(body), NO_ATTRIBUTES).shapes == [shape]


@pytest.mark.parametrize(
    ("body", "message", "param"),
    [
        (
            {"query": "q"},
            "the body has none of the shapes that are answered here: 'messages' (",
            None,
        ),
        ({"messages": None}, "none of the shapes", None),
        ([], "the request's body must be a JSON object", None),
        ({"instances": {}}, "'instances' must be a list", "instances"),
        ({"instances": []}, "'instances' has 0 requests; send 1 to 1,000", "instances"),
        ({"instances": [{"prompt": "a"}] * (MOST_INSTANCES + 1)}, "has 1,001 requests", "instances"),
        ({"instances": [{"prompt": "a"}, {"promt": "b"}]}, "instances[1] has none of the shapes", None),
        ({"instances": [{"prompt": "a"}, "b"]}, "instances[1] must be a JSON object", None),
        ({"instances": [{"prompt": "a"}], "parameters": []}, "'parameters' must be a JSON object", None),
        (
            {"instances": [{"prompt": "a"}], "parameters": {"stream": True}},
            "instances[0] asks for a stream, and predictions come whole",
            "stream",
        ),
    ],
)
def test_other_bodies_are_refused(body: Any, message: str, param: str | None) -> None:
    with pytest.raises(RequestError) as caught:
        read_hosted(encoded(body), NO_ATTRIBUTES)
    assert message in caught.value.message
    assert caught.value.param == param


def test_parameters_are_not_multiplied_without_end() -> None:
    body = {"instances": [{"prompt": "a"}] * 100, "parameters": {"stop": "x" * 1_000_000}}
    with pytest.raises(BodyTooLarge, match="each with the parameters, have more than 67,108,864 bytes"):
        read_hosted(encoded(body), NO_ATTRIBUTES)


def test_what_is_no_json_is_refused() -> None:
    with pytest.raises(RequestError, match="not valid JSON"):
        read_hosted(b'{"prompt": ', NO_ATTRIBUTES)


def test_instances_stand_over_parameters_and_attributes() -> None:
    body = {
        "instances": [{"prompt": "a", "max_tokens": 2}, {"input": "b", "model": "other"}],
        "parameters": {"max_tokens": 9, "temperature": 0},
        "labels": {},
    }
    read = read_hosted(encoded(body), Attributes(model="demo", session="s"))
    assert read.shapes == ["text", "embeddings"]
    assert read.unknown == ["labels"]
    assert read.instances is not None
    assert [json.loads(each) for each in read.instances] == [
        {"model": "demo", "prompt_cache_key": "s", "max_tokens": 2, "temperature": 0, "prompt": "a"},
        {"model": "other", "prompt_cache_key": "s", "max_tokens": 9, "temperature": 0, "input": "b"},
    ]


@pytest.mark.parametrize("body", [{"instances": [{"prompt": "a"}, {"messages": []}]}, {"prompt": "a"}])
def test_what_a_process_has_read_is_the_same(body: dict[str, Any]) -> None:
    """Large bodies are read in another process, whose reply is parts."""
    job = ReadJob(purpose="hosted", attributes=Attributes(model="demo"))
    outcome = read(job, encoded(body))
    first, *long = parts_of(outcome)
    assert joined(head_of(first), long) == outcome


def test_attributes() -> None:
    found = attributes_of("accept_eula=true, model=demo;adapter = pirate,session=a=b,trace")
    assert found == Attributes(model="demo", adapter="pirate", session="a=b")
    opening = read_hosted(b'{"prompt": "a"}', found).opening
    assert json.loads(b"{" + opening + b'"prompt": "a"}') == {
        "model": "demo:pirate", "prompt_cache_key": "a=b", "prompt": "a",
    }  # fmt: skip
    with pytest.raises(RequestError, match="name it in the body: MODEL:ADAPTER"):
        read_hosted(b'{"prompt": "a", "model": "demo"}', found)
    for wrong in ("model=", "adapter", "session=" + "x" * 513):
        with pytest.raises(RequestError, match=r"must be .*=VALUE"):
            attributes_of(wrong)


@pytest.mark.parametrize(
    ("purpose", "body", "expected", "form"),
    [
        (
            "infer_tensors",
            {"inputs": [TENSOR], "id": "7", "parameters": {"max_tokens": 3, "n": 1, "stream": True}},
            {"prompt": ["a", "b"], "max_tokens": 3, "n": 1, "model": "demo"},
            TensorForm(id="7"),
        ),
        (
            "infer_tensors",
            {
                "inputs": [TENSOR | {"shape": [2, 1], "data": [["a"], ["b"]]}],
                "outputs": [{"name": "text_output"}],
            },
            {"prompt": ["a", "b"], "model": "demo"},
            TensorForm(outputs=("text_output",)),
        ),
        (
            "generate_text",
            {"text_input": "a", "id": "8", "max_tokens": 3, "parameters": {"temperature": 0, "logprobs": 2}},
            {"prompt": "a", "max_tokens": 3, "temperature": 0, "model": "demo"},
            TensorForm(id="8", without_effect=["logprobs"]),
        ),
    ],
)
def test_texts_become_completions(purpose: Any, body: Any, expected: Any, form: TensorForm) -> None:
    made, found = completion_of(purpose, encoded(body), "demo")
    assert json.loads(made) == expected
    assert found == form


@pytest.mark.parametrize(
    ("purpose", "body", "message"),
    [
        ("infer_tensors", {}, "missing required field `inputs`"),
        ("infer_tensors", {"inputs": []}, "'inputs' has 0 tensors; send one of texts"),
        ("infer_tensors", {"inputs": [TENSOR, TENSOR]}, "'inputs' has 2 tensors"),
        ("infer_tensors", {"inputs": [TENSOR | {"name": "image"}]}, "the input 'image' is unknown"),
        ("infer_tensors", {"inputs": [TENSOR | {"datatype": "FP32"}]}, "has the datatype 'FP32'"),
        ("infer_tensors", {"inputs": [TENSOR | {"shape": [3]}]}, "has 2 texts, and its shape [3]"),
        ("infer_tensors", {"inputs": [TENSOR | {"shape": [-1, -2]}]}, "its shape [-1, -2]"),
        ("infer_tensors", {"inputs": [TENSOR | {"shape": [2**62] * 9}]}, "has 9 axes; send one or two"),
        ("infer_tensors", {"inputs": [TENSOR | {"shape": [0], "data": []}]}, "has 0 texts; send 1 to"),
        ("infer_tensors", {"inputs": [TENSOR | {"data": [1, 2]}]}, "must be a list of strings"),
        (
            "infer_tensors",
            {"inputs": [TENSOR | {"parameters": {"binary_data_size": 9}}]},
            "comes as binary data, which isn't read here",
        ),
        (
            "infer_tensors",
            {"inputs": [TENSOR], "outputs": [{"name": "logits"}]},
            "there is no output 'logits'; there are text_output, finish_reason",
        ),
        ("infer_tensors", {"inputs": [TENSOR], "parameters": {"n": 2}}, "'n' can't be more than 1 here"),
        ("generate_text", {}, "'text_input' must be a string"),
        ("generate_text", {"text_input": ["a"]}, "'text_input' must be a string"),
        ("generate_text", {"text_input": "a", "id": 7}, "'id' must be a string"),
        ("generate_text", {"text_input": "a", "parameters": 7}, "'parameters' must be a JSON object"),
        ("generate_text", {"text_input": "a", "best_of": 3}, "'best_of' can't be more than 1"),
    ],
)
def test_other_texts_are_refused(purpose: Any, body: Any, message: str) -> None:
    with pytest.raises(RequestError) as caught:
        completion_of(purpose, encoded(body), "")
    assert message in caught.value.message
