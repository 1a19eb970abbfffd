"""CPU time of the API process for each streamed chunk: `python -m bench.stream_path [TREE …]`.

A scripted worker process sends the events of 16 answers, one message per step as an engine does; a real
supervisor and uvicorn bring them to 16 clients on the loopback. Every source tree given (by default this
one) has a server process of its own, and so has this tree without the direct write and without splicing;
they are measured in turn, round after round. Printed are medians over the rounds, and the median of what
each round says of a server and the first one: a busy machine changes both. Two processes of the same tree
differ by some 3 % for all their lives: `bench.figures_cost` measures within one.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parents[1]
N_STREAMS = 16
"""The answers that are streamed at the same time."""
N_STEPS = 1000
"""The steps of a round: each brings one token of each answer."""
GAP_S = 0.002
"""The pause of the scripted worker between two steps, in seconds."""
N_ROUNDS = 7
"""The rounds whose medians are printed."""
AS_IT_IS = "as it is"
HIDDEN = "without the direct write"
"""A server that hides uvicorn's `send`: every part goes through a task, the middlewares and that `send`."""
WHOLE = "without splicing"
"""Requests with `return_tokens`: every chunk is encoded as a whole, not around its text."""


# --- the worker's process -----------------------------------------------------------------------------------


def work(fd: int) -> None:
    """Answer requests, `N_STREAMS` of them together, with as many tokens as they allow."""
    from server.engine.events import ChoiceEnd, Delta, Event, Finish, Started, Timings, Usage
    from server.ipc.frames import HEADER, decode_request, encode_frame, frame_length
    from server.ipc.messages import Generate, Ready, StepEvents
    from server.ipc.model_spec import ModelInfo

    connection = socket.socket(fileno=fd)
    reader = connection.makefile("rb")

    def frame() -> bytes:
        header = reader.read(HEADER.size)
        return reader.read(frame_length(header)) if header else b""

    def send(events: list[Event]) -> None:
        connection.sendall(encode_frame(StepEvents(events)))

    info = ModelInfo(
        n_vocab=1,
        n_ctx=1,
        n_ctx_train=1,
        n_embd=1,
        n_params=1,
        size_bytes=1,
        n_parallel=N_STREAMS,
        n_gpu_layers=0,
        description="",
        ftype="",
        prompt_format="",
    )
    frame()  # the model's settings
    connection.sendall(encode_frame(Ready(info)))
    timings = Timings(queue_ms=0, prompt_n=1, prompt_ms=1, predicted_n=1, predicted_ms=1)
    waiting: list[str] = []
    while payload := frame():
        request = decode_request(payload)
        if not isinstance(request, Generate):
            continue
        waiting.append(request.id)
        if len(waiting) < N_STREAMS:
            continue
        ids, waiting = waiting, []
        n_steps = request.params.max_tokens or 1
        send([Started(id=id_, prompt_tokens=3, cached_tokens=0) for id_ in ids])
        for _ in range(n_steps):
            time.sleep(GAP_S)
            send([Delta(id=id_, index=0, text=" token") for id_ in ids])
        usage = Usage(prompt_tokens=3, completion_tokens=n_steps)
        send([ChoiceEnd(id=id_, index=0, finish_reason="length") for id_ in ids])
        send([Finish(id=id_, usage=usage, timings=timings) for id_ in ids])


# --- the API process ----------------------------------------------------------------------------------------


def serve(variant: str, routes: Mapping[str, Callable[[], object]] | None = None) -> None:
    """Serve the scripted model on a free port, which is printed; `GET /cpu` gives the CPU seconds so far.

    `routes` are further ones, with what each answers.
    """
    import uvicorn
    from starlette.types import Message, Receive, Scope, Send

    from server.app import create_app
    from server.config import ServerConfig
    from server.ipc.model_spec import ModelSpec
    from server.supervisor.catalogue import Catalogue, CatalogueEntry
    from server.supervisor.supervisor import Supervisor

    def command(fd: int) -> Sequence[str]:
        return [sys.executable, "-P", __file__, "--worker", str(fd)]

    async def run() -> None:
        entry = CatalogueEntry(name="demo", path=Path("demo"), type="Q8_0", size_bytes=1, created=1)
        supervisor = Supervisor(
            Catalogue((entry,), lambda: ()),
            lambda entry: ModelSpec(name=entry.name, path=str(entry.path)),
            command=command,
            environment=lambda _: os.environ,
        )
        app = create_app(ServerConfig(), supervisor)

        async def hidden(scope: Scope, receive: Receive, send: Send) -> None:
            async def plain(message: Message) -> None:
                await send(message)

            await app(scope, receive, plain)

        app.add_api_route("/cpu", lambda: {"seconds": time.process_time()})
        for path, answer in (routes or {}).items():
            app.add_api_route(path, answer)
        config = uvicorn.Config(
            hidden if variant == HIDDEN else app,
            port=0,
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            ws="none",
        )
        server = uvicorn.Server(config)
        supervisor.start()
        await supervisor.wait_ready()
        serving = asyncio.create_task(server.serve())
        while not server.started:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
        print(server.servers[0].sockets[0].getsockname()[1], flush=True)
        await serving
        await supervisor.stop(0.0)

    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run())


# --- the clients --------------------------------------------------------------------------------------------


class _Client(asyncio.Protocol):
    """Sends one request and counts the chunks of its answer."""

    def __init__(self, request: bytes) -> None:
        self.n_chunks = 0
        self.body = b""
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._request = request
        self._end = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self.n_chunks += data.count(b"data: ")
        self.body = (self.body + data)[-4096:]

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002
        self.ended.set_result(None)


async def _ask(port: int, head: str, body: bytes = b"") -> _Client:
    request = f"{head} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
    loop = asyncio.get_running_loop()
    _, client = await loop.create_connection(lambda: _Client(request.encode() + body), "127.0.0.1", port)
    await client.ended
    return client


async def get_json(port: int, path: str) -> Any:
    """Return what the server answers to a GET."""
    answer = (await _ask(port, f"GET {path}")).body
    return json.loads(answer[answer.index(b"\r\n\r\n") + 4 :])


async def stream_round(port: int, n_steps: int, **fields: bool) -> float:
    """Return the CPU microseconds of the API process per chunk; requests have these fields in addition."""
    message = {"role": "user", "content": "Hi"}
    body = json.dumps(
        {"model": "demo", "messages": [message], "max_tokens": n_steps, "stream": True, **fields}
    ).encode()
    before = (await get_json(port, "/cpu"))["seconds"]
    streams = [_ask(port, "POST /v1/chat/completions", body) for _ in range(N_STREAMS)]
    n_chunks = sum(client.n_chunks for client in await asyncio.gather(*streams))
    if n_chunks != N_STREAMS * (n_steps + 3):  # the role, the end and [DONE] beside the tokens
        raise RuntimeError(f"{n_chunks} chunks came where {N_STREAMS * (n_steps + 3)} were expected")
    after = (await get_json(port, "/cpu"))["seconds"]
    return float(1e6 * (after - before) / n_chunks)


@dataclass
class _Server:
    """One variant of one tree under measurement."""

    name: str
    process: subprocess.Popen[bytes]
    port: int
    microseconds: list[float]


def _start(tree: Path, variant: str, name: str) -> _Server:
    command = [sys.executable, "-P", __file__, "--serve", variant]
    environment = {**os.environ, "PYTHONPATH": str(tree)}
    process = subprocess.Popen(command, env=environment, cwd=tree, stdout=subprocess.PIPE)
    assert process.stdout is not None
    return _Server(name, process, int(process.stdout.readline()), [])


def measure(trees: Sequence[Path], variants: Sequence[str], n_rounds: int, n_steps: int) -> list[_Server]:
    """Measure all trees as they are, and this one in each variant, in turn for `n_rounds`."""
    from bench.sigterm import ends_by_sigterm  # other trees' servers run this file too, and may not have it

    ends_by_sigterm()
    servers: list[_Server] = []
    try:
        servers.extend(_start(tree, AS_IT_IS, str(tree)) for tree in trees)
        servers.extend(_start(HERE, variant, variant) for variant in variants)
        for server in servers:
            asyncio.run(stream_round(server.port, 100))
        for _ in range(n_rounds):
            for server in servers:
                fields = {"return_tokens": True} if server.name == WHOLE else {}
                server.microseconds.append(asyncio.run(stream_round(server.port, n_steps, **fields)))
    finally:
        for server in servers:
            with server.process:  # waits, and closes the pipe
                server.process.kill()
    return servers


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("trees", nargs="*", type=Path, default=[HERE], help="source trees to compare")
    parser.add_argument("--rounds", type=int, default=N_ROUNDS)
    parser.add_argument("--steps", type=int, default=N_STEPS)
    parser.add_argument("--variants", nargs="*", default=[HIDDEN, WHOLE])
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    parser.add_argument("--worker", type=int, help=argparse.SUPPRESS)
    parser.add_argument(
        "--pulse", type=int, help=argparse.SUPPRESS
    )  # every worker gets it; this one has no steps
    options: Any = parser.parse_args(arguments)
    if options.worker is not None:
        work(options.worker)
    elif options.serve is not None:
        serve(options.serve)
    else:
        trees = [tree.resolve() for tree in options.trees]
        servers = measure(trees, options.variants, options.rounds, options.steps)
        for server in servers:
            median, least = statistics.median(server.microseconds), min(server.microseconds)
            pairs = zip(server.microseconds, servers[0].microseconds, strict=True)
            ratio = statistics.median(mine / base for mine, base in pairs)
            print(f"{median:7.2f} µs/chunk  {ratio - 1:+6.1%}  least {least:6.2f}  {server.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
