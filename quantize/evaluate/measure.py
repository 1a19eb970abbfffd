"""Running models over a text: perplexity of each, and divergence from a baseline that runs beside them.

The baseline's predictions are never kept: batch by batch (2,048 tokens) it is computed, then each of the
others, and their difference summed. All models of one pass are loaded at the same time.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from models.errors import ConfigError, QuantizationError
from models.llamacpp.model import Model
from quantize.evaluate.divergence import Divergence, Divergences, Losses, Perplexity, log_softmax
from quantize.evaluate.windows import DEFAULT_N_CTX, WindowRunner, Windows, windows_of

OnWindows = Callable[[int, int], None]
"""Takes the windows done and the windows in all."""


@dataclass(frozen=True)
class Quality:
    """What a text says of a file. `divergence`: None of the baseline itself, and without one."""

    path: Path
    perplexity: Perplexity
    divergence: Divergence | None


@dataclass(frozen=True)
class TextPlan:
    """Which part of a text is looked at, and how. `n_chunks`: None for all of it."""

    text: str
    n_ctx: int = DEFAULT_N_CTX
    n_chunks: int | None = None


def measure(
    paths: Sequence[Path],
    baseline: Path | None,
    plan: TextPlan,
    *,
    threads: int,
    on_windows: OnWindows | None = None,
    cancel: threading.Event | None = None,
) -> list[Quality]:
    """Of the baseline first, if there is one, then of `paths`, in order. Blocks.

    Raises ConfigError: too little text, or a vocabulary that isn't the baseline's; QuantizationError when
    cancelled; LlamaCppError.
    """
    with ExitStack() as stack:
        models = [
            stack.enter_context(Model.load(path)) for path in (*([baseline] if baseline else ()), *paths)
        ]
        windows = windows_of(models[0], plan.text, n_ctx=plan.n_ctx, n_chunks=plan.n_chunks)
        for model in models[1:]:
            _require_same_tokens(models[0], model, windows, plan)
        runners = []
        for model in models:
            runners.append(WindowRunner(model, windows, threads=threads))
            stack.callback(runners[-1].close)
        return _measure(models, runners, windows, baseline is not None, on_windows, cancel)


def _measure(
    models: Sequence[Model],
    runners: Sequence[WindowRunner],
    windows: Windows,
    has_baseline: bool,
    on_windows: OnWindows | None,
    cancel: threading.Event | None,
) -> list[Quality]:
    losses = [Losses() for _ in models]
    divergences = [Divergences() for _ in models]
    for group in windows.groups():
        targets = windows.targets(group)
        base = None
        for i, runner in enumerate(runners):
            if cancel is not None and cancel.is_set():
                raise QuantizationError("the evaluation was cancelled; nothing was kept")
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
    theirs = windows_of(model, plan.text, n_ctx=plan.n_ctx, n_chunks=plan.n_chunks)
    if theirs.bos != windows.bos or (theirs.tokens != windows.tokens).any():
        raise ConfigError(
            f"{model.path.name} and {base.path.name} cut the text into other tokens; they aren't one model"
        )
