from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from models.errors import StoreError
from models.store.locks import edit_lock, use_lock, users

HOLDER = """
import os, sys
from pathlib import Path
os.getpid = lambda: 27
from models.store.locks import use_lock
with use_lock(Path(sys.argv[1]), Path(sys.argv[2])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_processes_with_one_number_in_two_containers_use_a_file_side_by_side(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "model.gguf"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path), str(file)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        monkeypatch.setattr(os, "getpid", lambda: 27)
        with use_lock(tmp_path, file), use_lock(tmp_path, file):
            assert users(tmp_path, file) == [27, 27, 27]
        assert users(tmp_path, file) == [27]
        holder.communicate("")
    assert users(tmp_path, file) == []


def test_a_folder_that_cant_be_made_is_an_error_with_its_fix(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(StoreError, match=r"can't keep locks.*CORRAL_HOME"),
        edit_lock(tmp_path / "file" / "x.lock"),
    ):
        pass
