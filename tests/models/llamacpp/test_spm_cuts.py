from __future__ import annotations

import itertools

from models.llamacpp.spm_cuts import PART_LETTERS, SPMCuts

TEXTS = ["▁the", "▁", "▁cat", "s", "</s>", "<0x0A>"]


def test_a_cut_lies_where_no_token_has_both_letters() -> None:
    cuts = SPMCuts(TEXTS, ["</s>"])
    text = "the cats " * 1000
    parts = list(cuts.parts(text))
    assert "".join(parts) == text
    assert len(parts) > 5
    assert all(len(part) >= PART_LETTERS for part in parts[:-1])
    for left, right in itertools.pairwise(parts):
        assert (left[-1] + right[0]).replace(" ", "▁") not in "|".join(TEXTS)


def test_a_letter_of_no_token_is_the_marker() -> None:
    assert SPMCuts(TEXTS, []).marker == "\x01"
    assert SPMCuts([*TEXTS, "\x01\x02"], []).marker == "\x03"


def test_nothing_is_cut_where_every_pair_of_letters_is_in_a_token() -> None:
    assert list(SPMCuts(["aa"], []).parts("a" * 5000)) == ["a" * 5000]


def test_no_cut_lies_in_or_right_after_a_special_token() -> None:
    cuts = SPMCuts(["a"], ["</s>"])
    for before in range(PART_LETTERS - 5, PART_LETTERS + 1):
        first, *_ = cuts.parts("é" * before + "</s>" + "é" * 5000)
        assert not first.endswith(("<", "</", "</s", "</s>"))


def test_whitespace_that_a_token_strips_stays_with_it() -> None:
    right = SPMCuts(["a"], ["</s>"], strips_right=True)
    text = "é" * (PART_LETTERS - 5) + "</s>" + "\t" * 300 + "é" * 2000
    assert [part[:1] for part in right.parts(text)][1] == "é"
    left = SPMCuts(["a"], ["</s>"], strips_left=True)
    assert list(left.parts("\t" * 5000)) == ["\t" * 5000]


def test_a_vocabulary_with_every_marker_has_no_cuts() -> None:
    everything = "".join(map(chr, range(0xE000, 0xE100))) + "".join(map(chr, range(1, 32)))
    cuts = SPMCuts([everything], [])
    assert cuts.marker is None
    assert list(cuts.parts("é" * 5000)) == ["é" * 5000]
