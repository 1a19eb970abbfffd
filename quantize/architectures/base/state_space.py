"""Keys and tensor rules of state spaces (Mamba 1 and 2), which their families share."""

from __future__ import annotations

import math
from dataclasses import dataclass

from models.errors import CheckpointError
from quantize.architectures.base.config import ModelConfig
from quantize.architectures.base.rules import TensorRule, linear_rules
from quantize.architectures.base.transform import Constant, Exp, Reshaped
from quantize.gguf.header import Metadata, uint32


@dataclass(frozen=True)
class SelectiveStateSpace:
    """The sizes of a layer of Mamba 1: numbers inside and of a state, the rank of time steps, kernel."""

    n_embd: int
    inner: int
    n_state: int
    rank: int
    kernel: int
    conv_bias: bool = True

    def metadata(self, prefix: str) -> Metadata:
        """Return the keys of the sizes."""
        return {
            f"{prefix}.ssm.conv_kernel": uint32(self.kernel),
            f"{prefix}.ssm.inner_size": uint32(self.inner),
            f"{prefix}.ssm.state_size": uint32(self.n_state),
            f"{prefix}.ssm.time_step_rank": uint32(self.rank),
        }

    def rules(self, source: str, target: str) -> list[TensorRule]:
        """Return the rules of a layer's tensors under `source`."""
        inner, shape = self.inner, (self.inner, self.n_state)
        conv = (f"{target}.ssm_conv1d", f"{source}.conv1d", (inner, self.kernel), self.conv_bias)
        x_rows = self.rank + 2 * self.n_state
        return [
            *linear_rules(f"{target}.ssm_in", f"{source}.in_proj", (2 * inner, self.n_embd)),
            *convolution_rules(*conv),
            *linear_rules(f"{target}.ssm_x", f"{source}.x_proj", (x_rows, inner)),
            *linear_rules(f"{target}.ssm_dt", f"{source}.dt_proj", (inner, self.rank), bias=True),
            TensorRule(f"{target}.ssm_a", (f"{source}.A_log",), shape, Exp(-1.0), f32=True),
            TensorRule(f"{target}.ssm_d", (f"{source}.D",), (inner,)),
            *linear_rules(f"{target}.ssm_out", f"{source}.out_proj", (self.n_embd, inner)),
        ]


def time_step_rank(config: ModelConfig, name: str, n_embd: int) -> int:
    """Return the rank of time steps; "auto" stands for a sixteenth of the embedding, rounded up."""
    if config.raw(name) == "auto" or config.first([name]) is None:
        return -(-n_embd // 16)
    return config.size(name)


@dataclass(frozen=True)
class StateSpace:
    """The sizes of a layer of Mamba 2: numbers inside, heads, groups, a state's numbers, kernel."""

    n_embd: int
    inner: int
    n_head: int
    n_group: int
    n_state: int
    kernel: int
    conv_bias: bool = True
    has_norm: bool = True

    def __post_init__(self) -> None:
        if self.inner % self.n_head or self.inner % self.n_group:
            raise CheckpointError(
                f"config.json has {self.n_head} heads and {self.n_group} groups of a state space with "
                f"{self.inner} numbers; both must divide it"
            )

    @property
    def channels(self) -> int:
        """The channels of the convolution: the numbers inside, and those that write and read states."""
        return self.inner + 2 * self.n_group * self.n_state

    def metadata(self, prefix: str) -> Metadata:
        """Return the keys of the sizes; llama.cpp has the number of heads as the rank of time steps."""
        return {
            f"{prefix}.ssm.conv_kernel": uint32(self.kernel),
            f"{prefix}.ssm.inner_size": uint32(self.inner),
            f"{prefix}.ssm.state_size": uint32(self.n_state),
            f"{prefix}.ssm.time_step_rank": uint32(self.n_head),
            f"{prefix}.ssm.group_count": uint32(self.n_group),
        }

    def rules(self, source: str, target: str) -> list[TensorRule]:
        """Return the rules of a layer's tensors under `source`."""
        return [
            *linear_rules(
                f"{target}.ssm_in",
                f"{source}.in_proj",
                (self.inner + self.channels + self.n_head, self.n_embd),
            ),
            *convolution_rules(
                f"{target}.ssm_conv1d", f"{source}.conv1d", (self.channels, self.kernel), self.conv_bias
            ),
            TensorRule(f"{target}.ssm_dt.bias", (f"{source}.dt_bias",), (self.n_head,)),
            *self._head_rules(source, target),
            *(self._norm_rules(source, target) if self.has_norm else ()),
            *linear_rules(f"{target}.ssm_out", f"{source}.out_proj", (self.n_embd, self.inner)),
        ]

    def _norm_rules(self, source: str, target: str) -> list[TensorRule]:
        """Return the rule of the scale of each group's norm."""
        width = self.inner // self.n_group
        grouped = Reshaped((self.inner,), width)
        name = f"{target}.ssm_norm.weight"
        return [TensorRule(name, (f"{source}.norm.weight",), (self.n_group, width), grouped)]

    def _head_rules(self, source: str, target: str) -> list[TensorRule]:
        """Return the rules of the numbers of which each head has one."""
        column, shape = Reshaped((self.n_head,), 1), (self.n_head, 1)
        return [
            TensorRule(f"{target}.ssm_a", (f"{source}.A_log",), shape, Exp(-1.0, column), f32=True),
            TensorRule(f"{target}.ssm_d", (f"{source}.D",), shape, column, f32=True),
        ]


def convolution_rules(
    target: str, source: str, shape: tuple[int, int], bias: bool | None = None
) -> list[TensorRule]:
    """Return the rules of a convolution over time, each channel by itself: [channels, kernel], always F32.

    Checkpoints have [channels, 1, kernel]. Where llama.cpp adds a bias, `bias` tells whether the checkpoint
    has one; else it is zero.
    """
    channels, kernel = shape
    narrow = Reshaped((channels, 1, kernel), kernel)
    rules = [TensorRule(f"{target}.weight", (f"{source}.weight",), shape, narrow, f32=True)]
    if bias:
        rules.append(TensorRule(f"{target}.bias", (f"{source}.bias",), (channels,)))
    elif bias is not None:
        rules.append(TensorRule(f"{target}.bias", (), (channels,), Constant((0.0,) * channels)))
    return rules


def check_head_size(config: ModelConfig, states: StateSpace) -> None:
    """Check `mamba_d_head` against the other sizes. Raises CheckpointError."""
    name, size = "mamba_d_head", states.inner // states.n_head
    if config.first([name]) is not None and config.raw(name) not in ("auto", size):
        raise CheckpointError(
            f"config.json has {name} {config.raw(name)!r}; by its state spaces' other sizes it is {size}"
        )


def check_time_steps(config: ModelConfig, gguf_name: str) -> None:
    """Check that time steps have no bounds. Raises CheckpointError: llama.cpp computes none."""
    bounds = config.raw("time_step_limit")
    if bounds is None or (
        isinstance(bounds, list) and len(bounds) == 2 and bounds[0] == 0 and _is_infinite(bounds[1])
    ):
        return
    raise CheckpointError(
        f"config.json has time_step_limit {bounds!r}; llama.cpp's `{gguf_name}` bounds no time steps"
    )


def _is_infinite(value: object) -> bool:
    """Tell whether JSON has a number without bound: as Python writes it, or as transformers does."""
    if isinstance(value, dict):
        return value == {"__float__": "Infinity"}
    return type(value) is float and math.isinf(value)
