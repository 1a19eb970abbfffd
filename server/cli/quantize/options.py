"""The flags of `corral quantize`: the outputs, the run, and the choice of types."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from models.gguf.projector import PROJECTOR_NUMBERS
from models.quantization_types import DEFAULT_TYPES, IMATRIX_TYPES, QUANTIZATION_TYPES
from server.serve_options import KVType

if TYPE_CHECKING:
    from quantize.run.options import RunOptions
    from server.cli.quantize.type_choice import TypeOptions


_PLAIN = " ".join(name for name in QUANTIZATION_TYPES if name not in IMATRIX_TYPES)
_TYPES = f"{_PLAIN}; with --imatrix also {' '.join(IMATRIX_TYPES)}"
"""The types in words: those that need no importance matrix first."""


@dataclass(frozen=True, slots=True)
class OutputFlags:
    """The files to make, and their folder."""

    types: Annotated[
        list[str] | None,
        typer.Option(
            "--type",
            metavar="T",
            help=f"May be given several times: {_TYPES}. [{' '.join(DEFAULT_TYPES)}]",
        ),
    ] = None
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write NAME.TYPE.gguf there instead of into the store.")
    ] = None
    mmproj_type: Annotated[
        str | None,
        typer.Option(
            metavar="T",
            help=f"The type of the projector, with which a model sees: {' '.join(PROJECTOR_NUMBERS)}. [F16]",
        ),
    ] = None
    no_mmproj: Annotated[
        bool, typer.Option("--no-mmproj", help="Leave a model's projector out: it reads text alone.")
    ] = False
    target: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="The folder of the model that a head (EAGLE-3) drafts for; or demo."
        ),
    ] = None
    own_output: Annotated[
        bool,
        typer.Option(
            "--own-output", help="Give a head its model's output matrix, in the head's type: quicker guesses."
        ),
    ] = False
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Only show what would be made: bytes, bits per weight, does it fit."),
    ] = False

    def projector(self) -> str | None:
        """Return the numbers of the projector, None for the usual ones. Raises ConfigError for both flags."""
        from models.errors import ConfigError
        from models.reference import canonical_type

        if self.mmproj_type is not None and self.no_mmproj:
            raise ConfigError("--mmproj-type makes a projector, and --no-mmproj none; leave one out")
        return None if self.mmproj_type is None else canonical_type(self.mmproj_type)

    @property
    def target_folder(self) -> Path | None:
        """The folder of the head's model, if there is one."""
        from models.demo import DEMO_DIR

        return DEMO_DIR if self.target == Path("demo") else self.target


@dataclass(frozen=True, slots=True)
class RunFlags:
    """The means of the run: threads, memory, parts and streaming."""

    threads: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Threads; not set: one per core.")
    ] = None
    memory: Annotated[
        str | None,
        typer.Option(metavar="SIZE", help="Use at most so much memory, such as 2GiB; see --dry-run."),
    ] = None
    split_size: Annotated[
        str | None,
        typer.Option(metavar="SIZE", help="Write files larger than that in parts of at most SIZE."),
    ] = None
    stream: Annotated[
        bool,
        typer.Option("--stream", help="Quantize the Hub's weights as they arrive, without keeping them."),
    ] = False

    def run_options(self) -> RunOptions:
        """Return the options of the run. Raises ConfigError for what is no size."""
        from models.parse_size import parse_size
        from quantize.run.options import RunOptions

        return RunOptions(
            threads=self.threads,
            memory_bytes=parse_size(self.memory) if self.memory is not None else None,
            split_bytes=parse_size(self.split_size) if self.split_size is not None else None,
            stream=self.stream,
        )


@dataclass(frozen=True, slots=True)
class TypeFlags:
    """The choice of types: an importance matrix, a size to reach, or a recipe."""

    imatrix: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Encode by this importance matrix (corral imatrix, or llama.cpp's)."
        ),
    ] = None
    calibrate: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Round by whole moments, from a file of corral moments, or of a text; default is one of "
            "many kinds. The same size, less loss, much more time.",
        ),
    ] = None
    target_size: Annotated[
        str | None,
        typer.Option(metavar="SIZE", help="One file of at most that size, each tensor's type chosen for it."),
    ] = None
    target_bpw: Annotated[
        float | None, typer.Option(min=1.0, max=16.0, metavar="BITS", help="The same by bits per weight.")
    ] = None
    fit: Annotated[
        bool, typer.Option("--fit", help="The same by this machine's free memory, with room for --ctx.")
    ] = False
    ctx: Annotated[int, typer.Option(min=1, metavar="N", help="Tokens of context, for --fit.")] = 4096
    type_k: Annotated[KVType, typer.Option(help="Type of the K cache, for --fit.")] = "f16"
    type_v: Annotated[KVType, typer.Option(help="Type of the V cache, for --fit.")] = "f16"
    recipe: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The types that an earlier choice has written.")
    ] = None
    text: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The text that a choice is made with; demo has its own."),
    ] = None
    probes: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Trials of a choice at most. [256]")
    ] = None

    def type_options(self, out: Path | None, threads: int | None, *, stream: bool = False) -> TypeOptions:
        """Return the options of the choice; its files go to `out`. `stream`: weights aren't kept."""
        from server.cli.quantize.type_choice import TypeOptions

        return TypeOptions(
            self.imatrix,
            self.calibrate,
            self.recipe,
            self.target_size,
            self.target_bpw,
            self.fit,
            self.ctx,
            self.type_k,
            self.type_v,
            self.text,
            self.probes,
            out=out,
            threads=threads,
            stream=stream,
        )
