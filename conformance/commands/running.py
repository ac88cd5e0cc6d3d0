"""Runs and trainings: asked, shown while they last, and told."""

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from conformance.arguments import (
    INCOMPLETE,
    NOTHING,
    UNEXPECTED,
    WRONG,
    Config,
    Formats,
    Jobs,
    Keyword,
    Layouts,
    MnistDir,
    MoreDeviations,
    Out,
    Paths,
    Repeat,
    Targets,
    TierName,
    cores,
    existing,
    formats_of,
    layouts_of,
    targets_of,
    tier_of,
    told_plainly,
)
from conformance.commands.display import print_execution, progress

if TYPE_CHECKING:
    from conformance.run.execute import Execution, Request


def run(
    paths: Paths = None,
    target: Targets = None,
    keyword: Keyword = "",
    tier: TierName = "core",
    formats: Formats = "",
    layouts: Layouts = "",
    out: Out = Path("reports"),
    format_: Annotated[str, typer.Option("--format", help="What to print: text or json.")] = "text",
    deviations: MoreDeviations = None,
    floor: Annotated[
        Path | None,
        typer.Option("--floor", help="Fail below these counts of AGREES: green cannot come from silence."),
    ] = None,
    summary: Annotated[
        Path | None, typer.Option("--summary", help="Markdown for CI: counts, and what is unexpected.")
    ] = None,
    timeout: Annotated[
        float,
        typer.Option(
            "--timeout", help="Seconds that one answer may take; five times that of networks and in costly modes."
        ),
    ] = 120.0,
    repeat: Repeat = 1,
    jobs: Jobs = 0,
    config: Config = None,
    training: Annotated[bool, typer.Option("--training/--no-training", help="Train the networks too.")] = True,
    mnist_dir: MnistDir = None,
) -> None:
    """Runs cases on targets, judges every answer, writes runs and the HTML report."""
    if format_ not in ("text", "json"):
        print(f"--format must be text or json, got {format_!r} (float formats are --formats)", file=sys.stderr)
        raise typer.Exit(WRONG)
    from conformance.run.execute import Request

    with told_plainly():
        request = Request(
            paths=existing(paths),
            targets=targets_of(target, config),
            keyword=keyword,
            tier=tier_of(tier),
            formats=formats_of(formats),
            layouts=layouts_of(layouts),
            out=out,
            deviations=tuple(deviations or ()),
            floor=floor,
            timeout=timeout,
            repeat=repeat,
            jobs=jobs or cores(),
            training=training,
            mnist=mnist_dir,
        )
        execution, report = _executed(request, quiet=format_ == "json")
        if summary is not None:
            from conformance.report.summary import markdown_summary

            summary.parent.mkdir(parents=True, exist_ok=True)
            summary.write_text(markdown_summary(execution), encoding="utf-8", newline="\n")
    if format_ == "json":
        from conformance.report.summary import json_summary

        print(json.dumps(json_summary(execution, report)))
    else:
        print_execution(execution, report)
    raise typer.Exit(_exit_code(execution))


def train(
    paths: Paths = None,
    target: Targets = None,
    keyword: Keyword = "",
    tier: TierName = "core",
    out: Out = Path("reports"),
    deviations: MoreDeviations = None,
    config: Config = None,
    mnist_dir: MnistDir = None,
) -> None:
    """Trains the networks alone, judged step by step; a call that was killed goes on where it was.

    Every twenty seconds a checkpoint is left in the folder of runs: parameters, slots, the step, the losses. The same
    call goes on from it, bit by bit; with another version of a framework, or another question, it begins anew.
    """
    from conformance.run.execute import Request

    with told_plainly():
        request = Request(
            paths=existing(paths),
            targets=targets_of(target, config),
            keyword=keyword,
            tier=tier_of(tier),
            out=out,
            deviations=tuple(deviations or ()),
            cases=False,
            mnist=mnist_dir,
        )
        execution, report = _executed(request, quiet=False)
    print_execution(execution, report)
    raise typer.Exit(_exit_code(execution))


def _executed(request: "Request", *, quiet: bool) -> "tuple[Execution, Path]":
    """What came of a request, and the report that tells it."""
    from conformance.report.page import write_report
    from conformance.run.execute import execute, left_out, select

    selection = select(request)
    if selection.empty:
        print("\n".join(("nothing is selected", *left_out(request))), file=sys.stderr)
        raise typer.Exit(NOTHING)
    request.out.mkdir(parents=True, exist_ok=True)
    with progress(quiet=quiet) as bars:
        execution = execute(request, selection, bars.advance, bars.step)
    return execution, write_report(request.out, deviations=selection.deviations)


def _exit_code(execution: "Execution") -> int:
    stale_in_ci = execution.stale if os.environ.get("CI") else ()
    if execution.unexpected or stale_in_ci or any(run.below_floor for run in execution.runs):
        return UNEXPECTED
    return 0 if execution.complete else INCOMPLETE
