"""Rules for the tensors of a GGUF file: a name, its sources, the shape and the transform in between."""

from __future__ import annotations

from dataclasses import dataclass, field

from quantize.architectures.base.transform import Same, Transform


@dataclass(frozen=True)
class TensorRule:
    """One output tensor: GGUF name, source names, and the shape that the configuration promises (rows first).

    An `optional` tensor may be missing in a checkpoint. A rule without sources is always applied. A tensor
    with `f32` is small and delicate: it stays F32 in every file, as vectors and norms do. `others` make the
    same tensor from the other forms that checkpoints have it in, if this one isn't there.
    """

    name: str
    sources: tuple[str, ...]
    shape: tuple[int, ...]
    transform: Transform = field(default_factory=Same)
    optional: bool = False
    f32: bool = False
    others: tuple[TensorRule, ...] = ()

    @property
    def forms(self) -> tuple[TensorRule, ...]:
        """The rule itself and its `others`, the preferred one first."""
        return (self, *self.others)


def linear_rules(
    target: str,
    source: str,
    shape: tuple[int, int],
    transform: Transform | None = None,
    *,
    bias: bool = False,
) -> list[TensorRule]:
    """Return the rule of a matrix and, with `bias`, that of its vector."""
    transform = transform or Same()
    rules = [TensorRule(f"{target}.weight", (f"{source}.weight",), shape, transform)]
    if bias:
        rules.append(TensorRule(f"{target}.bias", (f"{source}.bias",), shape[:1], transform))
    return rules


def norm_rules(
    target: str, source: str, n: int, transform: Transform | None = None, *, bias: bool = False
) -> list[TensorRule]:
    """Return the rule of a norm's scale and, with `bias`, that of its shift."""
    rules = [TensorRule(f"{target}.weight", (f"{source}.weight",), (n,), transform or Same())]
    if bias:
        rules.append(TensorRule(f"{target}.bias", (f"{source}.bias",), (n,)))
    return rules
