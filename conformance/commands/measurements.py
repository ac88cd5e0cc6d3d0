"""What things cost: how fast the reference and the backends learn, and what a verdict adds to the reference."""

import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from conformance.arguments import UNEXPECTED, WRONG, Config, Targets, shipped_root, targets_of, told_plainly

if TYPE_CHECKING:
    from conformance.run.bench import Bench
    from conformance.run.cost import Cost


def bench(
    target: Targets = None,
    steps: Annotated[int, typer.Option("--steps", min=1, help="Steps that are timed, after a first one.")] = 5,
    format_: Annotated[str, typer.Option("--format", help="What to print: text or json.")] = "text",
    config: Config = None,
) -> None:
    """Measures how fast the MNIST network learns, the reference beside torch, and what a verdict costs.

    Exit code 1: the reference has less than a third of torch's speed in float64, one thread each.
    """
    if format_ not in ("text", "json"):
        print(f"--format must be text or json, got {format_!r}", file=sys.stderr)
        raise typer.Exit(WRONG)
    from conformance.case.job import Target
    from conformance.case.loading import load
    from conformance.case.training import load_trainings
    from conformance.run.bench import TRAINING
    from conformance.run.bench import bench as measured
    from conformance.run.cost import NETWORKS, cost
    from conformance.worker.gateway import installed_backends, require_known, trains

    def progress(what: str) -> None:
        print(f"measuring {what}", file=sys.stderr)

    with told_plainly():
        targets = targets_of(target, config) or tuple(Target(backend=name) for name in installed_backends())
        for one in targets:
            require_known(one)
        (training,) = (one for one in load_trainings((shipped_root() / "training",)) if one.id == TRAINING)
        found = measured(training, [one for one in targets if trains(one)], steps=steps, progress=progress)
        costs = []
        for name in NETWORKS:
            progress(f"verdicts over {name}")
            layers = load((shipped_root() / "published" / f"{name}.yaml",))
            costs.append(cost(name, [layer for layer in layers if layer.tier == "full"]))
    if format_ == "json":
        print(json.dumps({**found.plain(), "verdicts": [one.plain() for one in costs]}, indent=2))
    else:
        _print(found, costs)
    raise typer.Exit(UNEXPECTED if found.slow else 0)


def _print(found: "Bench", costs: "Sequence[Cost]") -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Column, Table

    from conformance.run.cost import AT_MOST

    numbers = (Column(name, justify="right") for name in ("steps a second", "milliseconds a step"))
    speeds = Table("target", "format", *numbers)
    for speed in found.speeds:
        told = (escape(speed.error), "")
        if speed.seconds:
            told = (f"{speed.steps_a_second:.2f}", f"{1e3 * speed.seconds:.1f}")
        speeds.add_row(escape(speed.target), speed.format, *told)
    console = Console()
    console.print(speeds)
    if found.share is not None:
        console.print(f"the reference has {found.share:.2f} of torch's speed in float64, and must have a third")
    names = ("layers", "reference, seconds", "with bound and verdict", "times")
    verdicts = Table("network", *(Column(name, justify="right") for name in names))
    for one in costs:
        verdicts.add_row(
            one.name, str(one.questions), f"{one.reference:.2f}", f"{one.verdict:.2f}", f"{one.times:.2f}"
        )
    console.print(verdicts)
    console.print(f"reference, bound and verdict should take {AT_MOST} times the reference alone at most")
