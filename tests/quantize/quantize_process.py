"""`python -m tests.quantize.quantize_process REF TYPE…`: one run into CORRAL_HOME, for tests that kill it."""

from __future__ import annotations

import sys

from models.paths import Paths
from models.reference import ModelRef
from models.store.store import ModelStore
from quantize.job.request import QuantizeOptions
from quantize.job.service import quantize_reference
from quantize.run.options import RunOptions


def main() -> None:
    reference, *types = sys.argv[1:]
    # A pico model is done before anything is saved at the usual pace.
    options = QuantizeOptions(run=RunOptions(threads=2, save_every_s=0.01))
    store = ModelStore(Paths.from_environment())
    print("ready", flush=True)
    quantize_reference(ModelRef.parse(reference), types, store=store, options=options)
    print("done", flush=True)


if __name__ == "__main__":
    main()
