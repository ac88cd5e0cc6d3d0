"""Checks of what answers and of what judges: a backend's contract, the cases, the reference, the rule."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from conformance.arguments import (
    NOTHING,
    UNEXPECTED,
    Config,
    Formats,
    Keyword,
    Out,
    Paths,
    Targets,
    TierName,
    existing,
    formats_of,
    shipped_root,
    targets_of,
    tier_of,
    told_plainly,
)

if TYPE_CHECKING:
    from conformance.run.mutate import Score


def check_backend(
    name: Annotated[
        str, typer.Argument(help="A target: a backend's name, perhaps with device, modes and interpreter.")
    ],
    config: Config = None,
) -> None:
    """Runs the contract that every backend keeps over an installed one."""
    from conformance.worker.contract import check_contract
    from conformance.worker.gateway import Worker

    with told_plainly():
        worker = Worker(targets_of([name], config)[0])
        try:
            clauses = check_contract(worker)
        finally:
            worker.close()
    for clause in clauses:
        print(
            f"{'holds ' if clause.held else 'BROKEN'}  {clause.name}"
            + (f": {clause.detail}" if clause.detail else "")
        )
    raise typer.Exit(0 if all(clause.held for clause in clauses) else UNEXPECTED)


def mutate(
    paths: Paths = None,
    keyword: Keyword = "",
    tier: TierName = "core",
    every: Annotated[
        bool, typer.Option("--all", help="Ask every case of every variant, and list survivors.")
    ] = False,
) -> None:
    """Lets known other readings of operators answer the cases: what no case notices is a hole in them."""
    from conformance.case.loading import load
    from conformance.run.mutate import mutate as score

    with told_plainly():
        found = score(load(existing(paths) or (shipped_root(),)), tier=tier_of(tier), keyword=keyword, every=every)
    if not found.mutants:
        print("nothing is selected", file=sys.stderr)
        raise typer.Exit(NOTHING)
    _print_score(found, every=every)
    raise typer.Exit(UNEXPECTED if found.alive else 0)


def _print_score(found: "Score", *, every: bool) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console()
    table = Table("operator", "killed", "survived", "equivalent", "score")
    for operator in found.operators:
        killed, survived, equivalent = (found.count(operator, s) for s in ("killed", "survived", "equivalent"))
        share = f"{100 * killed / (killed + survived + equivalent):.0f} %"
        table.add_row(operator, str(killed), str(survived), str(equivalent), share)
    console.print(table)
    if every:
        for mutant in found.mutants:
            for case_id in mutant.survived:
                console.print(escape(f"{case_id} does not notice: {mutant.variant.name}"), soft_wrap=True)
    for mutant in found.alive:
        why = "no case notices" if mutant.status == "survived" else "no case could notice"
        console.print(
            escape(f"{mutant.operator}: {why} {mutant.variant.name!r}; add a case with {mutant.variant.seen_by}"),
            soft_wrap=True,
        )
    total = len(found.mutants)
    console.print(f"{total - len(found.alive)} of {total} variants of {len(found.operators)} operators are noticed")


def fuzz(
    target: Annotated[str, typer.Option("-t", "--target", help="BACKEND[:DEVICE][+MODE][@INTERPRETER].")],
    elements: Annotated[int, typer.Option("--elements", min=1, help="How many are judged at least.")] = 1_000_000,
    seed: Annotated[int, typer.Option("--seed", help="Draws the same questions again.")] = 0,
    keyword: Keyword = "",
    formats: Formats = "float32,float64",
    config: Config = None,
) -> None:
    """Asks a target random questions: whatever does not agree is a false alarm, or a fault that nobody knew."""
    from conformance.report.selfcheck import fuzz_text
    from conformance.run.engine import Session
    from conformance.run.fuzz import fuzz as fuzzed
    from conformance.verdict.deviations import shipped_deviations

    with told_plainly():
        (asked,) = targets_of([target], config)
        session = Session(asked, shipped_deviations())
        try:
            chosen = formats_of(formats, integers=False)
            found = fuzzed(session, elements=elements, seed=seed, keyword=keyword, formats=chosen)
        finally:
            session.close()
    print(fuzz_text(found), end="")
    raise typer.Exit(UNEXPECTED if found.alarms else 0 if found.elements else NOTHING)


def selfcheck(
    target: Targets = None,
    paths: Paths = None,
    elements: Annotated[
        int, typer.Option("--elements", min=1, help="Of each target, judged in search of false alarms.")
    ] = 1_000_000,
    seed: Annotated[int, typer.Option("--seed", help="Draws other questions.")] = 0,
    reference: Annotated[
        bool, typer.Option("--reference/--no-reference", help="Check reference, rule and cases too.")
    ] = True,
    out: Out = Path("reports"),
) -> None:
    """Shows why the verdict may be believed: checks the reference, the rule and the cases, and targets if named."""
    from conformance.case.loading import load
    from conformance.report.page import write_report
    from conformance.report.selfcheck import text
    from conformance.run.selfcheck import check_reference, check_target, write
    from conformance.verdict.deviations import shipped_deviations

    def progress(name: str) -> None:
        print(name, file=sys.stderr)

    records = []
    with told_plainly():
        asked, deviations = targets_of(target), shipped_deviations()
        cases = load(existing(paths) or (shipped_root(),))
        if reference:
            records.append(check_reference(cases, seed=seed, progress=progress))
        records += [
            check_target(one, cases, deviations, elements=elements, seed=seed, progress=progress) for one in asked
        ]
        if not records:
            print("nothing is selected", file=sys.stderr)
            raise typer.Exit(NOTHING)
        for record in records:
            print(text(record), end="")
            print(f"record: {write(record, out)}")
        print(f"report: {write_report(out, deviations=deviations)}")
    raise typer.Exit(0 if all(record.passed for record in records) else UNEXPECTED)
