"""`python -m tests.quantize.quantize_once REF TYPE…`: one run into CORRAL_HOME, for tests that kill it."""

from __future__ import annotations

import sys

from models.paths import Paths
from models.reference import ModelRef
from models.store.store import ModelStore
from quantize.job.service import quantize_reference
from quantize.run import saver


def main() -> None:
    reference, *types = sys.argv[1:]
    saver.SAVE_EVERY_S = 0.01  # type: ignore[misc]  # a pico model is done before anything is saved
    store = ModelStore(Paths.from_environment())
    print("ready", flush=True)
    quantize_reference(ModelRef.parse(reference), types, store=store, threads=2)
    print("done", flush=True)


if __name__ == "__main__":
    main()
