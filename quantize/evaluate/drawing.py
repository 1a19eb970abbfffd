"""The picture of a report as SVG: quality over size, speed over size. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

from quantize.evaluate.report import FileReport, Report

WIDTH, HEIGHT, LEFT, TOP, GAP = 420, 320, 70, 40, 60


@dataclass(frozen=True)
class Point:
    """The place where a file is drawn, in the units of its axes."""

    label: str
    x: float
    y: float


@dataclass(frozen=True)
class Axes:
    """The axes and points of one panel. `log`: the y axis grows by factors."""

    title: str
    y_name: str
    log: bool
    points: tuple[Point, ...]


def drawing(report: Report) -> str:
    """Return an SVG document of up to three panels; those without figures are left out."""
    panels = [
        axes for axes in (_quality(report), _speed(report, "decode"), _speed(report, "prompt")) if axes.points
    ]
    width = LEFT + len(panels) * (WIDTH + GAP)
    body = "".join(_panel(axes, LEFT + i * (WIDTH + GAP)) for i, axes in enumerate(panels))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {HEIGHT + TOP + 60}" '
        'font-family="sans-serif" font-size="12"><rect width="100%" height="100%" fill="#ffffff"/>'
        f"{body}</svg>\n"
    )


def _quality(report: Report) -> Axes:
    points = [
        Point(file.title, _gib(file), file.divergence.mean.value)
        for file in report.files
        if file.divergence is not None and file.divergence.mean.value > 0
    ]
    return Axes("Loss over size", "KL divergence, nats (less is better)", True, tuple(points))


def _speed(report: Report, what: str) -> Axes:
    points = [
        Point(file.title, _gib(file), getattr(file.speed, what))
        for file in report.files
        if file.speed is not None
    ]
    name = "decode" if what == "decode" else "prompt"
    return Axes(f"Speed over size: {name}", "tokens per second", False, tuple(points))


def _gib(file: FileReport) -> float:
    return file.size_bytes / 2**30


def _panel(axes: Axes, left: float) -> str:
    xs, ys = [p.x for p in axes.points], [p.y for p in axes.points]
    x_range = (0.0, max(xs) * 1.1)
    y_range = (min(ys) / 2, max(ys) * 2) if axes.log else (0.0, max(ys) * 1.15)

    def place(point: Point) -> tuple[float, float]:
        along = (point.x - x_range[0]) / (x_range[1] - x_range[0])
        if axes.log:
            up = math.log(point.y / y_range[0]) / math.log(y_range[1] / y_range[0])
        else:
            up = (point.y - y_range[0]) / (y_range[1] - y_range[0])
        return left + along * WIDTH, TOP + (1 - up) * HEIGHT

    parts = [
        f'<text x="{left}" y="{TOP - 18}" font-size="15" font-weight="bold">{escape(axes.title)}</text>',
        f'<rect x="{left}" y="{TOP}" width="{WIDTH}" height="{HEIGHT}" fill="none" stroke="#888"/>',
        f'<text x="{left + WIDTH / 2}" y="{TOP + HEIGHT + 40}" text-anchor="middle">size, GiB</text>',
        f'<text x="{left}" y="{TOP - 4}" fill="#555">{escape(axes.y_name)}</text>',
    ]
    for value in _ticks(*y_range, log=axes.log):
        _, y = place(Point("", 0.0, value))
        parts.append(f'<line x1="{left}" x2="{left + WIDTH}" y1="{y:.1f}" y2="{y:.1f}" stroke="#e5e5e5"/>')
        parts.append(f'<text x="{left - 6}" y="{y + 4:.1f}" text-anchor="end" fill="#555">{value:.4g}</text>')
    for value in _ticks(*x_range, log=False):
        x, _ = place(Point("", value, ys[0]))
        parts.append(
            f'<text x="{x:.1f}" y="{TOP + HEIGHT + 18}" text-anchor="middle" fill="#555">{value:.3g}</text>'
        )
    for point in axes.points:
        x, y = place(point)
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4.5" fill="#1f6f8b"/>')
        parts.append(f'<text x="{x + 8:.1f}" y="{y - 6:.1f}">{escape(point.label)}</text>')
    return "".join(parts)


def _ticks(low: float, high: float, *, log: bool) -> Sequence[float]:
    if log:
        exponents = range(math.ceil(math.log10(low)), math.floor(math.log10(high)) + 1)
        return [10.0**exponent for exponent in exponents]
    step = 10.0 ** math.floor(math.log10((high - low) or 1.0))
    while (high - low) / step < 4:
        step /= 2
    return [low + i * step for i in range(int((high - low) / step) + 1)]
