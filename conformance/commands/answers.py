"""Answers to one question: what happens, how it is written elsewhere, a script that asks it anew."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast, get_args

import typer

from conformance.arguments import UNEXPECTED, did_you_mean, existing, one_of, shipped_root, targets_of, told_plainly

if TYPE_CHECKING:
    from conformance.case.model import Case


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


def _find_case(case_id: str, paths: Sequence[Path] | None) -> "Case":
    from conformance.case.loading import load

    cases = {case.id: case for case in load(existing(paths) or (shipped_root(),))}
    if case_id not in cases:
        raise ValueError(f"there is no case {case_id!r}.{did_you_mean(case_id, cases)}")
    return cases[case_id]
