"""Training drawn: losses, and how far each backend goes from the reference.

Lines are told apart by dashes, marks and labels; colour is only the fourth help.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from markupsafe import Markup

from conformance.report.svg import number, tag, text

_WIDTH: Final = 640.0
_HEIGHT: Final = 260.0
_LEFT: Final = 58.0
_RIGHT: Final = 120.0
_TOP: Final = 14.0
_BOTTOM: Final = 38.0
# Marks, in a square from -1 to 1: circle, square, triangle, diamond, cross, bar.
_MARKS: Final = (
    "M-1 0a1 1 0 1 0 2 0a1 1 0 1 0 -2 0z",
    "M-.9 -.9h1.8v1.8h-1.8z",
    "M0 -1.1L1 .9H-1z",
    "M0 -1.2L1.2 0L0 1.2L-1.2 0z",
    "M-1 -1L1 1M-1 1L1 -1",
    "M0 -1.2V1.2",
)
_DASHES: Final = (None, "7 3", "2 3", "9 3 2 3", "4 4", "1 4")


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One curve: a value a step, numbers that are not finite leave a gap."""

    name: str
    values: Sequence[float]


def losses(lines: Sequence[Line], title: str) -> Markup:
    """Losses by step, on a logarithmic axis where they span more than two orders of magnitude."""
    values = [value for line in lines for value in line.values if math.isfinite(value)]
    positive = [value for value in values if value > 0]
    wide = bool(positive) and len(positive) == len(values) and max(values) > 100 * min(values)
    return chart(lines, title, "loss", logarithmic=wide)


def distances(lines: Sequence[Line], reference: Sequence[float], title: str) -> Markup:
    """How far each loss is from the reference's, on a logarithmic axis."""
    return chart(
        [
            Line(
                name=line.name,
                values=[abs(a - b) or math.nan for a, b in zip(line.values, reference, strict=False)],
            )
            for line in lines
        ],
        title,
        "|loss - reference|",
        logarithmic=True,
        first=1,
    )


def chart(lines: Sequence[Line], title: str, unit: str, *, logarithmic: bool = False, first: int = 0) -> Markup:
    """Curves over steps; `first` is the place of the first line's style, so that charts agree on styles."""
    usable = [v for line in lines for v in line.values if math.isfinite(v) and (v > 0 or not logarithmic)]
    if not usable:
        return Markup("")
    steps = max(len(line.values) for line in lines)
    scale = _Scale.of(usable, logarithmic=logarithmic)

    def x(step: int) -> float:
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * (step / max(steps - 1, 1))

    def y(value: float) -> float:
        return _HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * scale.place(value)

    parts = []
    for tick in scale.ticks:
        parts.append(tag("path", cls="c-grid", d=f"M{number(_LEFT)} {number(y(tick))}H{number(_WIDTH - _RIGHT)}"))
        parts.append(text("c-tick", _LEFT - 8, y(tick), f"{tick:g}", anchor="end"))
    for step in _step_ticks(steps):
        parts.append(text("c-tick", x(step), _HEIGHT - _BOTTOM + 14, str(step + 1), anchor="middle"))
    parts.append(text("c-tick", (_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 9, "step", anchor="middle"))
    ends: list[tuple[float, int, str]] = []
    for place, line in enumerate(lines, start=first):
        points = [(x(i), y(v)) for i, v in enumerate(line.values) if math.isfinite(v) and (v > 0 or not logarithmic)]
        if not points:
            continue
        parts.append(
            tag(
                "polyline",
                cls=f"c-line c-{place % 6}",
                points=" ".join(f"{number(a)},{number(b)}" for a, b in points),
                stroke_dasharray=_DASHES[place % 6],
            )
        )
        apart = max(1, len(points) // 8)
        offset = (place * apart // max(len(lines), 1)) % apart
        for a, b in points[offset::apart]:
            parts.append(_mark(place, a, b))
        ends.append((points[-1][1], place, line.name))
    # Names stand at the curves' ends, pushed apart where they would cover each other.
    heights: list[float] = []
    for at, _, _ in sorted(ends):
        heights.append(max(at, heights[-1] + 13 if heights else -math.inf))
    lift = max(0.0, (heights[-1] if heights else 0.0) - (_HEIGHT - _BOTTOM))
    for at, (_, place, name) in zip(heights, sorted(ends), strict=True):
        parts.append(_mark(place, _WIDTH - _RIGHT + 12, at - lift))
        parts.append(text("c-name", _WIDTH - _RIGHT + 20, at - lift, name))
    return tag(
        "svg",
        *parts,
        cls="chart",
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {number(_WIDTH)} {number(_HEIGHT)}",
        role="img",
        aria_label=f"{title}: {unit} over {steps} steps, of {', '.join(line.name for line in lines)}",
    )


def legend(place: int) -> Markup:
    """A line's style, for a legend."""
    return tag(
        "svg",
        tag("path", cls=f"c-line c-{place % 6}", d="M1 7H33", stroke_dasharray=_DASHES[place % 6]),
        _mark(place, 17, 7),
        cls="swatch",
        xmlns="http://www.w3.org/2000/svg",
        viewBox="0 0 34 14",
        width=34,
        height=14,
        aria_hidden="true",
    )


def _mark(place: int, x: float, y: float) -> Markup:
    move = f"translate({number(x)} {number(y)}) scale(3.4)"
    return tag("path", cls=f"c-mark c-{place % 6}", d=_MARKS[place % 6], transform=move)


@dataclass(frozen=True, slots=True)
class _Scale:
    low: float
    high: float
    ticks: tuple[float, ...]
    logarithmic: bool

    @classmethod
    def of(cls, values: Sequence[float], *, logarithmic: bool) -> "_Scale":
        if logarithmic:
            bottom = math.floor(math.log10(min(values)))
            top = max(math.ceil(math.log10(max(values))), bottom + 1)
            every = max(1, math.ceil((top - bottom) / 6))
            ticks = tuple(10.0**power for power in range(bottom, top + 1, every))
            return cls(bottom, top, ticks, logarithmic=True)
        low, high = min(values), max(values)
        low = 0.0 if 0 <= low < 0.5 * high else low
        span = (high - low) or abs(high) or 1.0
        step = 10.0 ** math.floor(math.log10(span / 4))
        step *= next(m for m in (1, 2, 5, 10) if span / (step * m) <= 5)
        first, last = math.floor(low / step), max(math.ceil(high / step), math.floor(low / step) + 1)
        return cls(first * step, last * step, tuple(i * step for i in range(first, last + 1)), logarithmic=False)

    def place(self, value: float) -> float:
        return ((math.log10(value) if self.logarithmic else value) - self.low) / (self.high - self.low)


def _step_ticks(steps: int) -> list[int]:
    every = max(1, steps // 6)
    for nice in (1, 2, 5, 10, 20, 25, 50, 100, 200, 500, 1000):
        if nice >= every:
            every = nice
            break
    return [0, *(step - 1 for step in range(every, steps + 1, every) if step > 1)]


def numbers(values: Any) -> list[float]:
    """A record's list, whose numbers that JSON lacks are strings."""
    return [float(value) for value in values or ()]


def heat_records(training: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """Ratios by tensor and step, for the page to draw: the layers' own outputs and gradients step by step."""
    found = []
    for form, by_target in training.items():
        for target, record in by_target.items():
            ratios: Mapping[str, Any] = record.get("ratios") or {}
            if ratios:
                tensors = list(ratios)
                rows = [[float(f"{value:.3g}") for value in numbers(ratios[name])] for name in tensors]
                found.append({"form": form, "target": target, "tensors": tensors, "rows": rows})
    return found
