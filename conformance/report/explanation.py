"""A case in words and signs, for the terminal: what it asks, and where its windows stand."""

from typing import Final

from conformance.errors import ImpossibleShape
from conformance.report.axes import Axis, axes_of
from conformance.run.store import CaseRecord

# A longer line than this does not fit a terminal; the formula says the rest.
_WIDEST: Final = 100
_SHOWN_WINDOWS: Final = 6


def explain(case: CaseRecord) -> str:
    """A case's sentence, its geometry axis by axis, and its YAML."""
    parts = [case.id, case.about, f"source: {case.source}" if case.source else ""]
    try:
        geometry = axes_of(case)
    except ImpossibleShape as error:
        geometry = ()
        parts.append(f"It has no answer: {error}")
    for title, axes in geometry:
        parts.append(f"\n{title}")
        parts += ["\n".join(explain_axis(axis)) for axis in axes]
    parts.append(f"\n{case.yaml.rstrip()}")
    return "\n".join(part for part in parts if part)


def explain_axis(axis: Axis) -> list[str]:
    """One axis: the size formula with its numbers, a remark, and the placements of the kernel below the line.

    `o` is an element of the input (of the canvas, for a transposed operator), `.` padding, `x` a tap; under a
    transposed canvas `^` marks what is kept.
    """
    lines = [f"  {axis.name}: {axis.formula}", f"    {axis.remark}" if axis.remark else ""]
    positions = range(axis.first, axis.end)
    if len(positions) <= _WIDEST:
        inside = range(axis.end) if axis.transposed else range(axis.size)
        lines.append("    " + "".join("o" if position in inside else "." for position in positions))
        for index in range(min(axis.placements, _SHOWN_WINDOWS)):
            taps = axis.taps(index)
            lines.append("    " + "".join("x" if position in taps else " " for position in positions).rstrip())
        if axis.placements > _SHOWN_WINDOWS:
            lines.append(f"    ... {axis.placements} in all")
        if axis.transposed:
            kept = range(axis.start, axis.start + axis.count)
            lines.append("    " + "".join("^" if position in kept else " " for position in positions).rstrip())
    return [line for line in lines if line]
