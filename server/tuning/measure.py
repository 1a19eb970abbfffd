"""`python -m server.tuning.measure`: the process that loads a model with some settings and times it.

Each choice of settings has its own: libgomp reads its environment once, and a choice that crashes llama.cpp
takes nothing else down. It speaks `server.tuning.messages` over stdin and stdout.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import BinaryIO

import msgspec
import numpy as np
import numpy.typing as npt

from models.errors import CorralError
from models.gguf.info import read_gguf_info
from models.llamacpp import library
from models.llamacpp.batch import TokenBatch
from models.llamacpp.context import Context
from models.llamacpp.model import Model
from models.machine.fit import pad_cells
from models.machine.hardware import usable_cores
from models.machine.host_memory import memory
from server.kernels.outlook import expects_panels
from server.kernels.use import choose_kernels
from server.placement.facts import FreeMemory, ModelFacts
from server.placement.place import place
from server.tuning.messages import Figures, FromMeasurer, Job, MeasureRequest, Ready, Refused, ToMeasurer

TOKENS_SEED = 20
"""The random tokens of prompts have this seed."""
SETTLE_S = 0.02
"""The threads of the process that was measured before may still spin for some milliseconds."""


class Bench:
    """A loaded model and a context of it. Raises CorralError where they can't be had."""

    def __init__(self, job: Job) -> None:
        options = job.options
        started_s = time.perf_counter()
        devices = library.devices()
        info = read_gguf_info(Path(job.path))
        facts = ModelFacts(info, in_panels=expects_panels(info, options))
        placement = place(facts, options, FreeMemory(memory().available_bytes, devices))
        n_gpu_layers = placement.gpu_layers
        n_threads = options.threads or usable_cores()[0]
        choice = choose_kernels(options, is_all_on_gpu=placement.is_all_on_gpu)
        self._model = Model.load(
            job.path,
            n_gpu_layers=n_gpu_layers,
            cpu_experts=placement.cpu_experts,
            use_extra_bufts=options.use_extra_bufts,
            use_host_buffers=not choice.computes(info, experts_stay=bool(placement.cpu_experts)),
        )
        self._context = Context(
            self._model,
            n_ctx=options.parallel * pad_cells(options.ctx or placement.n_ctx),  # for all streams at once
            n_batch=max(options.n_batch, options.parallel + 1),
            n_ubatch=options.n_ubatch,
            n_seq_max=options.parallel,
            n_threads=n_threads,
            n_threads_batch=options.threads_batch or n_threads,
            kv_unified=options.kv_unified,
            flash_attn=options.flash_attn,
            type_k=options.type_k,
            type_v=options.type_v,
        )
        self._chunk = min(self._context.n_batch, max(options.n_ubatch, options.prefill_chunk_tokens))
        self._batch = TokenBatch(self._context.n_batch)
        self._tokens: npt.NDArray[np.int32] = np.random.default_rng(TOKENS_SEED).integers(
            0, self._context.n_vocab, 4096, np.int32
        )
        n_layers = min(n_gpu_layers, self._model.n_layer + 1)
        used = [device.description for device in devices if device.type == "cpu" or n_layers]
        self.figures(MeasureRequest(streams=options.parallel, prompt_tokens=2, steps=1, limit_s=60.0))  # warm
        self.ready = Ready(load_s=time.perf_counter() - started_s, n_gpu_layers=n_layers, devices=tuple(used))

    def figures(self, request: MeasureRequest) -> Figures:
        """Measure once, and clear the KV cache. Raises DecodeError."""
        time.sleep(SETTLE_S)
        self._context.clear()
        self._step([0] * request.streams)  # wakes this process up, untimed
        prefill_s = decode_s = 0.0
        prefill_tokens = steps = 0
        for _ in range(request.repeats):
            self._context.clear()
            positions = [0] * request.streams
            prefill_s += self._prefill(positions, request)
            prefill_tokens += sum(positions)
            n_steps, seconds = self._decode(positions, request)
            steps += n_steps
            decode_s += seconds
            if prefill_s + decode_s > request.limit_s:
                break
        return Figures(
            prefill_s=prefill_s, prefill_tokens=prefill_tokens, step_s=decode_s / steps, steps=steps
        )

    def _prefill(self, positions: list[int], request: MeasureRequest) -> float:
        """Compute the prompts in calls as the engine makes them, move `positions` on, return the seconds."""
        started_s = now_s = time.perf_counter()
        while min(positions) < request.prompt_tokens and now_s - started_s < request.limit_s:
            self._prefill_chunk(positions, request.prompt_tokens)
            now_s = time.perf_counter()
        return now_s - started_s

    def _decode(self, positions: list[int], request: MeasureRequest) -> tuple[int, float]:
        """Run the steps, at least one; return their number and their seconds."""
        started_s = now_s = time.perf_counter()
        steps = 0
        while steps < request.steps and now_s - started_s < request.limit_s:
            self._step(positions)
            steps += 1
            now_s = time.perf_counter()
        return steps, now_s - started_s

    def _prefill_chunk(self, positions: list[int], n_prompt: int) -> None:
        """Compute one call's prompt tokens, the lowest sequences first, and move `positions` on."""
        self._batch.clear()
        room = self._chunk
        for sequence, position in enumerate(positions):
            count = min(room, n_prompt - position)
            if count > 0:
                self._batch.add_many(
                    self._some(position, count), position, sequence, output_last=position + count == n_prompt
                )
                positions[sequence] += count
                room -= count
        self._context.decode(self._batch)
        self._context.synchronize()

    def _step(self, positions: list[int]) -> None:
        """Compute one more token of every sequence, and the largest of its logits, as a server does."""
        self._batch.clear()
        for sequence, position in enumerate(positions):
            self._batch.add(int(self._tokens[(position + sequence) % 4096]), position, sequence, output=True)
            positions[sequence] += 1
        self._context.decode(self._batch)
        self._context.logits().argmax(axis=1)

    def _some(self, position: int, count: int) -> npt.NDArray[np.int32]:
        return self._tokens[np.arange(position, position + count) % 4096]


def main() -> int:
    """Serve one parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # a driver that prints must not spoil the answers
    decoder = msgspec.json.Decoder(ToMeasurer)
    bench: Bench | None = None
    for line in sys.stdin.buffer:
        message = decoder.decode(line)
        try:
            if isinstance(message, Job):
                bench = Bench(message)
                _answer(answers, bench.ready)
            else:
                assert bench is not None, "the parent sends its job first"
                _answer(answers, bench.figures(message))
        except CorralError as error:
            _answer(answers, Refused(error.message))
    return 0


def _answer(answers: BinaryIO, message: FromMeasurer) -> None:
    answers.write(msgspec.json.encode(message) + b"\n")
    answers.flush()


if __name__ == "__main__":
    status = main()
    os._exit(status)  # llama.cpp's own teardown has nothing to do that the system doesn't
