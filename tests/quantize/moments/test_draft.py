from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from models.errors import ConfigError
from quantize.moments.draft import MomentDraft, new_sum
from quantize.moments.layout import Layout
from quantize.moments.moments import InputName
from tests.quantize.moments.synthetic import EXPERTS, INFO, PLAIN, add, correlated

LAYOUT = Layout(INFO, [PLAIN, EXPERTS])


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "x.gguf"


def test_sums_in_work_come_back(target: Path) -> None:
    name = InputName(EXPERTS.name, 1)
    one = new_sum(EXPERTS, LAYOUT)
    add(one, correlated(0, 50, 64))
    one.keep_held_out(correlated(1, 9, 64), 5)
    one.next = (3, 1)
    with MomentDraft(target, LAYOUT) as draft:
        assert draft.kept_names() == []
        draft.write({InputName(PLAIN.name): new_sum(PLAIN, LAYOUT)})
        draft.keep({name: one})
    with MomentDraft(target, LAYOUT) as draft:
        assert draft.done == {InputName(PLAIN.name)}
        assert draft.kept_names() == [name]
        back = draft.restore()[name]
        draft.write({name: back})
        assert draft.kept_names() == []
    assert (back.n_rows, back.n_held_out, back.next) == (50, 5, (3, 1))
    assert [array.tobytes() for array in back.arrays()] == [array.tobytes() for array in one.arrays()]
    assert not target.exists()


def test_another_header_begins_anew(target: Path) -> None:
    with MomentDraft(target, LAYOUT) as draft:
        draft.write({InputName(PLAIN.name): new_sum(PLAIN, LAYOUT)})
        draft.keep({InputName(EXPERTS.name): new_sum(EXPERTS, LAYOUT)})
    with MomentDraft(target, Layout(replace(INFO, text_sha256="ff" * 32), [PLAIN, EXPERTS])) as draft:
        assert draft.done == set()
        assert draft.restore() == {}


@pytest.mark.parametrize("cut", [0, 1, 5000])
def test_kept_sums_that_are_cut_short_do_not_count(cut: int, target: Path) -> None:
    with MomentDraft(target, LAYOUT) as draft:
        draft.keep({InputName(EXPERTS.name): new_sum(EXPERTS, LAYOUT)})
    sums = target.with_name(".x.gguf.sums")
    sums.write_bytes(sums.read_bytes()[: -cut or None])
    with MomentDraft(target, LAYOUT) as draft:
        assert (draft.restore() == {}) == (cut > 0)


def test_a_missing_part_begins_anew(target: Path) -> None:
    with MomentDraft(target, LAYOUT) as draft:
        draft.write({InputName(PLAIN.name): new_sum(PLAIN, LAYOUT)})
    target.with_name(".x.gguf.part").unlink()
    with MomentDraft(target, LAYOUT) as draft:
        assert draft.done == set()


def test_one_process_writes_a_file(target: Path) -> None:
    with MomentDraft(target, LAYOUT), pytest.raises(ConfigError, match="another process is writing"):
        MomentDraft(target, LAYOUT)
    MomentDraft(target, LAYOUT).close()
