from __future__ import annotations

import pytest

from bench import stream_path


@pytest.mark.slow
def test_each_variant_streams_all_chunks_and_is_measured(capfd: pytest.CaptureFixture[str]) -> None:
    """A round in which a chunk is missing is an error."""
    assert stream_path.main(["--rounds", "1", "--steps", "20"]) == 0
    lines = capfd.readouterr().out.splitlines()
    names = [str(stream_path.HERE), stream_path.HIDDEN, stream_path.WHOLE]
    assert [line.split("  ")[-1] for line in lines] == names
    assert all(float(line.split()[0]) > 0 for line in lines)
