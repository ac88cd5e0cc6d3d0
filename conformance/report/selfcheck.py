"""What checks the checker, for people: text for a terminal, and the figures of the page."""

import textwrap
from collections.abc import Iterable, Mapping
from typing import Final

from conformance.run.detectors import Score
from conformance.run.fuzz import Fuzzed
from conformance.run.selfcheck import Check, Selfcheck

WIDTH: Final = 110
# Cases that are printed whole; the same seed draws all of them again.
PRINTED: Final = 10


def number(value: float) -> str:
    """Counts with separators, measures with three digits, what is infinite as it is said of bits."""
    if value == float("inf"):
        return "exact"
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:.3g}"


def figures(named: Mapping[str, float]) -> str:
    """Figures in one line."""
    return ", ".join(f"{number(value)} {name}" for name, value in named.items())


def share(part: int, whole: int) -> str:
    """A part of a whole in per cent, never rounded to 0 or 100 where it is neither; a dash of nothing."""
    if not whole:
        return "\N{EN DASH}"
    for digits in range(1, 6):
        told = f"{100 * part / whole:.{digits}f}"
        if part in (0, whole) or float(told) not in (0.0, 100.0):
            break
    return f"{told.rstrip('0').rstrip('.')} %"


def text(record: Selfcheck) -> str:
    """A record for a terminal."""
    versions = ", ".join(f"{name} {version}" for name, version in record.versions.items())
    lines = [f"{record.subject} ({versions}), {record.seconds:.0f} s", ""]
    for check in record.checks:
        lines.append(
            f"{'PASS' if check.passed else 'FAIL'}  {check.name:<22} {check.seconds:5.1f} s  {check.sentence}"
        )
        lines += textwrap.wrap(figures(check.figures), WIDTH, initial_indent=" " * 6, subsequent_indent=" " * 6)
        lines += [f"      ! {line}" for fault in check.faults for line in fault.splitlines()]
    if record.detectors:
        lines += ["", *detector_lines(record.detectors)]
    verdict = "everything holds" if record.passed else f"wrong: {', '.join(_failed(record.checks))}"
    return "\n".join([*lines, "", f"{record.subject}: {verdict}", ""])


def _failed(checks: Iterable[Check]) -> list[str]:
    return [check.name for check in checks if not check.passed]


def detector_lines(scores: Iterable[Score]) -> list[str]:
    """The table of detectors; columns that nothing was asked for are dashes."""
    rows = [("detector", "faults noticed", "one element off by 1e-6", "honest arrays called wrong", "elements")]
    for score in scores:
        rows.append(
            (
                score.name,
                _of(score.noticed, score.faults),
                _of(score.singles, score.single_faults),
                _of(score.alarms, score.arrays),
                _of(score.wrong, score.elements),
            )
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _of(part: int, whole: int) -> str:
    return f"{part:,} of {whole:,} ({share(part, whole)})" if whole else share(part, whole)


def fuzz_text(found: Fuzzed) -> str:
    """What came of random questions, every false alarm with its case to paste."""
    lines = []
    for alarm in found.alarms[:PRINTED]:
        result = alarm.result
        why = "\n".join(filter(None, (result.detail, result.diagnosis)))
        lines += [f"{result.name}: {result.outcome} ({result.reason})", textwrap.indent(why, "    "), alarm.yaml]
    if len(found.alarms) > PRINTED:
        lines += [f"{alarm.result.name}: {alarm.result.outcome}" for alarm in found.alarms[PRINTED:]]
    lines += [f"no answer: {line.splitlines()[0][:WIDTH]}" for line in found.unanswered]
    lines += [f"on file: {name}, {count} results" for name, count in found.known.items()]
    lines += [
        f"{format_}: fewest effective bits {number(bits)}, median {number(found.median[format_])}"
        for format_, bits in found.least.items()
    ]
    lines.append(
        f"{found.target}: {number(found.elements)} elements of {number(found.arrays)} arrays and "
        f"{number(found.questions)} questions on {len(found.operators)} operators were judged in "
        f"{found.seconds:.1f} s (seed {found.seed}): {len(found.alarms)} alarms"
    )
    return "\n".join(lines) + "\n"
