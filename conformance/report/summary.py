"""What machines and pull requests are told of an execution."""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from conformance.verdict.model import Outcome

if TYPE_CHECKING:
    from conformance.run.execute import Execution


def json_summary(execution: "Execution", report: Path | str) -> dict[str, Any]:
    """Counts by target, and what is unexpected.

    Returns:
        `{"targets": {NAME: {"versions", "verdicts": {VERDICT: count}}}, "unexpected": [{"case", "target", "format",
        "verdict", "detail"}], "report": PATH}`, plain values alone. A target that could not be used has an `error`
        too, one that was not asked everything has `not_asked`.
    """
    return {
        "targets": {
            run.target.name: {
                "versions": dict(run.description.versions) if run.description else {},
                "verdicts": {outcome.value: run.counts[outcome] for outcome in Outcome if run.counts[outcome]},
                **({"error": run.error} if run.error else {}),
                **({"not_asked": run.not_asked} if run.not_asked else {}),
            }
            for run in execution.runs
        },
        "unexpected": [
            {
                "case": result.case,
                "target": result.target,
                "format": result.format,
                "verdict": result.outcome.value,
                "detail": result.detail,
            }
            for result in execution.unexpected
        ],
        "report": str(report),
    }


def markdown_summary(execution: "Execution", *, most: int = 20) -> str:
    """A table of targets and outcomes, what fails a run, who answered, and what is on file, for a pull request."""
    shown = [outcome for outcome in Outcome if any(run.counts[outcome] for run in execution.runs)]
    lines = [
        f"| target | {' | '.join(outcome.value for outcome in shown)} |",
        f"|---|{'---:|' * len(shown)}",
        *(
            f"| {plain(run.target.name)} | {' | '.join(str(run.counts[outcome]) for outcome in shown)} |"
            for run in execution.runs
        ),
        "",
    ]
    unexpected = execution.unexpected
    lines.append(f"**{len(unexpected)} unexpected**" if unexpected else "Nothing unexpected.")
    for result in unexpected[:most]:
        detail = plain(result.detail.partition("\n")[0])
        lines.append(f"- {plain(result.name)} **{result.outcome.value}** {detail}")
    if len(unexpected) > most:
        lines.append(f"- and {len(unexpected) - most} more, in the report")
    lines += [f"- {plain(result.contradiction)}" for result in execution.stale]
    for run in execution.runs:
        lines += [f"- {plain(told)}" for told in run.below_floor]
        lines += [f"- {plain(run.target.name)}: {plain(run.error)}"] if run.error else []
        lines += [f"- {plain(run.target.name)}: {run.not_asked} not asked"] if run.not_asked else []
    lines.append("")
    for run in execution.runs:
        if run.description is not None:
            versions = ", ".join(f"{name} {version}" for name, version in run.description.versions.items())
            machine = " ".join((run.description.device, *run.description.cpu_features))
            lines.append(f"{plain(run.target.name)} was {plain(versions)} on {plain(machine)}.")
    known = Counter(name for run in execution.runs for result in run.results for name in set(result.deviations))
    if known:
        title = f"{len(known)} known difference{'' if len(known) == 1 else 's'}, on file"
        lines += ["", f"<details><summary>{title}</summary>", ""]
        lines += [
            f"- {plain(name)}: {count} result{'' if count == 1 else 's'}" for name, count in known.most_common(most)
        ]
        lines += [f"- and {len(known) - most} more, in the report"] if len(known) > most else []
        lines += ["", "</details>"]
    return "\n".join(lines) + "\n"


def plain(text: str) -> str:
    """Text that stays text in Markdown: it ends no cell, starts no element, link or emphasis."""
    text = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;")
    return "".join(f"\\{character}" if character in "\\`*_[]|~#!" else character for character in text)
