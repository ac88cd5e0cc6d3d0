"""A user's own models: compared, made into cases, their weights carried over."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from conformance.arguments import NOTHING, UNEXPECTED, told_plainly

if TYPE_CHECKING:
    from conformance.case.job import Tensor


ModelShape = Annotated[
    str, typer.Option("--shape", help="Instead of --input, random numbers of this shape: 1x3x32x32; commas between.")
]


def _model_inputs(data: Path | None, shape: str, framework: str) -> "tuple[Tensor, ...]":
    """What a model is given: a file's arrays, or drawn ones."""
    from conformance.run.hosted import draw_inputs, read_inputs

    if (data is None) == (not shape):
        raise ValueError("what is the model given? Name one of --input x.npz and --shape 1x3x32x32")
    return read_inputs(data, framework) if data is not None else draw_inputs(shape, framework)


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


def capture(
    model: Annotated[str, typer.Argument(help="torch:unet.py:build, keras:FILE:FUNCTION, jax:FILE:FUNCTION.")],
    out: Annotated[Path, typer.Option("-o", "--output", help="The folder of case files that is written.")],
    data: Annotated[Path | None, typer.Option("--input", help=".npz or .npy, as the model takes it.")] = None,
    shape: ModelShape = "",
    weights: Annotated[
        Path | None, typer.Option("--weights", help="Its weights, if it does not run without.")
    ] = None,
    training: Annotated[
        bool,
        typer.Option("--training", help="As in training, but without dropout: batches give their own statistics."),
    ] = False,
) -> None:
    """Turns every layer of a model of yours, with its real shapes, into cases."""
    from conformance.run.capture import captured_cases, write_cases
    from conformance.run.hosted import HostedModel, ModelSpec

    with told_plainly():
        spec = ModelSpec.parse(model, weights)
        inputs = _model_inputs(data, shape, spec.framework)
        with HostedModel(spec, training=training) as hosted:
            found = hosted.run_whole(inputs)
        cases = captured_cases(spec.name, found.layers, out)
        paths = write_cases(cases, out)
    for line in found.unrecognised:
        print(f"not captured: {line}", file=sys.stderr)
    print(f"{len(found.layers)} layers, {len(cases)} questions: {', '.join(map(str, paths)) or 'nothing to write'}")
    raise typer.Exit(0 if cases else NOTHING)


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
