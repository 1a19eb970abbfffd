"""The lines of `corral serve` in a terminal: a banner when it is ready, and remarks when it stops."""

from __future__ import annotations

import json
import logging
import shlex
from contextlib import suppress
from typing import Any, Final

from models.errors import WorkerError
from models.pooling import ModelKind
from models.version import VERSION
from server.cli.console import say, size
from server.listener import Listener
from server.serve import ServedModels, ServeObserver
from server.supervisor.protocol import ModelStatus

logger = logging.getLogger("corral.serve")

QUESTION = "What is the capital of France?"
_FACTS = ["Llamas eat grass.", "Paris is the capital of France."]
_TRIALS: Final[dict[ModelKind, tuple[str, dict[str, Any]]]] = {
    "text": ("/v1/chat/completions", {"messages": [{"role": "user", "content": QUESTION}]}),
    "embedding": ("/v1/embeddings", {"input": QUESTION}),
    "rerank": ("/v1/rerank", {"query": QUESTION, "documents": _FACTS}),
    "classification": ("/embedding", {"content": QUESTION}),
}
"""The route and the request to try with a model of each kind."""
"""The request to try asks this."""


class TerminalObserver(ServeObserver):
    """Writes what a server does to stderr; `listener` has its sockets."""

    def __init__(self, listener: Listener, *, asks_for_keys: bool) -> None:
        self._listener = listener
        self._asks_for_keys = asks_for_keys

    async def on_ready(self, models: ServedModels) -> None:
        self._say(await describe(models, self._listener, asks_for_keys=self._asks_for_keys))

    def on_draining(self, delay_s: float) -> None:
        self._say(f"stopping in {delay_s:g} s: /ready says 503, requests are still taken; Ctrl-C for at once")

    def on_stopping(self, n_running: int, grace_s: float) -> None:
        if n_running:
            requests = "1 request" if n_running == 1 else f"{n_running} requests"
            self._say(f"stopping: {requests} may finish within {grace_s:.0f} s; Ctrl-C again to stop now")

    def on_stopped(self) -> None:
        self._say("stopped")

    def _say(self, text: str) -> None:
        say(text)


class LoggingObserver(TerminalObserver):
    """Writes the same to the log, where all that is written to stderr is to have the log's form."""

    def _say(self, text: str) -> None:
        logger.info("%s", text)


async def describe(service: ServedModels, listener: Listener, *, asks_for_keys: bool) -> str:
    """Return one block: the address, each loaded model, the others, and a request to try."""
    path = listener.unix_path
    url = "http://localhost" if path is not None else _url_of(listener)
    models = service.models()
    loaded = [status for status in models if status.info is not None]
    where = f"{url}/v1   (docs: {url}/docs)" if path is None else f"{path}, a unix socket"
    lines = [f"Corral {VERSION} is ready: {where}"]
    lines.extend([f"  model    {await _model_line(status, service)}" for status in loaded])
    others = [status.name for status in models if status.info is None]
    if others:
        shown = ", ".join(others[:6]) + (f" and {len(others) - 6} more" if len(others) > 6 else "")
        lines.append(f"  on demand  {shown}")
    if models:
        chosen = (loaded or models)[0]
        kind = _kind(chosen)
        lines.append(f"  try      {example(url, chosen.name, key=asks_for_keys, path=path, kind=kind)}")
    lines.append("  stop     Ctrl-C")
    return "\n".join(lines)


def _url_of(listener: Listener) -> str:
    bound, port = listener.getsockname()
    return url_of(bound if listener.host is None else listener.host, port, tls=listener.tls is not None)


def url_of(host: str, port: int, *, tls: bool = False) -> str:
    """Return the URL for a client on this machine."""
    local = {"0.0.0.0": "127.0.0.1", "::": "[::1]", "": "127.0.0.1"}.get(host)  # noqa: S104 - nothing is bound here
    shown = local or (f"[{host}]" if ":" in host else host)
    return f"{'https' if tls else 'http'}://{shown}:{port}"


def _kind(status: ModelStatus) -> ModelKind:
    """Return what a model is for, as far as that is known before it is loaded."""
    pooling = None if status.info is None else status.info.pooling
    return "text" if pooling is None else pooling.kind


def example(url: str, model: str, *, key: bool, path: str | None = None, kind: ModelKind = "text") -> str:
    """Return a request that can be pasted into a shell; `path` is that of a unix socket."""
    route, wish = _TRIALS[kind]
    body = json.dumps({"model": model, **wish})
    authorization = " -H 'Authorization: Bearer KEY'" if key else ""
    way = "" if path is None else f"--unix-socket {shlex.quote(path)} "
    return f"curl {way}{url}{route} -H 'Content-Type: application/json'{authorization} -d {shlex.quote(body)}"


async def _model_line(status: ModelStatus, service: ServedModels) -> str:
    info = status.info
    assert info is not None
    name = status.name if status.type is None or ":" in status.name else f"{status.name}:{status.type}"
    parts = [
        name,
        f"context {info.n_ctx:,} tokens",
        "1 request at a time" if info.n_parallel == 1 else f"{info.n_parallel} requests at a time",
        f"weights {size(info.size_bytes)}",
    ]
    with suppress(WorkerError):  # it may be restarting; the log says so
        parts.append(f"memory {size((await service.stats(name)).rss_bytes)}")
    if info.servers:
        parts.append(f"layers at {', '.join(info.servers)}")
    else:
        parts.append(f"{info.n_gpu_layers} layers on the GPU" if info.n_gpu_layers else "on the CPU")
    if info.n_cpu_expert_layers:
        parts.append(f"experts of {info.n_cpu_expert_layers} of them on the CPU")
    if info.kernels.by == "corral":
        parts.append(f"matrix kernels for {info.kernels.instruction_set}")
    if info.pooling is not None:
        parts.append(f"{_kind(status)}, pooling {info.pooling.name}")
    elif info.prompt_format == "template":
        parts.append("the model's own chat template")
    else:
        parts.append(f"format {info.prompt_format}")
    return ", ".join(parts)
