from __future__ import annotations

from dataclasses import replace

import pytest

from bench.loads import Ratio, Sizes, streams
from bench.report import better_peer, disturbances, load_section, ratios_to, summary, verdicts
from tests.bench.measurements import measured

LOAD = streams(8, Sizes(), 1.05)
SPEEDS = {
    "corral": (110, 90, 120),
    "llama-server": (100, 100, 100),
    "llama-server --kv-unified": (80, 300, 90),
}
FOUND = [
    measured(name, i, tokens_per_s=float(speed), first_token_s_p50=0.1, gap_s_p50=0.02)
    for name, speeds in SPEEDS.items()
    for i, speed in enumerate(speeds)
]


def test_ratios_are_made_round_by_round() -> None:
    assert ratios_to(FOUND, "llama-server", "tokens_per_s") == [1.1, 0.9, 1.2]
    shuffled = [FOUND[i] for i in (8, 3, 1, 0, 5, 7, 2, 4, 6)]
    assert sorted(ratios_to(shuffled, "llama-server", "tokens_per_s")) == [0.9, 1.1, 1.2]


def test_the_better_peer_is_the_one_with_the_better_median() -> None:
    assert better_peer(FOUND, Ratio("tokens_per_s")) == "llama-server"
    assert better_peer(FOUND, Ratio("tokens_per_s", lower_is_better=True)) == "llama-server --kv-unified"
    assert better_peer(FOUND, Ratio("unknown")) is None


def test_variants_of_corral_are_no_peers() -> None:
    faster = [measured("corral unified", i, tokens_per_s=900.0) for i in range(3)]
    assert better_peer([*FOUND, *faster], Ratio("tokens_per_s")) == "llama-server"
    only = [one for one in FOUND if one.server == "corral"] + faster
    assert better_peer(only, Ratio("tokens_per_s")) == "corral unified"


def test_ik_llama_cpp_has_a_row_and_decides_nothing_beside_llama_server() -> None:
    ik = [measured("ik_llama.cpp", i, tokens_per_s=500.0, gap_s_p50=0.01) for i in range(3)]
    assert better_peer([*FOUND, *ik], Ratio("tokens_per_s")) == "llama-server"
    assert "| ik_llama.cpp | 500.0 (500.0–500.0) |" in load_section(LOAD, [*FOUND, *ik])
    only = [one for one in FOUND if one.server == "corral"] + ik
    assert better_peer(only, Ratio("tokens_per_s")) == "ik_llama.cpp"


def test_verdicts_and_summary() -> None:
    speed, first = verdicts(LOAD, FOUND)
    assert (speed.figure, speed.peer, speed.median, speed.reached) == (
        "tokens_per_s",
        "llama-server",
        1.1,
        True,
    )
    assert first.reached is None
    assert summary([LOAD], FOUND).splitlines()[2:] == [
        "| streams-8 | tok/s out | 1.10 (0.90–1.20) | llama-server | 3 | ≥ 1.05 | reached |"
    ]
    assert "missed" in summary([streams(8, Sizes(), 1.2)], FOUND)


@pytest.mark.parametrize(
    ("value", "lower", "reached"), [(0.3, True, False), (0.2, True, True), (0.3, False, True)]
)
def test_aims(value: float, lower: bool, reached: bool) -> None:
    assert Ratio("x", 0.25, lower_is_better=lower).reached(value) is reached


def test_a_failed_measurement_takes_its_round_with_it_and_is_told() -> None:
    failed = replace(FOUND[0], figures={}, error="1 of 8 streams failed")
    found = [failed, *FOUND[1:]]
    assert ratios_to(found, "llama-server", "tokens_per_s") == [0.9, 1.2]
    assert "Failed: round 0, corral: 1 of 8 streams failed" in load_section(LOAD, found)
    assert disturbances(found).endswith("1 failed.")


def test_a_section_has_a_row_per_server_with_times_in_milliseconds() -> None:
    rows = load_section(LOAD, FOUND).splitlines()
    assert rows[0] == "8 streams, 50 words in, 96 tokens out:"
    assert len({row.count("|") for row in rows[2:]}) == 1
    assert rows[4].startswith("| corral | 110.0 (90.0–120.0) | 100.0 (100.0–100.0) | – | 20.0")
    assert rows[5].endswith("| 1.10 (0.90–1.20) | 1.00 (1.00–1.00) | – |")


def test_disturbed_measurements_are_counted() -> None:
    found = [measured("corral", 0, 0.2), measured("corral", 1, 0.04), measured("llama-server", 1, 0.06)]
    assert disturbances(found).startswith("2 of 3 measurements")
    assert "2 s were spent waiting" in disturbances(found)
