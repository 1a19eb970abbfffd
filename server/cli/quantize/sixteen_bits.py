"""The 16-bit file that a text runs through before `corral quantize` makes others."""

from __future__ import annotations

from pathlib import Path

from models.errors import ConfigError
from models.paths import Paths
from models.reference import ModelRef
from models.store.store import ModelStore
from quantize.job.ensure_model import missing_types
from quantize.job.request import QuantizeOptions
from quantize.job.service import quantize_reference
from quantize.run.options import RunOptions
from server.cli.console import size
from server.cli.model_files import model_file

_TYPE = "F16"


def sixteen_bits(ref: ModelRef, *, is_streamed: bool) -> Path:
    """Return the path of the model's 16-bit file, which is made first if it isn't here.

    Raises as `require_sixteen_bits` does, and what making it raises.
    """
    require_sixteen_bits(ref, is_streamed=is_streamed)
    return model_file(str(ref.with_type(_TYPE)), _TYPE).path


def require_sixteen_bits(ref: ModelRef, *, is_streamed: bool) -> None:
    """Raise ConfigError if the 16-bit file isn't here and `--stream` says that no weights shall be kept.

    Its size is in the words. Raises what planning it raises.
    """
    if not is_streamed:
        return
    store = ModelStore(Paths.from_environment())
    wanted = ref.with_type(_TYPE)
    if not missing_types(wanted, store.find(wanted), _TYPE):
        return
    options = QuantizeOptions(with_projector=False, dry_run=True, run=RunOptions(stream=True))
    plan = quantize_reference(ref.with_type(None), [_TYPE], store=store, options=options).plan
    assert plan is not None, "nothing of a stream is downloaded before it is planned"
    raise ConfigError(
        f"a text runs through the model's 16-bit file, which isn't here and takes {size(plan.output_bytes)} "
        f"of the disk, while --stream keeps no weights; make it first, streamed too: "
        f"corral quantize {ref.with_type(None)} --type {_TYPE} --stream; or give --calibrate a file that "
        "corral moments has made elsewhere"
    )
