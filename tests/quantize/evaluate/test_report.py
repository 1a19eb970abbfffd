from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import replace

import msgspec

from quantize.evaluate.divergence import Divergence, Figure, Perplexity
from quantize.evaluate.drawing import drawing
from quantize.evaluate.report import FileReport, Report
from quantize.evaluate.speed import Speed

ZERO = Figure(0.0, 0.0)


def file(label: str, gib: float, loss: float | None, decode: float) -> FileReport:
    divergence = None
    if loss is not None:
        divergence = Divergence(
            Figure(loss, loss / 10), loss, 5 * loss, 50 * loss, Figure(0.97, 0.01), ZERO, 100
        )
    return FileReport(
        label=label,
        path=f"{label}.gguf",
        type=label,
        size_bytes=int(gib * 2**30),
        bits_per_weight=gib,
        perplexity=Perplexity(Figure(6.0, 0.1), Figure(1.8, 0.01), 100),
        divergence=divergence,
        speed=Speed(500.0, decode, 2),
        memory_bytes=int(gib * 2**30) + 2**29,
        memory_ctx=4096,
        is_baseline=loss is None,
    )


def report(*files: FileReport, available_gib: float = 64) -> Report:
    return Report(files, "text", 512, 10, "a machine", int(available_gib * 2**30))


F16, Q8 = file("F16", 14, None, 5), file("Q8_0", 7, 0.001, 9)
Q4, Q2 = file("Q4_K_M", 4, 0.03, 15), file("Q2_K", 3, 0.4, 18)


def test_nearly_nothing_lost_is_preferred() -> None:
    advice = report(F16, Q8, Q4, Q2).advice()
    assert advice.startswith("Use Q8_0 here: it loses nearly nothing")
    assert "9 tokens per second" in advice


def test_what_doesnt_fit_is_not_advised() -> None:
    advice = report(F16, Q8, Q4, Q2, available_gib=5).advice()
    assert advice.startswith("Use Q4_K_M here: it loses little")
    assert "97.0 %" in advice
    assert "Use Q2_K here: it loses least" in report(F16, Q8, Q4, Q2, available_gib=3.6).advice()
    assert "None of these fits" in report(F16, Q8, Q4, available_gib=1).advice()


def test_a_finer_file_is_named() -> None:
    finer = replace(Q4, label="Q6_K", size_bytes=5 * 2**30, divergence=file("x", 5, 0.02, 1).divergence)
    slow = replace(finer, speed=Speed(500.0, 12.0, 2))
    assert "Q6_K loses less (0.0200) and is 25 % larger" in report(F16, slow, Q4).advice()


def test_a_calibrated_file_is_set_beside_the_plain_one() -> None:
    plain = replace(Q4, label="x:Q4_K_M", rounding="imatrix")
    better = file("out.Q4_K_M", 4, 0.012, 15)
    better = replace(better, type="Q4_K_M", rounding="calibrated", calibrated_on="mix")
    both = report(F16, Q8, plain, better)
    gain = "out.Q4_K_M is calibrated and loses 0.0120, where x:Q4_K_M loses 0.0300 (-60 %)."
    assert gain in both.advice()
    assert "calibrated" not in report(F16, Q8, plain).advice()
    assert "Use out.Q4_K_M, calibrated, here" in report(F16, plain, better).advice()
    assert drawing(both).count(">out.Q4_K_M, calibrated<") == 3
    assert [row["rounding"] for row in both.document()["files"]] == [None, None, "imatrix", "calibrated"]


def test_without_a_baseline_nothing_is_advised() -> None:
    assert "nothing to compare" in report(replace(F16, is_baseline=False)).advice()


def test_the_document_is_json() -> None:
    document = msgspec.json.decode(msgspec.json.encode(report(F16, Q4).document()))
    assert document["files"][1]["divergence"]["mean"]["value"] == 0.03
    assert document["files"][0]["divergence"] is None


def test_the_picture_has_every_file_in_every_panel() -> None:
    picture = drawing(report(F16, replace(Q8, label="a<b"), Q4))
    root = ET.fromstring(picture)  # noqa: S314  # our own
    circles = root.findall(".//{http://www.w3.org/2000/svg}circle")
    assert len(circles) == 2 + 3 + 3
    assert all(float(c.attrib["cx"]) > 0 and float(c.attrib["cy"]) > 0 for c in circles)
    assert "a&lt;b" in picture


def test_a_picture_of_speeds_alone() -> None:
    assert drawing(report(replace(F16, is_baseline=False))).count("<circle") == 2
