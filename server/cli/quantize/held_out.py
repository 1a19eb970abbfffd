"""The held-out check of `corral quantize --calibrate`: its flag, and its outcome for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from quantize.job.held_out_check import HeldOutCheck


@dataclass(frozen=True, slots=True)
class CheckFlags:
    """The texts on which calibrated files are checked."""

    held_out: Annotated[
        list[Path] | None,
        typer.Option(
            "--held-out",
            metavar="FILE",
            help="Check what --calibrate lost on this text, of another kind than the calibration's; may be "
            "given several times. [Corral's own]",
        ),
    ] = None

    def check(self, *, is_calibrated: bool) -> HeldOutCheck | None:
        """Return the check; None if nothing is calibrated. Raises ConfigError: no text, nothing to check."""
        from models.errors import ConfigError

        if not is_calibrated:
            if self.held_out:
                raise ConfigError(
                    "--held-out checks calibrated files; give --calibrate, too, or leave it out"
                )
            return None
        from quantize.calibration.held_out import HeldOutText
        from quantize.calibration.texts import HELD_OUT_LABEL, held_out_text
        from quantize.evaluate.windows import read_text
        from quantize.job.held_out_check import HeldOutCheck
        from server.cli.model_files import plain_file

        own = [HeldOutText(path.name, read_text(plain_file(path))) for path in self.held_out or ()]
        return HeldOutCheck(tuple(own) or (HeldOutText(HELD_OUT_LABEL, held_out_text()),))


def lines_of(verdicts: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield the verdicts' documents in words."""
    for verdict in verdicts:
        type_ = verdict["type"]
        if not verdict["measured"]:
            yield f"{type_}: the loss on held-out text wasn't measured: {verdict['reason']}"
            continue
        for text in verdict["texts"]:
            now, plain = text["kl_divergence"], text["kl_divergence_plain"]
            change = f" ({100 * (now / plain - 1):+.0f} %)" if plain > 0 else ""
            yield (
                f"{type_} on held-out text ({text['text']}, {text['windows']} windows): KL divergence "
                f"{now:.5f} nats, without calibration {plain:.5f}{change}"
            )
        for kind in verdict["kinds"]:
            if kind["rounded_plainly"]:
                yield f"{type_}: {kind['kind']} is rounded plainly: {kind['reason']}"
