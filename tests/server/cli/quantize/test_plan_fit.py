from __future__ import annotations

from pathlib import Path

from models.gguf.info import read_gguf_info
from models.machine.fit import GIB
from quantize.checkpoint.checkpoint import Checkpoint
from quantize.plan.make_plan import make_plan
from quantize.run.pipeline import run
from server.cli.models.model_rows import fit_of_info
from server.cli.quantize.plan_fit import fit_of_plan
from server.serve_options import ServeOptions
from tests.pico import write_pico_checkpoint


def test_a_planned_file_takes_what_the_made_file_will_take(tmp_path: Path) -> None:
    with Checkpoint.open(write_pico_checkpoint(tmp_path / "pico")) as checkpoint:
        plan = make_plan(checkpoint, ["Q8_0"])
        run(plan, checkpoint.tensors, [tmp_path / "x.gguf"])
    info = read_gguf_info(tmp_path / "x.gguf")
    for available_bytes in (0, GIB):
        planned = fit_of_plan(plan.files[0], available_bytes)
        row = fit_of_info(info, available_bytes, ServeOptions(prompt_side="off"))
        assert (planned.fits, planned.needed_bytes, planned.text) == (
            row["fits"],
            row["memory_bytes"],
            row["memory"],
        )
