from __future__ import annotations

import numpy as np
import pytest

from bench import kernel_loss
from bench.kernel_loss import Loss, table


def test_the_difference_is_shown_with_its_error() -> None:
    own = np.array([0.010, 0.030])
    lines = table([Loss("Q4_K_M", 43, own * 1.01, own)]).splitlines()
    assert lines[2] == "| Q4_K_M | 43 | 0.0202 | 0.02 | +1.00% ± 0.00% |"
    assert {line.count("|") for line in lines} == {6}


def test_a_loss_survives_as_plain_data() -> None:
    loss = Loss("Q8_0", 7, np.array([0.1, 0.2]), np.array([0.3, 0.4]))
    again = Loss.from_document(loss.document())
    assert again.document() == loss.document()
    assert again.difference == loss.difference


def test_what_can_not_be_measured_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert kernel_loss.main(["demo", "--text", "/nowhere/text"]) == 1
    assert "/nowhere/text" in capsys.readouterr().err
