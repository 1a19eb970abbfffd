"""Train the demo model: `python -m models.demo.training.train --work DIR`.

Two worker processes with one thread each average their gradients: on two cores that other work also uses
this is faster than one process with two threads, whose barriers wait for whichever thread was put aside.
`--work` receives the tokenizer, `checkpoint.pt` (every `--save-every` steps) and the log; started again,
training goes on from there. `export` turns a checkpoint into a Hugging Face folder.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch import Tensor, distributed, multiprocessing
from torch.nn import functional

from models.demo.training import tokenizer as tokenizer_tool
from models.demo.training.corpus import Mixture
from models.demo.training.model import Llama, ModelConfig
from models.demo.training.optimizer import Muon
from models.demo.training.packing import Packer

BETAS = (0.9, 0.98)
ROW_BLOCK = 256
IGNORED = -100


@dataclass(frozen=True)
class Run:
    """The settings of one training run; `decay_from` is the step at which the learning rate begins to fall
    to 0.
    """

    work: Path
    steps: int
    decay_from: int
    warmup: int
    length: int
    long_length: int
    long_every: int
    tokens_per_rank: int
    muon_lr: float
    adam_lr: float
    weight_decay: float
    save_every: int
    seed: int
    ranks: int

    def lr_scale(self, step: int) -> float:
        """Warm-up, constant, then linear to nearly zero."""
        if step < self.warmup:
            return (step + 1) / self.warmup
        if step < self.decay_from:
            return 1.0
        return max(0.01, (self.steps - step) / max(1, self.steps - self.decay_from))

    def window(self, step: int) -> tuple[int, int]:
        """Rows and length of the windows at `step`: every `long_every`-th step has long ones."""
        length = self.long_length if step % self.long_every == self.long_every - 1 else self.length
        return max(1, self.tokens_per_rank // length), length


def loss_of(model: Llama, tokens: Tensor, learn: Tensor) -> tuple[Tensor, int]:
    """Summed cross entropy of the learned targets, and how many there are."""
    (rows,) = torch.nonzero(learn.flatten(), as_tuple=True)
    # A whole number of blocks: oneDNN prepares (and keeps) a kernel for every new shape.
    padded = functional.pad(rows, (0, -len(rows) % ROW_BLOCK))
    targets = tokens[:, 1:].flatten()[padded]
    targets[len(rows) :] = IGNORED
    with torch.autocast("cpu", torch.bfloat16):
        hidden = model(tokens[:, :-1])
        logits = model.logits(hidden.flatten(0, 1)[padded])
    loss = functional.cross_entropy(logits.float(), targets, ignore_index=IGNORED, reduction="sum")
    return loss, len(rows)


def average_gradients(model: Llama, loss: Tensor, count: int) -> float:
    """Sum gradients over the processes and divide by all learned tokens; the mean loss."""
    parameters = [parameter for parameter in model.parameters() if parameter.grad is not None]
    flat = torch.cat([parameter.grad.flatten() for parameter in parameters if parameter.grad is not None])
    totals = torch.tensor([loss.item(), float(count)])
    distributed.all_reduce(flat)
    distributed.all_reduce(totals)
    flat /= totals[1]
    offset = 0
    for parameter in parameters:
        size = parameter.numel()
        parameter.grad = flat[offset : offset + size].view_as(parameter)
        offset += size
    return float(totals[0] / totals[1])


def optimizers(model: Llama, run: Run) -> list[torch.optim.Optimizer]:
    matrices = [p for name, p in model.named_parameters() if p.dim() == 2 and "embed" not in name]
    others = [p for name, p in model.named_parameters() if p.dim() != 2 or "embed" in name]
    return [
        Muon(matrices, lr=run.muon_lr, momentum=0.95, weight_decay=run.weight_decay),
        torch.optim.AdamW(others, lr=run.adam_lr, betas=BETAS, weight_decay=0.0),
    ]


def save(path: Path, model: Llama, chosen: list[torch.optim.Optimizer], step: int, tokens: int) -> None:
    """Write a checkpoint; a kill at any moment leaves the old one or the new one."""
    temporary = path.with_suffix(".tmp")
    content = {
        "model": model.state_dict(),
        "optimizers": [o.state_dict() for o in chosen],
        "step": step,
        "tokens": tokens,
    }
    torch.save(content, temporary)
    temporary.replace(path)


def work(rank: int, run: Run) -> None:
    """One process of the training."""
    torch.set_num_threads(1)
    torch.manual_seed(run.seed)
    distributed.init_process_group(
        "gloo", init_method=f"file://{run.work}/rendezvous", rank=rank, world_size=run.ranks
    )
    tokenizer = Tokenizer.from_file(str(run.work / "tokenizer" / "tokenizer.json"))
    model = Llama(ModelConfig())
    chosen = optimizers(model, run)
    base = [group["lr"] for optimizer in chosen for group in optimizer.param_groups]
    first, seen = 0, 0
    path = run.work / "checkpoint.pt"
    if path.exists():
        state = torch.load(path, weights_only=True)
        model.load_state_dict(state["model"])
        for optimizer, saved in zip(chosen, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        first, seen = state["step"], state["tokens"]
    packer = Packer(tokenizer, iter(Mixture(run.seed + 1_000_003 * (first + 1) + rank)))
    started, since = time.monotonic(), seen
    for step in range(first, run.steps):
        rows, length = run.window(step)
        tokens, learn = (torch.from_numpy(array) for array in packer.take(rows, length))
        loss, count = loss_of(model, tokens, learn)
        loss.backward()  # type: ignore[no-untyped-call]  # torch has no type for it
        mean = average_gradients(model, loss, count)
        scale = run.lr_scale(step)
        for group, lr in zip((g for o in chosen for g in o.param_groups), base, strict=True):
            group["lr"] = lr * scale
        for optimizer in chosen:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        seen += rows * length * run.ranks
        done = step + 1
        if rank == 0 and (done % 10 == 0 or done == run.steps):
            speed = (seen - since) / (time.monotonic() - started)
            print(
                f"step {done} loss {mean:.4f} lr {scale:.3f} tokens {seen / 1e6:.2f}M {speed:.0f} tok/s",
                flush=True,
            )
            started, since = time.monotonic(), seen
        if rank == 0 and (done % run.save_every == 0 or done == run.steps):
            save(path, model, chosen, done, seen)
    distributed.barrier()
    distributed.destroy_process_group()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--decay-from", type=int, help="default: 65 %% of the steps")
    parser.add_argument("--warmup", type=int, default=40)
    parser.add_argument("--length", type=int, default=256)
    parser.add_argument("--long-length", type=int, default=1024)
    parser.add_argument("--long-every", type=int, default=8)
    parser.add_argument("--tokens-per-rank", type=int, default=3072)
    parser.add_argument("--muon-lr", type=float, default=0.02)
    parser.add_argument("--adam-lr", type=float, default=0.003)
    parser.add_argument("--weight-decay", type=float, default=0.1)
    parser.add_argument("--save-every", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--ranks", type=int, default=2)
    options = vars(parser.parse_args())
    options["decay_from"] = options["decay_from"] or round(0.65 * options["steps"])
    run = Run(**options)
    if not (run.work / "tokenizer" / "tokenizer.json").exists():
        tokenizer_tool.save(tokenizer_tool.train(), run.work / "tokenizer")
    (run.work / "rendezvous").unlink(missing_ok=True)
    multiprocessing.spawn(work, args=(run,), nprocs=run.ranks)


if __name__ == "__main__":
    main()
