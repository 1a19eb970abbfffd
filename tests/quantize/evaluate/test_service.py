"""An evaluation as a program calls it: which text, which baseline, and what is kept of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from models.errors import ConfigError
from models.paths import Paths
from models.reference import ModelRef
from models.store.store import ModelStore
from quantize.control import Cancelled, JobControl
from quantize.evaluate.files import Evaluation, Subject
from quantize.evaluate.service import DEMO_TEXT, evaluate_and_keep, find_baseline, report_path, text_path
from quantize.evaluate.windows import TextPlan
from quantize.job.service import quantize_reference
from tests.pico import write_pico_checkpoint

TEXT = "abc def ghi " * 60


def test_the_text_is_the_callers_or_the_demos() -> None:
    assert text_path(ModelRef.parse("org/name"), Path("x.txt")) == Path("x.txt")
    assert text_path(ModelRef.parse("demo"), None) == DEMO_TEXT
    with pytest.raises(ConfigError, match="give one with --text"):
        text_path(ModelRef.parse("org/name"), None)


def test_the_baseline_is_a_16_bit_file_that_is_there_or_is_made(tmp_path: Path) -> None:
    small, large = (Subject(tmp_path / f"x.{type_}.gguf", type_) for type_ in ("Q4_0", "BF16"))
    made: list[ModelRef] = []

    def ensure(ref: ModelRef) -> Subject:
        made.append(ref)
        return large

    ref = ModelRef.parse("org/name")
    assert find_baseline(ref, [small, large], ensure) == large
    assert made == []
    assert find_baseline(ref, [small], ensure) == large
    assert made == [ref.with_type("F16")]
    small.path.write_bytes(b"")
    assert find_baseline(ModelRef.parse(str(small.path)), [small], ensure) is None


def test_a_report_goes_beside_the_first_file() -> None:
    subjects = [Subject(Path("/x/a.Q4_0.gguf"), "a"), Subject(Path("/y/b.gguf"), "b")]
    assert report_path(subjects) == Path("/x/a.Q4_0.evaluation.json")
    with pytest.raises(ConfigError, match="nothing to evaluate"):
        report_path([])


@pytest.mark.model
def test_figures_are_kept_and_a_cancelled_job_keeps_none(tmp_path: Path) -> None:
    store = ModelStore(Paths(home=tmp_path / "home", hf_cache=tmp_path / "hub"))
    ref = ModelRef.parse(str(write_pico_checkpoint(tmp_path / "pico", n_layers=1)))
    files = quantize_reference(ref, ["F16", "Q4_0"], store=store).files
    base, small = (Subject(file.path, file.type) for file in files)
    evaluation = Evaluation(TextPlan(TEXT, 32, 2), "text", threads=2, speed=False)
    out, control = tmp_path / "report.json", JobControl()
    control.cancel.set()
    with pytest.raises(Cancelled):
        evaluate_and_keep([small], base, evaluation, store=store, out=out, control=control)
    assert not out.exists()
    report = evaluate_and_keep([base, small], base, evaluation, store=store, out=out)
    assert [file.label for file in report.files] == ["F16", "Q4_0"]
    assert json.loads(out.read_text()) == json.loads(json.dumps(report.document()))
    assert out.with_suffix(".svg").read_text().startswith("<svg")
    quality = {file.type: file.quality for file in store.get(ref).manifest.files}["Q4_0"]
    assert quality is not None
    assert quality["kl_divergence"] == report.files[1].quality(report)["kl_divergence"]
