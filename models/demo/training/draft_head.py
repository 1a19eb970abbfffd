"""Train the demo model's draft head: `python -m models.demo.training.draft_head --work DIR --out DIR`.

The head is an EAGLE-3 one (Li et al. 2025, arXiv 2503.01840): one layer that sees the next token and what
three layers of the model made of the one before, and guesses the token after. It is trained on the model's
own probabilities, and each step also on its own last vectors, as it drafts. `--work` receives `head.pt` after
each run; started again, training goes on from there. Embeddings and output matrix are the model's.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional

from models.demo.training.corpus import FORMS, Chat, Mixture, render, stories
from models.demo.training.corpus.formats import Segment
from models.demo.training.model import MLP, Llama, ModelConfig, RMSNorm, rotate
from models.demo.training.packing import Packer

DEMO = Path(__file__).parent.parent
TARGET_LAYERS = (2, 4, 5)
"""The head sees the inputs of these layers of the model."""
INTERMEDIATE_SIZE = 512
STEPS_BACK = (1.0, 0.8, 0.64, 0.51)
"""Weights of the losses of a draft's first, second … token."""
LEARNING_RATE = 0.003
ROWS, LENGTH = 12, 192
"""A step's windows, and the tokens of each."""


class Head(nn.Module):
    """The layer, with the names of EAGLE-3 checkpoints."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        hidden, head_dim = config.hidden_size, config.head_dim
        queries, keys = config.num_attention_heads * head_dim, config.num_key_value_heads * head_dim
        self.fc = nn.Linear(len(TARGET_LAYERS) * hidden, hidden, bias=False)
        self.input_layernorm = RMSNorm(hidden, config.rms_norm_eps)
        self.hidden_norm = RMSNorm(hidden, config.rms_norm_eps)
        self.q_proj = nn.Linear(2 * hidden, queries, bias=False)
        self.k_proj = nn.Linear(2 * hidden, keys, bias=False)
        self.v_proj = nn.Linear(2 * hidden, keys, bias=False)
        self.o_proj = nn.Linear(queries, hidden, bias=False)
        self.post_attention_layernorm = RMSNorm(hidden, config.rms_norm_eps)
        self.mlp = MLP(config)
        self.norm = RMSNorm(hidden, config.rms_norm_eps)
        for parameter in self.parameters():
            if parameter.dim() == 2:
                nn.init.normal_(parameter, std=0.5 * parameter.shape[1] ** -0.5)

    def qkv(self, embedded: Tensor, hidden: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, ...]:
        """Return queries, keys and values [batch, heads, n_tokens, head_dim]."""
        batch, length, _ = hidden.shape
        x = torch.cat((self.input_layernorm(embedded), self.hidden_norm(hidden)), dim=-1)
        head_dim = self.config.head_dim
        query, key, value = (
            projection(x).view(batch, length, -1, head_dim).transpose(1, 2)
            for projection in (self.q_proj, self.k_proj, self.v_proj)
        )
        groups = self.config.num_attention_heads // self.config.num_key_value_heads
        return (
            rotate(query, cos, sin),
            rotate(key, cos, sin).repeat_interleave(groups, dim=1),
            value.repeat_interleave(groups, dim=1),
        )

    def finish(self, mixed: Tensor, hidden: Tensor) -> Tensor:
        """Return the layer's output [batch, n_tokens, hidden] of what attention has mixed."""
        x = hidden + self.o_proj(mixed.transpose(1, 2).flatten(2))
        out: Tensor = x + self.mlp(self.post_attention_layernorm(x))
        return out


@torch.no_grad()
def begin_as_last_layer(head: Head, model: Llama) -> None:
    """Begin with what the model's last layer does to the state it gets, and with little of the next token."""
    last, hidden = model.model.layers[-1], head.config.hidden_size
    head.fc.weight.mul_(0.1)
    head.fc.weight[:, -hidden:] += torch.eye(hidden)
    head.norm.weight.copy_(model.model.norm.weight)
    head.hidden_norm.weight.copy_(last.input_layernorm.weight)
    head.post_attention_layernorm.weight.copy_(last.post_attention_layernorm.weight)
    for name in ("q_proj", "k_proj", "v_proj"):
        weight = getattr(head, name).weight
        weight[:, hidden:] = getattr(last.self_attn, name).weight
        weight[:, :hidden] *= 0.5
    head.o_proj.weight.copy_(last.self_attn.o_proj.weight)
    strongest = last.mlp.down_proj.weight.norm(dim=0).topk(head.config.intermediate_size).indices
    head.mlp.gate_proj.weight.copy_(last.mlp.gate_proj.weight[strongest])
    head.mlp.up_proj.weight.copy_(last.mlp.up_proj.weight[strongest])
    head.mlp.down_proj.weight.copy_(last.mlp.down_proj.weight[:, strongest])


def attend(query: Tensor, keys: list[Tensor], values: list[Tensor]) -> Tensor:
    """Return what the queries of a draft's token number n see: the text before the draft, then the draft.

    `keys[0]` are of the text itself, `keys[i]` of tokens number i: each query sees the one of its own draft.
    """
    n, length = len(keys) - 1, query.shape[2]
    scale = query.shape[-1] ** -0.5
    scores = query @ keys[0].mT * scale
    seen = torch.ones(length, length, dtype=torch.bool).tril(-n)
    scores = scores.masked_fill(~seen, float("-inf"))
    own = [
        (query * functional.pad(keys[i], (0, 0, n - i, 0))[:, :, :length]).sum(-1, keepdim=True) * scale
        for i in range(1, n + 1)
    ]
    weights = torch.cat((scores, *own), dim=-1).softmax(-1)
    mixed = weights[..., :length] @ values[0]
    for i in range(1, n + 1):
        value = functional.pad(values[i], (0, 0, n - i, 0))[:, :, :length]
        mixed = mixed + weights[..., length + i - 1 : length + i] * value
    return mixed


@torch.no_grad()
def look_at(model: Llama, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """Return the inputs of `TARGET_LAYERS` side by side and the last hidden states, for each token."""
    x = model.model.embed_tokens(tokens)
    cos, sin = model.rotary(tokens.shape[1])
    inputs = []
    for i, layer in enumerate(model.model.layers):
        if i in TARGET_LAYERS:
            inputs.append(x)
        x = layer(x, cos, sin)
    return torch.cat(inputs, dim=-1), model.model.norm(x)


def losses(model: Llama, head: Head, tokens: Tensor, learn: Tensor) -> tuple[Tensor, list[float]]:
    """Return the loss of one batch, and for each token of a draft how often it is the model's likeliest.

    Only what the model has learned counts, its answers.
    """
    inputs, outputs = look_at(model, tokens)
    embedded = model.model.embed_tokens(tokens[:, 1:-1])
    hidden = head.fc(inputs[:, :-2])
    learn = learn[:, 1:].clone()
    learn[:, : len(STEPS_BACK)] = False
    with torch.no_grad():
        logits = model.logits(outputs[:, 1:-1][learn])
        target, best = logits.softmax(-1), logits.argmax(-1)
    cos, sin = model.rotary(hidden.shape[1])
    keys: list[Tensor] = []
    values: list[Tensor] = []
    total = torch.zeros(())
    hits = []
    for step_weight in STEPS_BACK:
        query, key, value = head.qkv(embedded, hidden, cos, sin)
        keys.append(key)
        values.append(value)
        hidden = head.finish(attend(query, keys, values), hidden)
        guessed = model.logits(head.norm(hidden[learn]))
        total = total + step_weight * functional.cross_entropy(guessed, target)
        hits.append(float((guessed.argmax(-1) == best).float().mean()))
        hidden = functional.pad(hidden, (0, 0, 1, 0))[:, :-1]
    return total, hits


def documents(seed: int) -> Iterator[list[Segment]]:
    """Yield the model's own training documents, and after each a story: drafts are for long answers."""
    mixture = Mixture(seed)
    for document in mixture:
        yield document
        story = Chat((stories.story(mixture.random),))
        yield render(story, mixture.random.choice(list(FORMS)))


def train(model: Llama, head: Head, work: Path, seconds: float, planned: int) -> None:
    """Train for so long, or until `planned` steps are done, and write `head.pt`."""
    optimizer = torch.optim.AdamW(head.parameters(), betas=(0.9, 0.98), weight_decay=0.0)
    path, first = work / "head.pt", 0
    if path.exists():
        state = torch.load(path, weights_only=True)
        head.load_state_dict(state["head"])
        optimizer.load_state_dict(state["optimizer"])
        first = state["step"]
    packer = Packer(Tokenizer.from_file(str(DEMO / "tokenizer.json")), documents(77_000_001 + first))
    end_s, step = time.monotonic() + seconds, first
    while step < planned and time.monotonic() < end_s:
        tokens, learn = (torch.from_numpy(array) for array in packer.take(ROWS, LENGTH))
        loss, hits = losses(model, head, tokens, learn)
        loss.backward()  # type: ignore[no-untyped-call]  # torch has no type for it
        scale = min((step + 1) / 20, 1.0, max(0.02, 2 * (1 - step / planned)))
        optimizer.param_groups[0]["lr"] = LEARNING_RATE * scale
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        step += 1
        if step % 10 == 0:
            print(f"step {step} loss {loss.item():.4f} hits", *(f"{hit:.3f}" for hit in hits), flush=True)
    torch.save({"head": head.state_dict(), "optimizer": optimizer.state_dict(), "step": step}, path)


def export(head: Head, out: Path) -> None:
    """Write the head as an EAGLE-3 checkpoint."""
    config = head.config
    names = {"fc": "fc.weight", "norm": "norm.weight"}
    layer = ("q_proj", "k_proj", "v_proj", "o_proj")
    tensors = {}
    for own_name, tensor in head.state_dict().items():
        part = own_name.split(".")[0]
        name = names.get(part) or ("midlayer.self_attn." if part in layer else "midlayer.") + own_name
        tensors[name] = tensor.half().contiguous()
    out.mkdir(parents=True, exist_ok=True)
    text = {
        "architectures": ["LlamaForCausalLMEagle3"],
        "draft_vocab_size": config.vocab_size,
        "eagle_aux_hidden_state_layer_ids": list(TARGET_LAYERS),
        "head_dim": config.head_dim,
        "hidden_act": "silu",
        "hidden_size": config.hidden_size,
        "intermediate_size": INTERMEDIATE_SIZE,
        "max_position_embeddings": config.max_position_embeddings,
        "model_type": "llama",
        "num_attention_heads": config.num_attention_heads,
        "num_hidden_layers": 1,
        "num_key_value_heads": config.num_key_value_heads,
        "rms_norm_eps": config.rms_norm_eps,
        "rope_theta": config.rope_theta,
        "tie_word_embeddings": False,
        "torch_dtype": "float16",
        "vocab_size": config.vocab_size,
    }
    (out / "config.json").write_text(json.dumps(text, indent=2) + "\n", encoding="utf-8")
    save_file(tensors, out / "model.safetensors", metadata={"format": "pt"})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, help="write the head as a checkpoint to this folder")
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--steps", type=int, default=1500)
    options = parser.parse_args()
    torch.manual_seed(1)
    options.work.mkdir(parents=True, exist_ok=True)
    model = Llama(ModelConfig())
    model.load_state_dict({name: t.float() for name, t in load_file(DEMO / "model.safetensors").items()})
    model.requires_grad_(requires_grad=False)
    head = Head(ModelConfig(intermediate_size=INTERMEDIATE_SIZE))
    begin_as_last_layer(head, model)
    train(model, head, options.work, options.seconds, options.steps)
    if options.out is not None:
        export(head, options.out)


if __name__ == "__main__":
    main()
