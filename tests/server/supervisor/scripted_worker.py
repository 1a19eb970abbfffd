"""A worker without a model: a real process that speaks the frames and does what its script says.

The script is the JSON file at `ModelSpec.path`: `load` ("ok", "refuse", "die", "die_with_extra_bufts",
"die_with_kernels", "hang" or "die_first", which dies only until the file `<path>.died` exists). A request's
prompt tells the rest: `tokens N S` answers N deltas for each choice, one every S seconds (with `clock`, the
file of a `SharedClock`, that is set forward instead of waiting); `halt N` has no further one and no end;
`going N S` are those of an answer that another worker can go on with, `fatal N S` the same with the process's
end after them, `alien N S` too, with which no other worker can go on, and `broken N S` are half of them, then
the worker's own account of its end, and the rest where it goes on; `die` ends the process, `die_once`
too; `silent` never answers; `stuck N` begins a step that may take N seconds and stays in native code with
Python's lock for ever; `busy` and `invalid` are refused. A LoRA adapter whose file's name has `refuse` or
`die` in it has that effect when it is loaded. What happens to adapters, and to answers that may go on, is
written to `<path>.adapters`, a line each.
"""

from __future__ import annotations

import ctypes
import json
import mmap
import os
import signal
import socket
import struct
import sys
import threading
import time
from pathlib import Path

from server.engine.events import (
    WORKER_DIED,
    ChoiceEnd,
    Delta,
    Failure,
    Finish,
    Started,
    Timings,
    Usage,
    Vectors,
)
from server.engine.resumption import Beginning, packed, unpacked
from server.ipc.messages import (
    AdapterReply,
    ApplyTemplate,
    ApplyTemplateReply,
    Cancel,
    ChangeSlot,
    ChangeSlotReply,
    CountTokens,
    CountTokensReply,
    Detokenize,
    DetokenizeReply,
    Drain,
    Generate,
    GiveWay,
    LoadAdapter,
    LoadFailed,
    Loading,
    Pool,
    Question,
    Ready,
    Reply,
    Slots,
    SlotsReply,
    Stats,
    StatsReply,
    StepEvents,
    Tokenize,
    TokenizeReply,
    UnloadAdapter,
)
from server.ipc.model_spec import Findings, ModelInfo, ModelSpec
from server.ipc.prompts import TextPrompt
from server.ipc.pulse import Pulse
from server.worker.channel import Channel


class ScriptedWorker:
    def __init__(self, channel: Channel, spec: ModelSpec, pulse: Pulse) -> None:
        self.channel = channel
        self.pulse = pulse
        self.spec = spec
        self.cancelled: set[str] = set()
        self.running: set[str] = set()
        self.threads: list[threading.Thread] = []
        self.clock: SharedClock | None = None

    def load(self) -> None:
        script = json.loads(Path(self.spec.path).read_text())
        load = script.get("load", "ok")
        if "clock" in script:
            self.clock = SharedClock(Path(script["clock"]))
        self.channel.send(Loading(progress=0.5))
        time.sleep(script.get("load_s", 0.0))
        mark = Path(f"{self.spec.path}.died")
        if load == "hang":
            time.sleep(3600)
        if load == "refuse":
            self.channel.send(LoadFailed(message="the file is no GGUF", kind="InvalidGGUF"))
            sys.exit(1)
        if load == "die" or (load == "die_with_extra_bufts" and self.spec.options.use_extra_bufts):
            die(signal.SIGSEGV)
        if load == "die_with_kernels" and self.spec.options.kernels != "off":
            die(signal.SIGILL)
        if load == "die_first" and not mark.exists():
            mark.touch()
            die(signal.SIGKILL)
        self.note(f"start {[adapter.id for adapter in self.spec.adapters]}")
        self.channel.send(Ready(info=model_info(self.spec)))

    def serve(self) -> None:
        while True:
            request = self.channel.receive()
            match request:
                case None:
                    os._exit(0)
                case Generate():
                    self.generate(request)
                case Pool():
                    self.pool(request)
                case Cancel():
                    self.cancelled.add(request.id)
                case GiveWay():
                    pass
                case LoadAdapter() | UnloadAdapter():
                    self.change_adapters(request)
                case Drain():
                    for thread in self.threads:
                        thread.join()
                    os._exit(0)
                case _:
                    self.channel.send(self.reply(request))

    def reply(self, question: Question) -> Reply:
        match question:
            case Tokenize():
                tokens = [ord(letter) for letter in question.text]
                return TokenizeReply(id=question.id, tokens=tokens)
            case Detokenize():
                return DetokenizeReply(id=question.id, text="".join(map(chr, question.tokens)))
            case ApplyTemplate() if not question.prompt.messages:
                return Failure(id=question.id, kind="invalid_request", message="no messages", param="m")
            case ApplyTemplate():
                return ApplyTemplateReply(id=question.id, prompt="rendered")
            case CountTokens():
                return CountTokensReply(id=question.id, n_tokens=len(question.prompt.messages))
            case Slots():
                return SlotsReply(question.id, [])
            case ChangeSlot():
                return ChangeSlotReply(question.id, question.slot)
            case Stats():
                return stats_reply(question.id, len(self.running))

    def change_adapters(self, request: LoadAdapter | UnloadAdapter) -> None:
        if isinstance(request, UnloadAdapter):
            self.note(f"unload {request.adapter_id}")
            self.channel.send(AdapterReply(id=request.id))
            return
        if "die" in Path(request.adapter.path).name:
            die(signal.SIGABRT)
        if "refuse" in Path(request.adapter.path).name:
            refused = Failure(id=request.id, kind="invalid_request", message="no room", param="path")
            self.channel.send(refused)
            return
        self.note(f"load {request.adapter.id}")
        self.channel.send(AdapterReply(id=request.id))

    def note(self, line: str) -> None:
        with Path(f"{self.spec.path}.adapters").open("a") as file:
            file.write(f"{line}\n")

    def pool(self, request: Pool) -> None:
        """Give each text the vector (1, 0)."""
        n = len(request.inputs.texts)
        data = struct.pack("<2f", 1.0, 0.0) * n
        vectors = Vectors(id=request.id, indices=tuple(range(n)), n_rows=(1,) * n, width=2, data=data)
        usage = Usage(prompt_tokens=n, completion_tokens=0)
        timings = Timings(queue_ms=0.0, prompt_n=n, prompt_ms=1.0, predicted_n=0, predicted_ms=0.0)
        started = Started(id=request.id, prompt_tokens=n, cached_tokens=0)
        self.channel.send(StepEvents([started, vectors, Finish(id=request.id, usage=usage, timings=timings)]))

    def generate(self, request: Generate) -> None:
        assert isinstance(request.prompt, TextPrompt)
        if request.adapters is not None:
            self.note(f"generate {request.adapters}")
        text = request.prompt.text
        if text == "busy":
            self.channel.send(Failure(id=request.id, kind="busy", message="full", retry_after_s=2.0))
            return
        if text == "invalid":
            self.channel.send(Failure(id=request.id, kind="invalid_request", message="no", param="prompt"))
            return
        if text == "die":
            die(signal.SIGABRT)
        if text == "silent":
            return
        if text.startswith("stuck "):
            self.send_event(Started(id=request.id, prompt_tokens=3, cached_tokens=0))
            self.pulse.begin(8, 0.01, float(text.split()[1]))
            while True:
                ctypes.PyDLL(None).sleep(3600)
        if text == "die_once":
            mark = Path(f"{self.spec.path}.died_once")
            if not mark.exists():
                mark.touch()
                die(signal.SIGKILL)
            text = "tokens 1 0"
        if text.startswith(("going ", "fatal ", "alien ", "broken ")):
            thread = threading.Thread(target=self.go_on, args=(request, text))
            self.running.add(request.id)
            self.threads.append(thread)
            thread.start()
            return
        word, n_tokens, *delay = text.split()
        delay_s = float(delay[0]) if delay else 0.0
        arguments = request.id, request.n, int(n_tokens), delay_s, word == "halt"
        thread = threading.Thread(target=self.answer, args=arguments)
        self.running.add(request.id)
        self.threads.append(thread)
        thread.start()

    def answer(self, request_id: str, n: int, n_tokens: int, delay_s: float, halts: bool) -> None:
        self.send_event(Started(id=request_id, prompt_tokens=3, cached_tokens=0))
        for number in range(n_tokens):
            self.pass_time(delay_s)
            if request_id in self.cancelled:
                Path(f"{self.spec.path}.cancelled").touch()
                self.send_event(Failure(id=request_id, kind="cancelled", message="cancelled"))
                self.running.discard(request_id)
                return
            self.send_event(*(Delta(id=request_id, index=index, text=f"{number} ") for index in range(n)))
        if halts:
            return
        self.send_event(*(ChoiceEnd(id=request_id, index=i, finish_reason="stop") for i in range(n)))
        usage = Usage(prompt_tokens=3, completion_tokens=n * n_tokens)
        timings = Timings(queue_ms=0, prompt_n=3, prompt_ms=1, predicted_n=n * n_tokens, predicted_ms=1)
        self.running.discard(request_id)
        self.send_event(Finish(id=request_id, usage=usage, timings=timings))

    def go_on(self, request: Generate, text: str) -> None:
        """Answer with one choice from where the request was."""
        word, n_tokens, *delay = text.split()
        resumption = request.resumption
        n_before = 0 if resumption is None else len(unpacked(resumption.choices[0].tokens))
        if word == "alien" and resumption is not None:
            self.send_event(Failure(id=request.id, kind="invalid_request", message="these aren't mine"))
            return
        self.note(f"begin {request.id} after {n_before}")
        beginning = Beginning(prompt=packed([1, 2, 3]), seed=1, has_replay=True)
        self.send_event(Started(id=request.id, prompt_tokens=3, cached_tokens=1, beginning=beginning))
        for number in range(n_before, int(n_tokens)):
            self.pass_time(float(delay[0]) if delay else 0.0)
            delta = Delta(id=request.id, index=0, text=f"{number} ", tokens=(number,))
            self.send_event(delta)
            if word == "broken" and resumption is None and number >= int(n_tokens) // 2:
                message = "the model failed while computing"
                self.send_event(
                    Failure(id=request.id, kind="server_error", message=message, code=WORKER_DIED)
                )
                os._exit(1)
        if word in ("fatal", "alien"):
            die(signal.SIGKILL)
        n = int(n_tokens)
        end = ChoiceEnd(id=request.id, index=0, finish_reason="stop", n_tokens=n)
        usage = Usage(prompt_tokens=3, completion_tokens=n)
        timings = Timings(queue_ms=0, prompt_n=3, prompt_ms=1, predicted_n=n, predicted_ms=1)
        self.running.discard(request.id)
        self.send_event(end, Finish(id=request.id, usage=usage, timings=timings))

    def pass_time(self, seconds: float) -> None:
        if self.clock is None:
            time.sleep(seconds)
        else:
            self.clock.advance(seconds)

    def send_event(self, *events: Started | Delta | ChoiceEnd | Finish | Failure) -> None:
        self.channel.send(StepEvents(events=list(events)))


class SharedClock:
    """A clock in a file, for processes that agree on the time: it stands still unless one of them sets it."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            path.write_bytes(struct.pack("<d", 1000.0))
        with path.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), 8)

    def monotonic(self) -> float:
        (now_s,) = struct.unpack("<d", self._memory[:8])
        assert isinstance(now_s, float)
        return now_s

    def advance(self, seconds: float) -> None:
        self._memory[:8] = struct.pack("<d", self.monotonic() + seconds)


def die(number: signal.Signals) -> None:
    if number == signal.SIGABRT:
        print("ggml.c:123: GGML_ASSERT(n > 0) failed", file=sys.stderr, flush=True)
    signal.signal(number, signal.SIG_DFL) if number != signal.SIGKILL else None
    os.kill(os.getpid(), number)
    time.sleep(60)


def model_info(spec: ModelSpec) -> ModelInfo:
    return ModelInfo(
        n_vocab=256,
        n_ctx=spec.options.ctx or spec.n_ctx_told or 4096,
        n_ctx_train=4096,
        n_embd=1,
        n_params=1,
        size_bytes=1,
        n_parallel=spec.options.parallel,
        n_gpu_layers=0,
        description="scripted" if spec.options.use_extra_bufts else "scripted without extra buffers",
        ftype="F32",
        prompt_format="template",
        findings=spec.findings or Findings(step_times=((os.getpid(), 1.0),)),
    )


def stats_reply(request_id: str, running: int) -> StatsReply:
    return StatsReply(
        id=request_id,
        running=running,
        waiting=0,
        kv_used_tokens=0,
        kv_total_tokens=0,
        prompt_tokens_total=0,
        generated_tokens_total=0,
        prompt_s_total=0,
        generated_s_total=0,
        steps_total=0,
        cached_tokens_total=0,
        rss_bytes=1,
    )


def main() -> None:
    channel = Channel(socket.socket(fileno=int(sys.argv[2])))
    spec = channel.receive_spec()
    assert spec is not None
    worker = ScriptedWorker(channel, spec, Pulse(int(sys.argv[4])))
    worker.load()
    worker.serve()


if __name__ == "__main__":
    main()
