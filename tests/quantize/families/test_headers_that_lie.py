"""No wrong value in the header of any family's file ends the process that loads it.

A few of each 24th family are tried here, of the others by `make thorough`; `make fuzz` tries all of
every family, which takes an hour.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.quantize.families.all_families import ALL_FAMILIES
from tests.quantize.families.checkpoint import read_golden, write_checkpoint
from tests.quantize.families.family import Family
from tests.quantize.quantize_folder import quantize_folder

ALL = os.environ.get("CORRAL_ALL_HEADERS") == "1"
FEW = 12
"""So many variants of each architecture's header are tried."""
LONG = "deepseek2-lite"
"""This family's 27 layers are loaded for each variant; `deepseek2` has the same header with two."""
FAMILIES = list(
    ALL_FAMILIES
    if ALL
    else {family.architecture: family for family in ALL_FAMILIES if family.name != LONG}.values()
)
MARKED = [
    pytest.param(family, id=str(family), marks=[] if ALL or at % 24 == 0 else pytest.mark.thorough)
    for at, family in enumerate(FAMILIES)
]


@pytest.mark.model
@pytest.mark.parametrize("family", MARKED)
def test_no_wrong_value_ends_the_process(family: Family, tmp_path: Path) -> None:
    golden = read_golden(family)
    directory = write_checkpoint(family, tmp_path, golden["config"], golden["tensors"])
    (file,) = quantize_folder(directory, ["F16"], tmp_path)
    command = [
        sys.executable,
        "-m",
        "tests.header_trials",
        str(file.path),
        "0" if ALL else str(FEW),
        family.name,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=7200)
    *fatal, last = [json.loads(line) for line in done.stdout.splitlines()]
    assert fatal == []
    assert last["tried"] >= FEW
