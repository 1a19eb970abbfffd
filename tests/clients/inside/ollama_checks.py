"""Ollama's library for Python."""

from __future__ import annotations

import json

from checking import CITY, EMBEDDER, HI, KEY, MODEL, URL, check, main, raised
from ollama import AsyncClient, Client, ResponseError

HEADERS = {"Authorization": f"Bearer {KEY}"}
client = Client(host=URL, headers=HEADERS, timeout=60)
LIMIT = {"num_predict": 256, "num_ctx": 4096, "seed": 3}


def weather(city: str) -> str:
    """Weather of a city.

    Args:
      city: The city.
    """
    return f"rain in {city}"


def ask(messages=HI, **more):
    return client.chat(model=MODEL, messages=messages, options=LIMIT, **more)


@check
def models():
    names = [model.model for model in client.list().models]
    assert f"{MODEL}:latest" in names, names
    (one, *_) = [model for model in client.list().models if model.model == f"{MODEL}:latest"]
    assert one.details.family == "llama"
    assert one.size > 0
    assert one.modified_at.year > 2000


@check
def show():
    shown = client.show(MODEL)
    assert shown.modelinfo["general.architecture"] == "llama"
    assert "completion" in shown.capabilities
    assert "tools" in shown.capabilities
    assert "embedding" in client.show(EMBEDDER).capabilities


@check
def chat():
    done = ask()
    assert done.done
    assert done.done_reason == "stop", done.done_reason
    assert done.message.role == "assistant"
    assert done.message.content
    assert done.prompt_eval_count > 0
    assert done.eval_count > 0
    assert done.total_duration >= done.eval_duration > 0


@check
def chat_at_its_limit():
    assert client.chat(model=MODEL, messages=HI, options={"num_predict": 1}).done_reason == "length"


@check
def chat_stream():
    parts = list(ask(stream=True))
    assert [part.done for part in parts[:-1]] == [False] * (len(parts) - 1)
    assert parts[-1].done_reason == "stop"
    assert "".join(part.message.content for part in parts)


@check
async def chat_async():
    said = AsyncClient(host=URL, headers=HEADERS)
    parts = [part async for part in await said.chat(model=MODEL, messages=HI, options=LIMIT, stream=True)]
    assert parts[-1].done


@check
def tools():
    done = ask(tools=[weather])
    (call,) = done.message.tool_calls
    assert call.function.name == "weather"
    assert isinstance(call.function.arguments["city"], str)


@check
def tool_loop():
    messages = [*HI]
    done = ask(messages, tools=[weather])
    messages.append(done.message)
    for call in done.message.tool_calls:
        result = weather(**call.function.arguments)
        messages.append({"role": "tool", "tool_name": call.function.name, "content": result})
    assert ask(messages, tools=[weather]).message.content


@check
def tools_stream():
    calls = [call for part in ask(tools=[weather], stream=True) for call in part.message.tool_calls or ()]
    assert len(calls) == 1


@check
def structured():
    done = ask(format=CITY)
    assert isinstance(json.loads(done.message.content)["city"], str)


@check
def json_mode():
    assert isinstance(json.loads(ask(format="json").message.content), dict)


@check
def generate():
    done = client.generate(model=MODEL, prompt="Say hi.", system="Be short.", options=LIMIT)
    assert done.response
    assert len(done.context) > done.prompt_eval_count
    again = client.generate(model=MODEL, prompt="And again.", context=done.context, options=LIMIT)
    assert again.prompt_eval_count > len(done.context)


@check
def generate_stream():
    parts = list(client.generate(model=MODEL, prompt="Say hi.", options=LIMIT, stream=True))
    assert parts[-1].done
    assert "".join(part.response for part in parts)


@check
def generate_raw():
    done = client.generate(model=MODEL, prompt="Once", raw=True, options={"num_predict": 4})
    assert done.context is None


@check
def logprobs():
    done = ask(logprobs=True, top_logprobs=1)
    assert len(done.logprobs) >= 1
    assert done.logprobs[0].logprob <= 0


@check
def embed():
    done = client.embed(model=EMBEDDER, input=["The river.", "moon"])
    assert len(done.embeddings) == 2
    assert abs(sum(x * x for x in done.embeddings[0]) - 1) < 1e-4
    assert done.prompt_eval_count > 2
    short = client.embed(model=EMBEDDER, input="moon", dimensions=8)
    assert len(short.embeddings[0]) == 8
    one = client.embeddings(model=EMBEDDER, prompt="moon")
    assert max(abs(a - b) for a, b in zip(one.embedding, done.embeddings[1], strict=True)) < 1e-4


@check
def lives():
    assert client.generate(model=EMBEDDER, prompt="", keep_alive="10m").done_reason == "load"
    names = [model.model for model in client.ps().models]
    assert any(name.startswith(f"{EMBEDDER}:") for name in names), names
    assert client.chat(model=MODEL, messages=[]).done_reason == "load"


@check
def errors():
    assert raised(ResponseError, lambda: client.chat(model="none", messages=HI)).status_code == 404
    assert (
        raised(ResponseError, lambda: list(client.chat(model="none", messages=HI, stream=True))).status_code
        == 404
    )
    wrong = raised(ResponseError, lambda: ask(think=True))
    assert wrong.status_code == 400
    assert "does not support thinking" in wrong.error
    assert raised(ResponseError, lambda: client.pull("no such model")).status_code == 400
    assert raised(ResponseError, lambda: client.chat(model=EMBEDDER, messages=HI)).status_code == 400


main()
