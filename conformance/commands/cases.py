"""Cases looked at, without running anything: their names and numbers, their faults, their grammar."""

import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from conformance.arguments import (
    NOTHING,
    WRONG,
    Keyword,
    Paths,
    Targets,
    TierName,
    cache_folder,
    existing,
    shipped_root,
    targets_of,
    tier_of,
    tiers_of,
    told_plainly,
)

if TYPE_CHECKING:
    from conformance.case.job import Target


def list_(
    paths: Paths = None,
    target: Targets = None,
    keyword: Keyword = "",
    tier: TierName = "full",
    stats: Annotated[
        bool, typer.Option("--stats", help="Counts by operator, tier, format, layout and check.")
    ] = False,
) -> None:
    """Lists cases (with --target, items), without running anything."""
    from conformance.case.listing import list_cases, suite_version
    from conformance.run.keyword import compile_keyword

    with told_plainly():
        wanted = compile_keyword(keyword)
        files = existing(paths) or (shipped_root(),)
        cases = [case for case in list_cases(files, cache_folder()) if case.tier in tiers_of(tier)]
        targets = targets_of(target)
        if targets:
            names = _item_names(files, targets, keyword, tier)
        else:
            names = [case.id for case in cases if wanted(case.id)]
        if not names:
            from conformance.run.execute import Request, left_out

            asked = Request(paths=tuple(paths or ()), tier=tier_of(tier), training=False)
            print("\n".join(("nothing is selected", *left_out(asked))), file=sys.stderr)
            raise typer.Exit(NOTHING)
    if stats:
        from conformance.case.loading import load
        from conformance.report.statistics import statistics

        shown = {case.id for case in cases if wanted(case.id)}
        # What is piped is cut and sorted by others, and has no edge to stay within.
        width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
        print("\n".join(statistics([case for case in load(files) if case.id in shown], tiers_of, width)))
        if version := suite_version(files):
            print(f"The shipped cases are of version {version}.")
    else:
        print("\n".join(names))


def _item_names(files: Sequence[Path], targets: "Sequence[Target]", keyword: str, tier: str) -> list[str]:
    """What is asked of targets, by name, case by case."""
    from conformance.case.loading import load
    from conformance.run.plan import plan
    from conformance.worker.gateway import costly, covers, layout_of

    items = plan(
        load(files),
        targets,
        tier=tier_of(tier),
        keyword=keyword,
        covers=covers,
        layout_of=layout_of,
        costly=costly,
    )
    return [item.name for item in items]


def lint_cases(paths: Paths = None) -> None:
    """Refuses sets of cases that cannot see the usual faults, questions asked twice, readings that look alike."""
    from conformance.case.linting import lint
    from conformance.case.loading import load
    from conformance.case.training import load_trainings
    from conformance.run.probes import lint_probes

    with told_plainly():
        files = existing(paths) or (shipped_root(),)
        cases = load(files)
        load_trainings(files)
        problems = (*lint(cases), *lint_probes(cases))
    for problem in problems:
        print(problem)
    raise typer.Exit(WRONG if problems else 0)


def schema() -> None:
    """Prints the JSON schema of case files."""
    from conformance.case.loading import schema as case_schema

    print(json.dumps(case_schema(), indent=2))
