"""What becomes of runs: the report, accepted differences, comparisons, a badge."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from conformance.arguments import NOTHING, UNEXPECTED, Out, one_of, told_plainly


def report(out: Out = Path("reports")) -> None:
    """Writes the HTML report anew from every run found."""
    from conformance.report.page import write_report
    from conformance.verdict.deviations import shipped_deviations

    with told_plainly():
        print(write_report(out, deviations=shipped_deviations()))


def accept(
    runs: Annotated[list[Path], typer.Argument(help="Runs' .jsonl files, or targets' folders: their complete runs.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="The file of deviations to write; it must be new.")],
    reason: Annotated[str, typer.Option("--reason", help="Why this is accepted, in a sentence of fact.")],
) -> None:
    """Puts what is unexpected in runs on file, for `conformance run --deviations FILE`."""
    from conformance.run.acceptance import accepted
    from conformance.run.comparison import measured
    from conformance.verdict.deviations import as_yaml

    with told_plainly():
        if out.exists():
            raise ValueError(f"{out} is there already; name a new file, --deviations takes several")
        found = accepted([measured(path) for path in runs], reason)
        if not found:
            print("nothing is unexpected there", file=sys.stderr)
            raise typer.Exit(NOTHING)
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(as_yaml(found), encoding="utf-8", newline="\n")
    for deviation in found:
        cases = f"{len(deviation.cases)} case" + ("s" if len(deviation.cases) > 1 else "")
        print(f"{deviation.id}: {cases}")


def compare(
    before: Annotated[Path, typer.Argument(help="A run's .jsonl file, or a target's folder: its complete runs.")],
    after: Annotated[Path, typer.Argument(help="The same, later, or of another version, device or machine.")],
    format_: Annotated[str, typer.Option("--format", help="What to print: text, markdown or json.")] = "text",
    out: Annotated[Path | None, typer.Option("--out", help="An HTML page, beside what is printed.")] = None,
) -> None:
    """Says what is new, gone, changed or less exact; fails (1) only for what both runs have and got worse."""
    from conformance.report.comparison import as_json, markdown, text, write_page
    from conformance.run.comparison import compare_runs, measured

    with told_plainly():
        one_of("--format", format_, ("text", "markdown", "json"))
        found = compare_runs(measured(before), measured(after))
        if out is not None:
            write_page(found, out)
    if format_ == "json":
        print(json.dumps(as_json(found)))
    else:
        print(text(found) if format_ == "text" else markdown(found), end="")
    raise typer.Exit(UNEXPECTED if found.worse else 0 if found.compared else NOTHING)


def badge(
    file: Annotated[Path, typer.Option("-o", "--file", help="The SVG to write.")] = Path("badge.svg"),
    out: Out = Path("reports"),
) -> None:
    """Draws a badge of the newest results of every target."""
    from conformance.report.badge import badge as drawn
    from conformance.report.collection import collect

    with told_plainly():
        found = collect(out)
        if not found.entries:
            print(f"no results are under {out}", file=sys.stderr)
            raise typer.Exit(NOTHING)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(drawn(found), encoding="utf-8", newline="\n")
        print(file)
