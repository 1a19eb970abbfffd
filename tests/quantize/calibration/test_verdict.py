"""The verdict on calibrated kinds of tensors, from KL divergences that are made up."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from quantize.calibration.verdict import Doubles, KindLoss, TextLoss, Verdict, compare

RANDOM = np.random.default_rng(17)
PLAIN = RANDOM.gamma(1.0, 0.02, (24, 64))
TEXTS = (("prose", 16), ("code", 8))


def by(change: float, *, where: slice = slice(None), spread: float = 0.0) -> Doubles:
    """Return divergences that are changed by a share of their mean in some windows, and by noise in all."""
    calibrated = PLAIN + spread * RANDOM.normal(0, 0.02, (24, 1))
    calibrated[where] += change * 0.02
    return calibrated


def kind(name: str, calibrated: Doubles) -> KindLoss:
    return KindLoss(name, (f"blk.0.{name}", f"blk.1.{name}"), compare(TEXTS, PLAIN, calibrated))


def test_texts_are_compared_window_by_window() -> None:
    prose, code = compare(TEXTS, PLAIN, by(0.5, where=slice(16, None)))
    assert (prose.text, prose.n_windows, code.n_windows) == ("prose", 16, 8)
    assert prose.plain == prose.calibrated == pytest.approx(PLAIN[:16].mean())
    assert prose.error == 0
    assert not prose.is_loss
    assert code.calibrated - code.plain == pytest.approx(0.01)
    assert code.is_loss


def test_noise_is_no_loss() -> None:
    differences = np.array([1.0, -1.0, 0.5, -0.5, 0.25, -0.25, 0.2, 0.1]).repeat(3)[:, None] * 0.01
    (loss,) = compare((("prose", 24),), PLAIN, PLAIN + differences)
    assert loss.is_worse
    assert not loss.is_loss
    (loss,) = compare((("prose", 24),), PLAIN, PLAIN + 0.01 + differences)
    assert loss.is_loss


def test_a_kind_falls_back_by_one_text_alone() -> None:
    lost, won = kind("attn_v.weight", by(0.2, where=slice(16, None))), kind("attn_q.weight", by(-0.4))
    whole = compare(TEXTS, PLAIN, by(-0.3))
    verdict = Verdict("Q4_K_M", (lost, won), whole, whole)
    assert verdict.fallen == (lost,)
    assert "on code" in lost.reason
    document = msgspec.json.decode(msgspec.json.encode(verdict.document()))
    assert document["rounded_plainly"] == ["blk.0.attn_v.weight", "blk.1.attn_v.weight"]
    assert [one["rounded_plainly"] for one in document["kinds"]] == [True, False]
    assert [text["text"] for text in document["texts"]] == ["prose", "code"]
    assert verdict.quality()["rounded_plainly"] == "attn_v.weight"
    assert (
        verdict.quality()["held_out_kl_divergence"] < verdict.quality()["held_out_kl_divergence_uncalibrated"]
    )


def test_where_all_together_lose_each_that_lost_at_all_falls_back() -> None:
    def some(name: str, calibrated: float) -> KindLoss:
        return KindLoss(name, (name,), (TextLoss("prose", 16, 0.02, calibrated, 0.01),))

    slightly, better = some("ffn_up.weight", 0.03), some("ffn_down.weight", 0.01)
    whole = (TextLoss("prose", 16, 0.05, 0.09, 0.01),)
    assert Verdict("Q4_K_M", (slightly, better), whole, whole).fallen == (slightly,)


def test_what_was_not_measured_says_why() -> None:
    verdict = Verdict("Q4_K_M", unmeasured="there is no 16-bit file")
    assert verdict.document() == {"type": "Q4_K_M", "measured": False, "reason": "there is no 16-bit file"}
    assert verdict.quality() == {}
    assert verdict.fallen == ()
