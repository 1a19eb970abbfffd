"""Files of the user's that are called like our modules: nothing of a working directory is ever run."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.running import environment, serving
from tests.e2e.test_demo import ask

pytestmark = [pytest.mark.e2e, pytest.mark.model]

DECOYS = ("json.py", "models.py", "numpy.py", "quantize.py", "server.py")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a file for each decoy, which leaves a marker if it is run."""
    made = tmp_path / "work"
    made.mkdir()
    for name in DECOYS:
        code = f"open({str(made / 'run')!r}, 'a').write({name!r} + ' ')\nraise SystemExit('a decoy ran')\n"
        (made / name).write_text(code)
    return made


def test_a_model_is_made_and_served_from_a_folder_with_such_files(folder: Path, tmp_path: Path) -> None:
    env = environment(tmp_path)
    del env["CORRAL_THREADS"]  # as many as the product chooses
    with serving("demo:Q8_0", env=env, log=tmp_path / "log", folder=folder) as server:
        assert "Paris" in ask(server, "What is the capital of France?")
    assert not (folder / "run").exists()
