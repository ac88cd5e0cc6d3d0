"""Sliding operators drawn: pads, windows, what is left unread, what a transposed convolution crops.

Everything separates by axis, so each spatial axis is drawn as a strip with the windows below it; two axes are drawn
as a plane too, whose windows the page lets a reader walk through. Colours come from the page's style sheet.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from markupsafe import Markup

from conformance.errors import ImpossibleShape
from conformance.report.axes import Axis, axes_of
from conformance.report.svg import number, rectangle, tag, text
from conformance.run.store import CaseRecord

_STRIP_WIDTH: Final = 620
_PLANE_WIDTH: Final = 330
_SHOWN_WINDOWS: Final = 9
# Beyond this a drawing has more cells than a screen has places for them.
_LONGEST_AXIS: Final = 600


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """A sliding operator in pictures: `lines` are (axis, formula, remark)."""

    title: str
    plane: str
    strips: tuple[str, ...]
    lines: tuple[tuple[str, str, str], ...]


def draw_case(case: CaseRecord) -> tuple[Drawing, ...]:
    """The drawings of a case: one for a sliding operator, of a chain one for its sliding layers that look alike."""
    try:
        found = axes_of(case)
    except (ImpossibleShape, KeyError, TypeError, ValueError):
        # A question that has no answer, or an operator of another version: it has no picture.
        return ()
    alike: dict[Drawing, list[str]] = {}
    for title, axes in found:
        if all(axis.end - axis.first <= _LONGEST_AXIS for axis in axes):
            drawing = Drawing(
                title="",
                plane=str(plane(axes)) if len(axes) == 2 else "",
                strips=tuple(str(strip(axis)) for axis in axes),
                lines=tuple((axis.name, axis.formula, axis.remark) for axis in axes),
            )
            alike.setdefault(drawing, []).append(title)
    return tuple(replace(drawing, title=_together(titles)) for drawing, titles in alike.items())


def _together(titles: Sequence[str]) -> str:
    """The first of several that look alike, and how many more there are."""
    return titles[0] if len(titles) == 1 else f"{titles[0]}, and {len(titles) - 1} like it"


def strip(axis: Axis) -> Markup:
    """One axis: the line of positions, and below it where the kernel stands, window by window."""
    length = axis.end - axis.first
    cell = max(2.0, min(26.0, _STRIP_WIDTH / length))
    left, top, height = 4.0, 22.0, max(12.0, min(cell, 24.0))

    def x(position: float) -> float:
        return left + (position - axis.first) * cell

    parts = [rectangle("g-pad", x(axis.first), top, length * cell, height)]
    inside, outside = (axis.start, axis.start + axis.count) if axis.transposed else (0, axis.size)
    parts.append(rectangle("g-in", x(inside), top, (outside - inside) * cell, height))
    if axis.transposed:
        most = max(axis.touched.values())
        for position, times in axis.touched.items():
            if times > 1:
                strength = f"g-overlap-{min(3, 1 + 2 * (times - 1) // max(most - 1, 1))}"
                parts.append(rectangle(strength, x(position), top, cell, height))
    elif axis.unread:
        parts.append(_cells("g-unread", [(x(p), top, cell, height) for p in axis.unread]))
    if cell >= 5:
        lines = "".join(f"M{number(x(p))} {number(top)}v{number(height)}" for p in range(axis.first, axis.end + 1))
        parts.append(tag("path", cls="g-line", d=lines))
    if cell >= 15:
        for position in range(axis.first, axis.end):
            if inside <= position < outside:
                label = str(position - axis.start)
                over = " g-over" if not axis.transposed and position in axis.unread else ""
                parts.append(text(f"g-label{over}", x(position + 0.5), top + height / 2, label, anchor="middle"))
            elif not axis.transposed:
                parts.append(
                    text("g-label g-dim", x(position + 0.5), top + height / 2, "pad", anchor="middle", size=8)
                )
    kind = "canvas, kept between the marks" if axis.transposed else "input with its pads"
    if not axis.transposed and not (axis.low or axis.high):
        kind = "input"
    parts.append(text("g-caption", left, 8, f"{axis.name}: {kind}"))
    if axis.transposed:
        for edge in (inside, outside):
            parts.append(tag("path", cls="g-crop", d=f"M{number(x(edge))} {number(top - 4)}v{number(height + 8)}"))
    y = top + height + 8
    for index in _shown(axis.placements):
        if index is None:
            parts.append(
                text("g-label g-dim", x(axis.first), y + 5, f"and so on, every {axis.stride}", anchor="start")
            )
            y += 13
            continue
        taps = axis.taps(index)
        begin, stop = x(taps[0]), x(taps[-1] + 1)
        parts.append(tag("path", cls="g-span", d=f"M{number(begin)} {number(y + 5)}H{number(stop)}"))
        inset = min(1.0, cell / 5)
        parts.append(_cells("g-tap", [(x(p) + inset, y, cell - 2 * inset, 10.0) for p in taps]))
        name = f"x[{index}]" if axis.transposed else f"y[{index}]"
        parts.append(text("g-label", x(axis.end) + 8, y + 5, name, anchor="start"))
        y += 13
    width, full = x(axis.end) + 52, y + 4
    label = f"{axis.name}: {axis.formula}; {axis.remark}"
    return _svg(width, full, label, parts, cls="strip")


def plane(axes: Sequence[Axis]) -> Markup:
    """Two axes: where the kernel stands on the one side, what it belongs to on the other."""
    rows, columns = axes
    tall, wide = rows.end - rows.first, columns.end - columns.first
    cell = max(1.5, min(24.0, _PLANE_WIDTH / max(tall, wide)))
    left, top = 4.0, 22.0

    def x(position: float) -> float:
        return left + (position - columns.first) * cell

    def y(position: float) -> float:
        return top + (position - rows.first) * cell

    transposed = rows.transposed
    inside = [(a.start, a.count) if transposed else (0, a.size) for a in axes]
    parts = [
        rectangle("g-pad", left, top, wide * cell, tall * cell),
        rectangle("g-in", x(inside[1][0]), y(inside[0][0]), inside[1][1] * cell, inside[0][1] * cell),
    ]
    if transposed:
        parts += _overlaps(rows, columns, x, y, cell)
    else:
        unread = [(left, y(p), wide * cell, cell) for p in rows.unread]
        unread += [(x(p), top, cell, tall * cell) for p in columns.unread]
        if unread:
            parts.append(_cells("g-unread", unread))
    parts.append(_grid(left, top, wide, tall, cell))
    if transposed:
        frame = (x(columns.start), y(rows.start), columns.count * cell, rows.count * cell)
        parts.append(rectangle("g-frame", *frame))
    if rows.placements * columns.placements <= 900 and cell >= 4:
        starts = [
            (x(columns.origin(j) + 0.5) - 1.5, y(rows.origin(i) + 0.5) - 1.5, 3.0, 3.0)
            for i in range(rows.placements)
            for j in range(columns.placements)
        ]
        parts.append(_cells("g-start", starts))
    inset = min(1.5, cell / 6)
    footprint = [
        (i * cell + inset, j * cell + inset, cell - 2 * inset, cell - 2 * inset)
        for j in range(0, rows.extent, rows.dilation)
        for i in range(0, columns.extent, columns.dilation)
    ]
    kernel = tag(
        "g",
        _cells("g-tap", footprint),
        rectangle("g-window", 0, 0, columns.extent * cell, rows.extent * cell),
        cls="footprint",
        transform=f"translate({number(x(columns.origin(0)))} {number(y(rows.origin(0)))})",
    )
    parts.append(kernel)
    if transposed:
        caption = f"canvas {_by(wide, tall)}, kept {_by(columns.count, rows.count)}"
    else:
        caption = f"input {_by(columns.size, rows.size)}"
        if wide > columns.size or tall > rows.size:
            caption += f", with pads {_by(wide, tall)}"
    parts.append(text("g-caption", left, 12, caption))
    # The other side: outputs of windows, or inputs that are placed.
    gap = left + max(wide * cell, 6.2 * len(caption)) + 34
    parts.append(rectangle("g-out", gap, top, columns.placements * cell, rows.placements * cell))
    parts.append(_grid(gap, top, columns.placements, rows.placements, cell))
    parts.append(rectangle("g-now", gap, top, cell, cell, r=1))
    other = f"{'input' if transposed else 'output'} {_by(columns.placements, rows.placements)}"
    parts.append(text("g-caption", gap, 12, other))
    width = gap + max(columns.placements * cell, 6.2 * len(other)) + 6
    height = top + max(tall, rows.placements) * cell + 6
    verb = "placed at stride" if transposed else "read at stride"
    label = (
        f"{caption}; kernel {rows.kernel} by {columns.kernel}, {verb} {rows.stride} by {columns.stride}; {other}. "
        f"Rows: {rows.remark}. Columns: {columns.remark}."
    )
    walk = {
        "data-cell": number(cell),
        "data-left": number(gap),
        "data-top": number(top),
        "data-x": number(x(columns.origin(0))),
        "data-y": number(y(rows.origin(0))),
        "data-rows": rows.placements,
        "data-columns": columns.placements,
        "data-stride": f"{rows.stride} {columns.stride}",
        "data-origin": f"{rows.origin(0) - rows.start} {columns.origin(0) - columns.start}",
        "data-kernel": f"{rows.kernel} {columns.kernel}",
        "data-dilation": f"{rows.dilation} {columns.dilation}",
        "data-inside": f"{inside[0][1]} {inside[1][1]}",
        "data-kind": "transposed" if transposed else "windows",
    }
    return _svg(width, height, label, parts, cls="plane", **walk)


def _overlaps(rows: Axis, columns: Axis, x: Any, y: Any, cell: float) -> list[Markup]:
    if len(rows.touched) * len(columns.touched) > 4096:
        return []
    levels: dict[int, list[tuple[float, float, float, float]]] = {}
    most = max(rows.touched.values()) * max(columns.touched.values())
    for i, down in rows.touched.items():
        for j, across in columns.touched.items():
            if down * across > 1:
                level = min(3, 1 + 2 * (down * across - 1) // max(most - 1, 1))
                levels.setdefault(level, []).append((x(j), y(i), cell, cell))
    return [_cells(f"g-overlap-{level}", found) for level, found in sorted(levels.items())]


def _by(columns: int, rows: int) -> str:
    return f"{rows} \N{MULTIPLICATION SIGN} {columns}"


def _shown(count: int) -> list[int | None]:
    if count <= _SHOWN_WINDOWS:
        return list(range(count))
    return [*range(_SHOWN_WINDOWS - 3), None, count - 2, count - 1]


def _cells(cls: str, rectangles: Sequence[tuple[float, float, float, float]]) -> Markup:
    path = "".join(f"M{number(x)} {number(y)}h{number(w)}v{number(h)}h{number(-w)}z" for x, y, w, h in rectangles)
    return tag("path", cls=cls, d=path)


def _grid(left: float, top: float, wide: int, tall: int, cell: float) -> Markup:
    if cell < 5:
        return rectangle("g-line", left, top, wide * cell, tall * cell)
    down = "".join(f"M{number(left + i * cell)} {number(top)}v{number(tall * cell)}" for i in range(wide + 1))
    across = "".join(f"M{number(left)} {number(top + i * cell)}h{number(wide * cell)}" for i in range(tall + 1))
    return tag("path", cls="g-line", d=down + across)


def _svg(width: float, height: float, label: str, parts: Sequence[Markup], *, cls: str, **data: Any) -> Markup:
    return tag(
        "svg",
        *parts,
        cls=f"drawing {cls}",
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {number(width)} {number(height)}",
        width=number(width),
        height=number(height),
        role="img",
        aria_label=label,
        **data,
    )
