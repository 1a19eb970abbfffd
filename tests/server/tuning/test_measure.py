from __future__ import annotations

from pathlib import Path

import pytest

from models.doctor.tiny_model import TinyModel, write_tiny_gguf
from models.errors import LlamaCppError
from server.serve_options import ServeOptions
from server.tuning.messages import Job, MeasureRequest
from server.tuning.session import MeasuringProcess
from server.tuning.settings import Settings, as_options

pytestmark = pytest.mark.model

SETTINGS = Settings(threads=1, threads_batch=1)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_tiny_gguf(tmp_path_factory.mktemp("pico") / "pico.gguf", TinyModel()))


@pytest.mark.parametrize(
    "settings",
    [
        SETTINGS,
        Settings(threads=1, threads_batch=2, n_ubatch=64, use_extra_bufts=False, flash_attn="off"),
        Settings(threads=2, threads_batch=1, kv_unified=True, kv_type="q8_0", spin_count=0),
    ],
)
def test_real_figures(path: str, settings: Settings) -> None:
    options = ServeOptions(ctx=256, parallel=3, **as_options(settings))
    session = MeasuringProcess(Job(path=path, options=options, spin_count=settings.spin_count))
    try:
        for streams in (1, 3):
            request = MeasureRequest(streams=streams, prompt_tokens=20, steps=5, repeats=2, limit_s=60.0)
            figures = session.measure(request)
            assert (figures.prefill_tokens, figures.steps) == (2 * 20 * streams, 2 * 5)
            assert figures.prefill_s > 0
            assert figures.step_s > 0
        cut = session.measure(MeasureRequest(streams=3, prompt_tokens=200, steps=50, limit_s=1e-9))
        assert 1 <= cut.prefill_tokens < 600
        assert cut.steps == 1
    finally:
        session.close()


def test_what_llama_cpp_refuses(path: str, tmp_path: Path) -> None:
    with pytest.raises(LlamaCppError):
        MeasuringProcess(Job(path=path, options=ServeOptions(ctx=2**40, gpu_layers=0)))
    with pytest.raises(LlamaCppError, match="No such file"):
        MeasuringProcess(Job(path=str(tmp_path / "none.gguf"), options=ServeOptions(gpu_layers=0)))
