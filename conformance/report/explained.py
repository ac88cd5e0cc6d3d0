"""An explanation as a page of its own: the drawings of the report, without results."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from conformance.report.answers import Explanation
from conformance.report.axes import Axis
from conformance.report.drawings import Drawing, draw_case, plane, strip
from conformance.report.templating import asset, environment
from conformance.run.store import CaseRecord

# Beyond this a drawing has more cells than a screen has places for them.
_LONGEST_AXIS = 600


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A section: a heading, drawings, what stands as it is typed, and lines of text about it."""

    title: str
    lines: tuple[str, ...] = ()
    drawings: tuple[Drawing, ...] = ()
    text: str = ""


def write_case(case: CaseRecord, path: Path) -> Path:
    """Writes the page of a case: its sentence, its drawings and its YAML."""
    parts = [Part(title=drawing.title, drawings=(drawing,)) for drawing in draw_case(case)]
    parts.append(Part(title="The case", text=case.yaml))
    return _write(path, case.id, case.about, parts)


def write_answer(answer: Explanation, path: Path) -> Path:
    """Writes the page of an answer: stage by stage, then the calls."""
    parts = [
        Part(
            title=f"{stage.text}: {stage.given} -> {stage.output}",
            drawings=tuple(_drawing(stage.text, axes) for axes in stage.axes),
        )
        for stage in answer.stages
    ]
    parts += [Part(title=call.title, text="\n".join(call.lines), lines=call.remarks) for call in answer.calls]
    return _write(path, answer.title, "", parts, answer.fault)


def _drawing(title: str, axes: Sequence[Axis]) -> Drawing:
    drawn = [axis for axis in axes if axis.end - axis.first <= _LONGEST_AXIS]
    return Drawing(
        title=title,
        plane=str(plane(axes)) if len(axes) == len(drawn) == 2 else "",
        strips=tuple(str(strip(axis)) if axis in drawn else "" for axis in axes),
        lines=tuple((axis.name, axis.formula, axis.remark) for axis in axes),
    )


def _write(path: Path, title: str, about: str, parts: Sequence[Part], fault: str = "") -> Path:
    made = environment()
    page = made.get_template("explained.html.j2").render(
        title=title, about=about, parts=parts, fault=fault, style=Markup(asset(made, "style.css"))
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page, encoding="utf-8", newline="\n")
    return path
