"""A child process that writes a model's logits, computed with the kernels that its arguments choose.

`python -m tests.server.kernels.logits_child FILE OUT OPTIONS [ADAPTER]`: OPTIONS are settings as JSON, of
which n_cpu_moe counts without a GPU, too; ADAPTER is a LoRA adapter's file. llama.cpp settles at a process's
first load where weights may lie, so each choice has a process.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

from models.llamacpp import library
from models.llamacpp.batch import TokenBatch
from models.llamacpp.context import Context
from models.llamacpp.model import Model
from server.ipc.model_spec import AdapterSpec
from server.kernels.use import choose_kernels
from server.serve_options import ServeOptions
from server.worker.adapter_set import AdapterSet

N_TOKENS = 64
"""The prompt has this many tokens, and a row of logits for each."""


def main(path: str, out: str, options_text: str, adapter: str | None = None) -> None:
    """Compute the prompt at once, then its second half again in steps of 1 to 5 tokens."""
    library.load()
    options = ServeOptions(**json.loads(options_text))
    choice = choose_kernels(options, is_all_on_gpu=False)
    loaded = Model.load(
        path,
        use_extra_bufts=options.use_extra_bufts,
        use_mmap=options.use_mmap,
        use_mlock=options.use_mlock,
        cpu_experts=() if options.n_cpu_moe == "auto" else range(options.n_cpu_moe),
    )
    with loaded as model:
        report = choice.report()
        with Context(
            model,
            n_ctx=512,
            n_batch=256,
            n_ubatch=256,
            n_seq_max=1,
            n_threads=2,
            flash_attn=options.flash_attn,
            type_k=options.type_k,
            type_v=options.type_v,
        ) as context:
            if adapter is not None:
                adapters = AdapterSet(model)
                adapters.load(AdapterSpec(0, adapter))
                adapters.use(context, ((0, 1.0),))
            tokens = np.random.default_rng(5).integers(3, model.vocab.n_tokens, N_TOKENS, np.int32)
            batch = TokenBatch(256)
            batch.add_many(tokens, 0, 0, output_last=True, output_all=True)
            context.decode(batch)
            rows = [context.logits().copy()]
            half = N_TOKENS // 2
            context.seq_rm(0, half, None)
            at, width = half, 1
            while at < N_TOKENS:
                part = tokens[at : at + width]
                batch.clear()
                batch.add_many(part, at, 0, output_last=True, output_all=True)
                context.decode(batch)
                rows.append(context.logits().copy())
                at, width = at + len(part), width % 5 + 1
    np.save(out, np.concatenate(rows))
    Path(out).with_suffix(".json").write_text(json.dumps([report.by, report.n_matrices, report.text]))


if __name__ == "__main__":
    main(*sys.argv[1:])
