"""Records of encoders for the fixed prompt, by transformers in F32, for the oracle tests: needs torch."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tests.quantize.families.encoder_golden import BEGINNINGS, golden_scores
from tests.quantize.families.generation_golden import N_LOGITS, N_TOKENS, PROMPT, golden_generation


def answer(directory: Path, start: int = 0) -> dict[str, Any]:
    """Return greedy tokens of an encoder and a decoder, and the logits of the first."""
    import torch
    import transformers

    model = _load(transformers.AutoModelForSeq2SeqLM, directory)
    # transformers 5 takes every UMT5 for tied, whatever its file says, and so divides its output
    written = json.loads((directory / "config.json").read_text(encoding="utf-8"))
    model.config.tie_word_embeddings = written["tie_word_embeddings"]
    tokens: list[int] = []
    first: Any = None
    with torch.no_grad():
        while len(tokens) < N_TOKENS:
            given = torch.tensor([[start, *tokens]])
            logits = model(input_ids=torch.tensor([PROMPT]), decoder_input_ids=given).logits[0, -1]
            first = logits if first is None else first
            tokens.append(int(logits.argmax()))
    return golden_generation(tokens, first.numpy())


def vectors(directory: Path) -> dict[str, Any]:
    """Return the places where an encoder's first vectors are largest, and the last token's vector.

    They are those behind the dense layers of sentence-transformers, if there are any; then `pooled` has the
    beginning of the text's vector: the mean's, through these layers, of length one.
    """
    import torch
    import transformers
    from safetensors import numpy as safetensors

    is_t5 = (directory / "spiece.model").is_file()
    model = _load(transformers.T5EncoderModel if is_t5 else transformers.AutoModel, directory)
    if model.config.architectures == ["Lfm2BidirectionalModel"]:
        _look_ahead(model)
    with torch.no_grad():
        rows = model(input_ids=torch.tensor([PROMPT])).last_hidden_state[0].numpy()
    layers = [
        safetensors.load_file(folder / "model.safetensors")["linear.weight"].astype(np.float32)
        for folder in sorted(directory.glob("*_Dense"))
    ]
    mean = rows.mean(axis=0)
    for weight in layers:
        rows, mean = rows @ weight.T, mean @ weight.T
    record = golden_generation([int(row.argmax()) for row in rows[:N_TOKENS]], rows[-1])
    pooled = [round(float(value), 6) for value in (mean / np.linalg.norm(mean))[:N_LOGITS]]
    return {**record, "pooled": pooled} if layers else record


def _look_ahead(lfm2: Any) -> None:
    """Make LFM2's attention see all, and put each token in the middle of its convolution's.

    transformers has no such class; the makers' own one differs from LFM2 in these two.
    """
    for layer in lfm2.layers:
        if hasattr(layer, "self_attn"):
            layer.self_attn.register_forward_pre_hook(_without_mask, with_kwargs=True)
        else:
            layer.conv.forward = partial(_centred_convolution, layer.conv)


def _without_mask(module: Any, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    del module
    return args, {**kwargs, "attention_mask": None}


def _centred_convolution(module: Any, hidden_states: Any, **kwargs: Any) -> Any:
    import torch

    del kwargs
    b, c, x = module.in_proj(hidden_states).transpose(-1, -2).chunk(3, dim=-2)
    weight = module.conv.weight
    padding = (weight.shape[-1] - 1) // 2
    mixed = torch.nn.functional.conv1d(b * x, weight, padding=padding, groups=weight.shape[0])
    return module.out_proj((c * mixed).transpose(-1, -2))


def scores(directory: Path) -> dict[str, Any]:
    """Return a classifier's scores for the prompt's beginnings."""
    import torch
    import transformers

    model = _load(transformers.AutoModelForSequenceClassification, directory)
    with torch.no_grad():
        found = [model(input_ids=torch.tensor([PROMPT[:n]])).logits[0] for n in BEGINNINGS]
    return golden_scores(torch.stack(found).numpy())


def _load(kind: Any, directory: Path) -> Any:
    import torch

    return kind.from_pretrained(directory, dtype=torch.float32, attn_implementation="eager").eval()
