"""Perplexity of models over a text, and their divergence from a baseline that runs at the same time.

The baseline's predictions are never kept: batch by batch (2,048 tokens) they are computed, then those of each
other model, and the difference is summed. All models of one pass are loaded at the same time.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from models.errors import ConfigError
from models.llamacpp.model import Model
from quantize.control import Cancelled, OnCount
from quantize.evaluate.divergence import Divergence, Divergences, Losses, Perplexity, log_softmax
from quantize.evaluate.windows import PLAIN_KV, KVTypes, TextPlan, WindowRunner, Windows, cut_windows


@dataclass(frozen=True)
class Quality:
    """The quality of a file by a text. `divergence`: None for the baseline itself, and without one."""

    path: Path
    perplexity: Perplexity
    divergence: Divergence | None


def measure(
    paths: Sequence[Path],
    baseline: Path | None,
    plan: TextPlan,
    *,
    threads: int,
    kv_types: KVTypes = PLAIN_KV,
    on_windows: OnCount | None = None,
    cancel: threading.Event | None = None,
) -> list[Quality]:
    """Measure the baseline first, if there is one, then `paths`, in order. Blocks.

    `kv_types`: those of `paths`; the baseline always has the plain ones.
    `on_windows` takes the windows that are done, and all. Raises ConfigError: too little text, or a
    vocabulary that isn't the baseline's; Cancelled; LlamaCppError.
    """
    with ExitStack() as stack:
        models = [
            stack.enter_context(Model.load(path)) for path in (*([baseline] if baseline else ()), *paths)
        ]
        windows = cut_windows(models[0], plan)
        for model in models[1:]:
            _require_same_tokens(models[0], model, windows, plan)
        runners = []
        for i, model in enumerate(models):
            kept = PLAIN_KV if baseline and i == 0 else kv_types
            runners.append(WindowRunner(model, windows, threads=threads, kv_types=kept))
            stack.callback(runners[-1].close)
        return _measure(models, runners, windows, baseline is not None, on_windows, cancel)


def _measure(
    models: Sequence[Model],
    runners: Sequence[WindowRunner],
    windows: Windows,
    has_baseline: bool,
    on_windows: OnCount | None,
    cancel: threading.Event | None,
) -> list[Quality]:
    losses = [Losses() for _ in models]
    divergences = [Divergences() for _ in models]
    for group in windows.groups():
        targets = windows.targets(group)
        base = None
        for i, runner in enumerate(runners):
            if cancel is not None and cancel.is_set():
                raise Cancelled("the evaluation was cancelled; nothing was kept")
            log_p = log_softmax(runner.logits(group))
            losses[i].add(log_p, targets)
            if base is not None:
                divergences[i].add(base, log_p)
            elif has_baseline:
                base = log_p
        if on_windows is not None:
            on_windows(group.stop, len(windows))
    return [
        Quality(
            model.path,
            losses[i].perplexity(),
            divergences[i].divergence(losses[0], losses[i]) if has_baseline and i else None,
        )
        for i, model in enumerate(models)
    ]


def _require_same_tokens(base: Model, model: Model, windows: Windows, plan: TextPlan) -> None:
    if model.vocab.n_tokens != base.vocab.n_tokens:
        raise ConfigError(
            f"{model.path.name} has {model.vocab.n_tokens} tokens and {base.path.name} "
            f"{base.vocab.n_tokens}; only files of one model can be compared"
        )
    theirs = cut_windows(model, plan)
    if theirs.bos != windows.bos or (theirs.tokens != windows.tokens).any():
        raise ConfigError(
            f"{model.path.name} and {base.path.name} cut the text into other tokens; they aren't one model"
        )
