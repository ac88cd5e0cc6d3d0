"""What machines and pull requests are told of runs."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from conformance.report.collection import Collection, merge
from conformance.run.store import Run
from conformance.verdict.model import Outcome


def json_summary(runs: Iterable[Run], report: Path | str) -> dict[str, Any]:
    """Counts by target, and what is unexpected; the newest result of a question counts.

    Returns:
        `{"targets": {NAME: {"versions", "verdicts": {VERDICT: count}}}, "unexpected": [{"case", "target", "verdict",
        "detail"}], "report": PATH}`, plain values alone.
    """
    collection = merge(runs)
    counts = _counts(collection)
    return {
        "targets": {
            name: {"versions": dict(run.header.description.versions), "verdicts": dict(_ordered(counts[name]))}
            for name, run in collection.latest.items()
        },
        "unexpected": [
            {
                "case": entry.result.case,
                "target": f"{entry.column.target}-{entry.column.format}",
                "verdict": entry.result.outcome.value,
                "detail": entry.result.detail,
            }
            for row in collection.by_case.values()
            for entry in row.values()
            if entry.result.unexpected
        ],
        "report": str(report),
    }


def markdown_summary(runs: Iterable[Run], *, most: int = 20) -> str:
    """A table of targets and outcomes, and the first unexpected results, for a pull request."""
    collection = merge(runs)
    counts = _counts(collection)
    shown = [outcome.value for outcome in Outcome if any(count[outcome.value] for count in counts.values())]
    lines = [
        f"| target | {' | '.join(shown)} |",
        f"|---|{'---:|' * len(shown)}",
        *(
            f"| {_cell(name)} | {' | '.join(str(counts[name][outcome]) for outcome in shown)} |"
            for name in collection.latest
        ),
        "",
    ]
    unexpected = [e for row in collection.by_case.values() for e in row.values() if e.result.unexpected]
    lines.append(f"**{len(unexpected)} unexpected**" if unexpected else "Nothing unexpected.")
    for entry in unexpected[:most]:
        detail = _cell(entry.result.detail.partition("\n")[0])
        lines.append(f"- `{entry.result.name}` {entry.result.outcome.value}: {detail}")
    if len(unexpected) > most:
        lines.append(f"- and {len(unexpected) - most} more")
    return "\n".join(lines) + "\n"


def _counts(collection: Collection) -> dict[str, Counter[str]]:
    counts = {name: Counter[str]() for name in collection.latest}
    for entry in collection.entries:
        counts[entry.column.target][entry.result.outcome.value] += 1
    return counts


def _ordered(counts: Counter[str]) -> list[tuple[str, int]]:
    return [(outcome.value, counts[outcome.value]) for outcome in Outcome if counts[outcome.value]]


def _cell(text: str) -> str:
    """Text that ends no table cell and starts no element."""
    for character, written in (("&", "&amp;"), ("<", "&lt;"), ("|", "\\|"), ("\n", " ")):
        text = text.replace(character, written)
    return text
