"""`python -m tests.header_trials FILE COUNT SEED`: what llama.cpp does with variants of a file's header.

Each variant that our own checks let pass is loaded, warmed up and tokenized with in a process of its own, as
a worker does it. COUNT 0 tries all. A line of JSON per variant that ends its process, then the number of all.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
from pathlib import Path

from models.errors import CorralError
from models.gguf.info import read_gguf_info
from models.llamacpp import library
from models.llamacpp.batch import TokenBatch
from models.llamacpp.context import Context
from models.llamacpp.model import Model
from server.worker.open.warm_up import warm_up
from tests.header_variants import some_variants, variants

SECONDS = 60
"""A trial that takes longer hangs; a loaded machine needs less than one."""
MEMORY_BYTES = 16 << 30


def load_and_compute(path: Path) -> None:
    """Do what a worker does when it loads a model. Raises CorralError for what is refused or fails."""
    read_gguf_info(path)
    with Model.load(path, use_mmap=False, use_extra_bufts=False) as model:
        n_sequences = 1 if model.has_encoder else 2  # as the openers do; T5's biases are of one sequence
        context = Context(model, n_ctx=256, n_batch=128, n_ubatch=128, n_seq_max=n_sequences, n_threads=1)
        if model.has_encoder:
            batch = TokenBatch(8)
            batch.add_many([1] * 8, 0, 0, output_last=True)
            context.encode(batch)
            if model.has_decoder:
                batch.clear()
                batch.add_many([1], 0, 0, output_last=True)
                context.decode(batch)
        else:
            warm_up(context, 100)
        model.vocab.tokenize("hello <s> é\n", add_special=True, parse_special=True)
        context.close()


def outcome(path: Path) -> str:
    """Return "fine", or how the process of a trial ended."""
    child = os.fork()
    if child == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        signal.alarm(SECONDS)
        try:
            load_and_compute(path)
        except (CorralError, MemoryError):
            pass
        except BaseException:  # noqa: BLE001 - a forked child must not go on
            os._exit(3)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return signal.Signals(os.WTERMSIG(status)).name
    return "fine" if os.WEXITSTATUS(status) == 0 else f"exit {os.WEXITSTATUS(status)}"


def main(path: Path, count: int, seed: str) -> None:
    library.load()  # before the first fork, and without computing: no thread is lost
    if (found := outcome(path)) != "fine":
        print(json.dumps({"key": "", "what": "is the file itself", "outcome": found}), flush=True)
    data = path.read_bytes()
    chosen = some_variants(path, count, seed) if count else variants(path)
    changed = path.with_name("changed.gguf")
    for variant in chosen:
        changed.write_bytes(variant.of(data))
        if (found := outcome(changed)) != "fine":
            print(json.dumps({"key": variant.key, "what": variant.what, "outcome": found}), flush=True)
    print(json.dumps({"tried": len(chosen)}), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
