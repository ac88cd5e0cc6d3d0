"""The command line.

Exit codes: 0 nothing unexpected; 1 something unexpected; 2 the call or a case file is wrong; 3 a target could not
start, or the run is incomplete; 5 nothing selected.

Each command imports what it needs: `--help` and `list` stay quick, and no command here imports a framework.
"""

import json
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, cast, get_args

import typer

from conformance.arguments import (
    INCOMPLETE,
    NOTHING,
    UNEXPECTED,
    WRONG,
    Config,
    Formats,
    Keyword,
    Layouts,
    MnistDir,
    MoreDeviations,
    Out,
    Paths,
    Repeat,
    Targets,
    TierName,
    cache_folder,
    did_you_mean,
    existing,
    formats_of,
    layouts_of,
    one_of,
    shipped_root,
    targets_of,
    tier_of,
    tiers_of,
    told_plainly,
)

if TYPE_CHECKING:
    from conformance.case.job import Target, Tensor
    from conformance.case.model import Case
    from conformance.run.execute import Execution, Request
    from conformance.run.mutate import Score
    from conformance.run.result import Result

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Does this operator do the same thing there? Conformance tests for convolutional networks.",
)

# Unexpected results that are printed; all of them stand in the report.
SHOWN: Final = 20


@app.command()
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
        float, typer.Option("--timeout", help="Seconds that one answer may take; five times that in costly modes.")
    ] = 120.0,
    repeat: Repeat = 1,
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
        _print_execution(execution, report)
    raise typer.Exit(_exit_code(execution))


@app.command()
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
    _print_execution(execution, report)
    raise typer.Exit(_exit_code(execution))


def _executed(request: "Request", *, quiet: bool) -> "tuple[Execution, Path]":
    """What came of a request, and the report that tells it."""
    from conformance.report.page import write_report
    from conformance.run.execute import execute, select

    selection = select(request)
    if selection.empty:
        print("nothing is selected", file=sys.stderr)
        raise typer.Exit(NOTHING)
    request.out.mkdir(parents=True, exist_ok=True)
    with _progress(quiet=quiet) as bars:
        execution = execute(request, selection, bars.advance, bars.step)
    return execution, write_report(request.out, deviations=selection.deviations)


def _exit_code(execution: "Execution") -> int:
    stale_in_ci = execution.stale if os.environ.get("CI") else ()
    if execution.unexpected or stale_in_ci or any(run.below_floor for run in execution.runs):
        return UNEXPECTED
    return 0 if execution.complete else INCOMPLETE


def _print_execution(execution: "Execution", report: Path) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console()
    table = Table("target", "results", "unexpected", "versions")
    for run in execution.runs:
        versions = run.description.versions if run.description else {}
        counts = sorted(run.counts.items(), key=lambda item: item[0].severity)
        table.add_row(
            escape(run.target.name),
            "\n".join(
                [f"{count} {outcome}" for outcome, count in counts]
                + ([f"{run.not_asked} not asked"] if run.not_asked else [])
            ),
            str(sum(result.unexpected for result in run.results)),
            "\n".join(f"{name} {version}" for name, version in versions.items() if name != "python"),
        )
    console.print(table)
    _print_readings(console, execution)
    for result in execution.unexpected[:SHOWN]:
        console.print(f"[bold]{escape(result.name)}[/bold] {result.outcome} ({result.reason})")
        console.print(escape(_indented("\n".join(filter(None, (result.detail, result.diagnosis))))))
    if len(execution.unexpected) > SHOWN:
        console.print(f"... and {len(execution.unexpected) - SHOWN} more unexpected results, all in the report")
    for result in execution.stale:
        console.print(f"stale: {escape(result.name)} agrees, but {', '.join(result.stale)} says otherwise")
    for run in execution.runs:
        for line in (*run.below_floor, *([run.error] if run.error else [])):
            console.print(escape(line))
    console.print(f"report: {escape(str(report))}", soft_wrap=True)


def _print_readings(console: Any, execution: "Execution") -> None:
    """Which reading every target's own default or option follows, where probes were asked."""
    from rich.markup import escape
    from rich.table import Column, Table

    found: dict[str, dict[str, dict[str, None]]] = {}
    for run in execution.runs:
        for result in run.results:
            if result.probe:
                found.setdefault(result.case, {}).setdefault(run.target.name, {})[result.told] = None
    if not found:
        return
    targets = list(dict.fromkeys(name for row in found.values() for name in row))
    table = Table(Column("convention", overflow="fold"), *map(escape, targets))
    for case, row in found.items():
        told = (" / ".join(row.get(name, ())) for name in targets)
        table.add_row(escape(case.removeprefix("conventions/")), *map(escape, told))
    console.print(table)


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.splitlines())


class _Bars:
    """A bar a target, and one a training while it lasts."""

    def __init__(self, display: Any) -> None:
        self._display = display
        self._bars: dict[str, Any] = {}

    def advance(self, target: "Target", done: int, total: int, result: "Result | None") -> None:
        """Shows how many of a target's questions are answered."""
        self._show(target.name, done, total)

    def step(self, training: str, who: str, step: int, steps: int) -> None:
        """Shows how far somebody came in a training."""
        name = f"{who} {training.removeprefix('training/')}"
        self._show(name, step, steps)
        if step == steps:
            self._display.remove_task(self._bars.pop(name))

    def _show(self, name: str, done: int, total: int) -> None:
        if name not in self._bars:
            self._bars[name] = self._display.add_task(name, total=total)
        self._display.update(self._bars[name], completed=done)


@contextmanager
def _progress(*, quiet: bool) -> Iterator[_Bars]:
    """Bars on standard error; nothing when it is not a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True, quiet=quiet or not sys.stderr.isatty())
    columns = (TextColumn("{task.description:<12}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as display:
        yield _Bars(display)


@app.command("list")
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
        print("nothing is selected", file=sys.stderr)
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


@app.command()
def explain(
    what: Annotated[
        str,
        typer.Argument(
            help='A case\'s id; an operator, conv2d if none; or layers: "Conv2D(8, 3) | Flatten()".',
            show_default=False,
        ),
    ] = "",
    paths: Annotated[
        list[Path] | None, typer.Argument(help="Where a case is; the shipped cases if none.", show_default=False)
    ] = None,
    input_: Annotated[
        str, typer.Option("--input", help="Sizes, as in 20x10; of layers with the channels: 20x10x1.")
    ] = "",
    kernel: Annotated[str, typer.Option("--kernel", help="The kernel's or window's sizes: 3, or 3x2.")] = "",
    stride: Annotated[str, typer.Option("--stride")] = "",
    padding: Annotated[
        str, typer.Option("--padding", help="same, valid, same_lower, 1, 1x2, or low:high pairs: 0:1x1:1.")
    ] = "",
    dilation: Annotated[str, typer.Option("--dilation")] = "",
    output_padding: Annotated[str, typer.Option("--output-padding")] = "",
    groups: Annotated[int | None, typer.Option("--groups", min=1)] = None,
    channels: Annotated[int | None, typer.Option("--channels", min=1, help="Channels of the data.")] = None,
    filters: Annotated[int | None, typer.Option("--filters", min=1, help="Channels of the output.")] = None,
    ceil: Annotated[bool, typer.Option("--ceil", help="The last window may hang over the end.")] = False,
    with_: Annotated[
        list[str] | None, typer.Option("--with", help="Any other attribute, as NAME=VALUE; repeatable.")
    ] = None,
    to: Annotated[
        str, typer.Option("--to", help="Whose calls are written: torch, keras, tf, jax; all if none.")
    ] = "",
    html: Annotated[Path | None, typer.Option("--html", help="Writes a page of it there, with drawings.")] = None,
) -> None:
    """Explains a case, an operator or a chain of layers: pads, windows, sizes, and the call in every framework.

    Calls are run against the reference before they are printed, where their framework is installed. Exit code 1: a
    layer cannot be given its data.
    """
    from conformance.case.operators import OPERATORS

    options = any((kernel, stride, padding, dilation, output_padding, groups, channels, filters, ceil, with_, to))
    with told_plainly():
        if "(" not in what and what not in OPERATORS and not (input_ and not what):
            if options or input_:
                hint = did_you_mean(what, OPERATORS)
                raise ValueError(f"there is no operator {what!r}, and a case says everything itself.{hint}")
            _explain_case(_find_case(what, paths), html)
            return
        from conformance.report.answers import explain_chain, explain_question
        from conformance.report.explained import write_answer
        from conformance.run.questions import Asked

        if "(" in what:
            if options:
                raise ValueError(
                    "layers say everything themselves: of the options only --input and --html go with them"
                )
            answer = explain_chain(what, input_)
        else:
            pairs = [entry.partition("=") for entry in with_ or ()]
            asked = Asked(
                operator=what or "conv2d",
                input=input_,
                kernel=kernel,
                stride=stride,
                padding=padding,
                dilation=dilation,
                output_padding=output_padding,
                groups=groups,
                channels=channels,
                filters=filters,
                ceil=ceil,
                more={name.strip(): value.strip() for name, _, value in pairs},
            )
            answer = explain_question(asked, to)
        print(answer)
        if html is not None:
            print(write_answer(answer, html))
    if not answer.whole:
        raise typer.Exit(UNEXPECTED)


def _explain_case(case: "Case", html: Path | None) -> None:
    from conformance.report.explained import write_case
    from conformance.report.explanation import explain as explained
    from conformance.run.store import case_record

    record = case_record(case)
    print(explained(record))
    if html is not None:
        print(write_case(record, html))


@app.command()
def port(
    layer: Annotated[str, typer.Argument(help='As one writes it: "nn.Conv2d(3, 8, 3, stride=2, padding=1)".')],
    source: Annotated[str, typer.Option("--from", help="torch or keras; what the layer's name tells if none.")] = "",
    to: Annotated[str, typer.Option("--to", help="torch, keras, tf, jax; all others if none.")] = "",
    input_: Annotated[
        str, typer.Option("--input", help="Sizes of its data without the batch, in its own order of axes.")
    ] = "",
) -> None:
    """Says a layer in other frameworks' words: the equivalent, run before it is said, or the nearest.

    The layer is read, never evaluated. Exit code 1: a framework has no exact equivalent.
    """
    from conformance.run.porting import port as ported
    from conformance.run.porting import source_of
    from conformance.run.questions import dialects_of

    with told_plainly():
        own = source_of(layer, source)
        answer = ported(layer, own, [target for target in dialects_of(to) if to or target != own], input_)
        print(answer)
    if not answer.exact:
        raise typer.Exit(UNEXPECTED)


def _find_case(case_id: str, paths: Sequence[Path] | None) -> "Case":
    from conformance.case.loading import load

    cases = {case.id: case for case in load(existing(paths) or (shipped_root(),))}
    if case_id not in cases:
        raise ValueError(f"there is no case {case_id!r}.{did_you_mean(case_id, cases)}")
    return cases[case_id]


@app.command()
def report(out: Out = Path("reports")) -> None:
    """Writes the HTML report anew from every run found."""
    from conformance.report.page import write_report
    from conformance.verdict.deviations import shipped_deviations

    with told_plainly():
        print(write_report(out, deviations=shipped_deviations()))


@app.command()
def repro(
    case_id: Annotated[str, typer.Argument(help="The case's id, as `conformance list` prints it.")],
    target: Annotated[str, typer.Option("-t", "--target", help="BACKEND[@INTERPRETER].")],
    paths: Annotated[list[Path] | None, typer.Argument(help="Where it is; the shipped cases if none.")] = None,
    format_: Annotated[str, typer.Option("--format", help="float32, or the first that the case has.")] = "",
    data: Annotated[str, typer.Option("--data", help="normal, or the first that the case has.")] = "",
    layout: Annotated[str, typer.Option("--layout", help="How the framework is given the arrays.")] = "native",
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="The script; an .npz beside it holds what is large.")
    ] = None,
) -> None:
    """Writes one script that asks a case of a framework anew: it needs that framework and NumPy alone."""
    from conformance.case.model import Layout
    from conformance.run.reproduction import reproduce, write

    with told_plainly():
        case = _find_case(case_id, paths)
        (asked,) = targets_of([target])
        one_of("--layout", layout, get_args(Layout))
        made = reproduce(case, asked, format_, data, cast(Layout, layout), inside=out is None)
        if out is None:
            print(made.text, end="")
        else:
            for path in write(made, out):
                print(path)


@app.command()
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


@app.command()
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


@app.command()
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


@app.command("check-backend")
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


@app.command()
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


ModelShape = Annotated[
    str, typer.Option("--shape", help="Instead of --input, random numbers of this shape: 1x3x32x32; commas between.")
]


def _model_inputs(data: Path | None, shape: str, framework: str) -> "tuple[Tensor, ...]":
    """What a model is given: a file's arrays, or drawn ones."""
    from conformance.run.hosted import draw_inputs, read_inputs

    if (data is None) == (not shape):
        raise ValueError("what is the model given? Name one of --input x.npz and --shape 1x3x32x32")
    return read_inputs(data, framework) if data is not None else draw_inputs(shape, framework)


@app.command()
def parity(
    first: Annotated[str, typer.Option("--from", help="What is ported: torch:unet.py:build, keras:FILE:FUNCTION.")],
    second: Annotated[
        str, typer.Option("--to", help="The port, likewise; FRAMEWORK@PYTHON for another interpreter.")
    ],
    data: Annotated[Path | None, typer.Option("--input", help=".npz or .npy, as --from takes it.")] = None,
    shape: ModelShape = "",
    weights: Annotated[
        Path | None, typer.Option("--weights", help="Of --from: .pt, .safetensors, .keras, .npz.")
    ] = None,
    names: Annotated[
        Path | None, typer.Option("--map", help="YAML: pairs of layers by name, where order and shape do not do.")
    ] = None,
    training: Annotated[
        bool, typer.Option("--training", help="As in training, but without dropout: running statistics are judged.")
    ] = False,
) -> None:
    """Compares two models of yours layer by layer: the first that differs, what it does instead, what to write."""
    from conformance.report.parity import parity_text
    from conformance.run.hosted import HostedModel, ModelSpec
    from conformance.run.pairing import read_names
    from conformance.run.parity import compare_models

    with told_plainly():
        specs = ModelSpec.parse(first, weights), ModelSpec.parse(second)
        inputs = _model_inputs(data, shape, specs[0].framework)
        pairs = read_names(names) if names is not None else None
        with HostedModel(specs[0], training=training) as one, HostedModel(specs[1], training=training) as two:
            found = compare_models(one, two, inputs, pairs)
    print(parity_text(found), end="")
    raise typer.Exit(0 if found.agrees else UNEXPECTED)


@app.command()
def capture(
    model: Annotated[str, typer.Argument(help="torch:unet.py:build, keras:FILE:FUNCTION, jax:FILE:FUNCTION.")],
    out: Annotated[Path, typer.Option("-o", "--output", help="The folder of case files that is written.")],
    data: Annotated[Path | None, typer.Option("--input", help=".npz or .npy, as the model takes it.")] = None,
    shape: ModelShape = "",
    weights: Annotated[
        Path | None, typer.Option("--weights", help="Its weights, if it does not run without.")
    ] = None,
) -> None:
    """Turns every layer of a model of yours, with its real shapes, into cases."""
    from conformance.run.capture import captured_cases, write_cases
    from conformance.run.hosted import HostedModel, ModelSpec

    with told_plainly():
        spec = ModelSpec.parse(model, weights)
        inputs = _model_inputs(data, shape, spec.framework)
        with HostedModel(spec) as hosted:
            found = hosted.run_whole(inputs)
        cases = captured_cases(spec.name, found.layers, out)
        paths = write_cases(cases, out)
    for line in found.unrecognised:
        print(f"not captured: {line}", file=sys.stderr)
    print(f"{len(found.layers)} layers, {len(cases)} questions: {', '.join(map(str, paths)) or 'nothing to write'}")
    raise typer.Exit(0 if cases else NOTHING)


@app.command()
def convert(
    weights: Annotated[
        Path,
        typer.Argument(help="Of --from: .pt, .safetensors, .keras, .weights.h5, .npz; or a network's .yaml."),
    ],
    second: Annotated[
        str,
        typer.Option("--to", help="The model that gets them: keras:unet_keras.py:build; of a network: torch, keras."),
    ],
    out: Annotated[Path, typer.Option("-o", "--output", help="The .safetensors file that is written.")],
    first: Annotated[str, typer.Option("--from", help="Whose weights they are: torch:unet.py:build.")] = "",
    data: Annotated[
        Path | None, typer.Option("--input", help=".npz or .npy, as --from takes it: layers are seen at work.")
    ] = None,
    shape: ModelShape = "",
    form: Annotated[str, typer.Option("--form", help="Of a network: its first form if none is named.")] = "",
    names: Annotated[
        Path | None, typer.Option("--map", help="YAML: pairs of layers by name, where order and shape do not do.")
    ] = None,
) -> None:
    """Writes weights as another model has them, bit by bit; or a network's first ones as a framework has them."""
    from conformance.run.convert import convert_weights
    from conformance.run.hosted import HostedModel, ModelSpec
    from conformance.run.initialised import write_initial_weights
    from conformance.run.pairing import read_names

    with told_plainly():
        if weights.suffix == ".yaml":
            print(write_initial_weights(weights, form, second, out))
            return
        if not first:
            raise ValueError(f"{weights}: whose weights are they? Give --from torch:unet.py:build")
        specs = ModelSpec.parse(first, weights), ModelSpec.parse(second)
        inputs = _model_inputs(data, shape, specs[0].framework)
        pairs = read_names(names) if names is not None else None
        with HostedModel(specs[0]) as one, HostedModel(specs[1]) as two:
            count = convert_weights(one, two, inputs, out, pairs)
    print(f"{count} parameters of {specs[0].name} as {specs[1].name} has them: {out}")


@app.command()
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


@app.command()
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


@app.command("lint-cases")
def lint_cases(paths: Paths = None) -> None:
    """Refuses sets of cases that cannot see the usual faults, questions asked twice, readings that look alike."""
    from conformance.case.linting import lint
    from conformance.case.loading import load
    from conformance.run.probes import lint_probes

    with told_plainly():
        cases = load(existing(paths) or (shipped_root(),))
        problems = (*lint(cases), *lint_probes(cases))
    for problem in problems:
        print(problem)
    raise typer.Exit(WRONG if problems else 0)


@app.command()
def schema() -> None:
    """Prints the JSON schema of case files."""
    from conformance.case.loading import schema as case_schema

    print(json.dumps(case_schema(), indent=2))


@app.command()
def doctor() -> None:
    """Says what is installed, what each backend tells of itself, and which extra would replace what is there."""
    from conformance.run.doctor import examine

    failed = False
    for line in examine():
        print(line.text)
        failed |= line.failed
    raise typer.Exit(INCOMPLETE if failed else 0)


@app.command("mnist-download")
def mnist_download(
    folder: Annotated[Path, typer.Argument(help="Where the four official files go.")],
    base_url: Annotated[str, typer.Argument(help="A mirror of the four files: its address up to the file names.")],
) -> None:
    """Fetches the official MNIST files from a mirror of your choice and checks their digests."""
    from conformance.run.digits import download

    with told_plainly():
        for path in download(folder, base_url):
            print(path)
