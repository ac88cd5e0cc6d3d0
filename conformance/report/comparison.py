"""Two runs side by side, for people: text, Markdown for a pull request, JSON, and a page of its own."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from markupsafe import Markup

from conformance.report.summary import plain
from conformance.report.templating import asset, environment
from conformance.run.comparison import NOTABLE_BITS, Measured, Pair, RunComparison, question_of
from conformance.run.result import Result

# Lines of a list that a terminal or a pull request is shown; the page and JSON have them all.
SHOWN: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One entry of a list: what it is about, what is to be said, the first line of why, and whether it got worse."""

    name: str
    case: str
    told: str
    detail: str = ""
    worse: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """One list, with its title and what it means."""

    title: str
    meaning: str
    lines: tuple[Line, ...]


def sections(comparison: RunComparison) -> tuple[Section, ...]:
    """The lists that have entries, what got worse first."""
    worse = set(map(id, comparison.worse))
    changed = [pair for pair in comparison.changed if id(pair) not in worse]
    lost = [pair for pair in comparison.lost if id(pair) not in worse]
    every = (
        ("Worse", "both have it, and the second has it worse", _pairs(comparison.worse)),
        ("Changed", "another outcome or reading, not a worse one", _pairs(changed)),
        ("Bits lost", "the same outcome, a bit or more less exact", _pairs(lost)),
        ("Bits gained", "the same outcome, a bit or more more exact", _pairs(comparison.gained)),
        ("New", "the first does not have it", _results(comparison.new)),
        ("Gone", "the second does not have it", _results(comparison.gone)),
        (
            "Refused",
            "asked on unequal inputs: nothing can be said",
            tuple(
                Line(
                    name=pair.question.name,
                    case=pair.question.case,
                    told=f"inputs {pair.before.digest} and {pair.after.digest}",
                )
                for pair in comparison.refused
            ),
        ),
    )
    return tuple(Section(title=title, meaning=meaning, lines=lines) for title, meaning, lines in every if lines)


def _pairs(pairs: Sequence[Pair]) -> tuple[Line, ...]:
    return tuple(
        Line(
            name=pair.question.name,
            case=pair.question.case,
            told=_told(pair),
            detail=_first(pair.after.detail),
            worse=pair.worse,
        )
        for pair in pairs
    )


def _told(pair: Pair) -> str:
    said = [f"{c.check} {c.before or 'not judged'} -> {c.after or 'not judged'}" for c in pair.changes]
    if pair.readings is not None:
        said.append("reading: {} -> {}".format(*pair.readings))
    before, after = pair.bits
    if pair.readings is None and abs(pair.bits_gained) >= NOTABLE_BITS:
        said.append(f"{before:.1f} -> {after:.1f} effective bits")
    return ", ".join(said)


def _first(detail: str) -> str:
    return detail.partition("\n")[0]


def _results(results: Sequence[Result]) -> tuple[Line, ...]:
    return tuple(
        Line(name=question_of(result).name, case=result.case, told=result.outcome.value, detail=_first(result.detail))
        for result in results
    )


def _heading(side: Measured) -> str:
    return f"{side.name}: {side.header.target}, {side.versions}" + ("" if side.complete else " (incomplete)")


def text(comparison: RunComparison, *, most: int = SHOWN) -> str:
    """For a terminal."""
    lines = [f"before  {_heading(comparison.before)}", f"after   {_heading(comparison.after)}", summary(comparison)]
    for section in sections(comparison):
        lines.append(f"\n{section.title} ({len(section.lines)}): {section.meaning}")
        for line in section.lines[:most]:
            lines.append(f"  {line.name}  {line.told}")
            if line.worse and line.detail:
                lines.append(f"      {line.detail}")
        if len(section.lines) > most:
            lines.append(f"  ... and {len(section.lines) - most} more")
    return "\n".join(lines) + "\n"


def markdown(comparison: RunComparison, *, most: int = SHOWN) -> str:
    """For a pull request: the lists fold, but for what got worse."""
    verdict = f"**{len(comparison.worse)} got worse.**" if comparison.worse else "**Nothing got worse.**"
    lines = [
        f"{verdict} {plain(summary(comparison))}",
        "",
        f"- before: {plain(_heading(comparison.before))}",
        f"- after: {plain(_heading(comparison.after))}",
    ]
    for section in sections(comparison):
        opened = " open" if section.title == "Worse" else ""
        lines += [
            "",
            f"<details{opened}><summary>{section.title} ({len(section.lines)}): {section.meaning}</summary>",
            "",
        ]
        for line in section.lines[:most]:
            detail = f": {plain(line.detail)}" if line.worse and line.detail else ""
            lines.append(f"- {plain(line.name)} {plain(line.told)}{detail}")
        if len(section.lines) > most:
            lines.append(f"- and {len(section.lines) - most} more")
        lines += ["", "</details>"]
    return "\n".join(lines) + "\n"


def as_json(comparison: RunComparison) -> dict[str, Any]:
    """Plain values: both runs, the counts, and every list."""

    def side(measured: Measured) -> dict[str, Any]:
        return {
            "run": measured.name,
            "target": measured.header.target,
            "versions": dict(measured.header.description.versions),
            "cases": measured.header.suite,
            "complete": measured.complete,
        }

    return {
        "before": side(comparison.before),
        "after": side(comparison.after),
        "compared": comparison.compared,
        "same": comparison.same,
        "worse": [pair.question.name for pair in comparison.worse],
        "changed": [
            {
                **_question(pair.before),
                "checks": {
                    change.check: [change.before and change.before.value, change.after and change.after.value]
                    for change in pair.changes
                },
                "bits": list(pair.bits),
                **({} if pair.readings is None else {"readings": list(pair.readings)}),
            }
            for pair in comparison.changed
        ],
        **{
            name: [{**_question(pair.before), "bits": list(pair.bits)} for pair in pairs]
            for name, pairs in (("bits_lost", comparison.lost), ("bits_gained", comparison.gained))
        },
        **{
            name: [{**_question(result), "outcome": result.outcome.value} for result in results]
            for name, results in (("new", comparison.new), ("gone", comparison.gone))
        },
        "refused": [
            {**_question(pair.before), "digests": [pair.before.digest, pair.after.digest]}
            for pair in comparison.refused
        ],
    }


def _question(result: Result) -> dict[str, str]:
    return {"case": result.case, "format": result.format, "layout": result.layout}


def summary(comparison: RunComparison) -> str:
    """One line of counts, and that the runs are of different versions of the cases where they are."""
    counts = [f"{section.title.lower()}: {len(section.lines)}" for section in sections(comparison)]
    line = "; ".join([f"{comparison.compared} compared, {comparison.same} the same", *counts]) + "."
    if comparison.suites:
        before, after = comparison.suites
        line += f" The cases are of version {before} before and {after} after."
    return line


def write_page(comparison: RunComparison, path: Path) -> None:
    """Writes the comparison as one HTML file with the report's style, without scripts or network."""
    made = environment()
    page = made.get_template("comparison.html.j2").render(
        style=Markup(asset(made, "style.css")),
        comparison=comparison,
        sides=(("Before", comparison.before), ("After", comparison.after)),
        sections=sections(comparison),
        summary=summary(comparison),
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page, encoding="utf-8", newline="\n")
