"""litellm: the same chat by each of its routes to a server."""

from __future__ import annotations

import json

import litellm
from checking import CITY, EMBEDDER, HI, KEY, MODEL, RERANKER, URL, check, main


def route(name, base, **more):
    done = litellm.completion(
        model=f"{name}/{MODEL}", api_base=base, api_key=KEY, messages=HI, max_tokens=64, num_retries=0, **more
    )
    if more.get("stream"):
        done = litellm.stream_chunk_builder(list(done), messages=HI)
    assert done.choices[0].message.content
    assert done.usage.total_tokens > 0


def called(name, base):
    tool = {
        "type": "function",
        "function": {"name": "weather", "description": "Weather.", "parameters": CITY},
    }
    done = litellm.completion(
        model=f"{name}/{MODEL}", api_base=base, api_key=KEY, messages=HI, tools=[tool], tool_choice="required"
    )
    (call,) = done.choices[0].message.tool_calls
    assert isinstance(json.loads(call.function.arguments)["city"], str)


@check
def openai_route_tools():
    called("openai", f"{URL}/v1")


@check
def anthropic_route_tools():
    called("anthropic", URL)


@check
def openai_route():
    route("openai", f"{URL}/v1")


@check
def openai_route_stream():
    route("openai", f"{URL}/v1", stream=True, stream_options={"include_usage": True})


@check
def hosted_vllm_route():
    route("hosted_vllm", f"{URL}/v1")


@check
def anthropic_route():
    route("anthropic", URL)


@check
def anthropic_route_stream():
    route("anthropic", URL, stream=True)


@check
def responses_route():
    assert litellm.responses(
        model=f"openai/{MODEL}", api_base=f"{URL}/v1", api_key=KEY, input="Say hi."
    ).output


@check
def ollama_chat_route():
    route("ollama_chat", URL)


@check
def ollama_chat_route_stream():
    route("ollama_chat", URL, stream=True)


@check
def ollama_chat_route_tools():
    called("ollama_chat", URL)


@check
def ollama_route():
    route("ollama", URL)


@check
def embedding():
    asked = {"model": f"openai/{EMBEDDER}", "api_base": f"{URL}/v1", "api_key": KEY}
    assert len(litellm.embedding(**asked, input=["a", "b"]).data) == 2


@check
def ollama_embedding():
    asked = {"model": f"ollama/{EMBEDDER}", "api_base": URL}
    assert len(litellm.embedding(**asked, input=["a", "b"]).data) == 2


@check
def rerank():
    asked = {"model": f"hosted_vllm/{RERANKER}", "api_base": URL, "api_key": KEY}
    assert len(litellm.rerank(**asked, query="pet", documents=["A cat.", "A spade."], top_n=1).results) == 1


main()
