"""The layers of a user's model as cases: the geometry that it really has, once each."""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from conformance.case.linting import CAPTURED
from conformance.case.model import Case, TensorSpec, Where
from conformance.case.operators import OPERATORS
from conformance.case.resolved import question
from conformance.case.traces import TracedLayer
from conformance.case.writing import as_yaml
from conformance.errors import InvalidModel


def captured_cases(model: str, layers: Sequence[TracedLayer], folder: Path) -> tuple[Case, ...]:
    """One case for every question that the layers ask; of several layers that ask the same, the first."""
    found: dict[tuple[str, object], Case] = {}
    for layer in layers:
        name = re.sub(r"[^a-z0-9]+", "-", layer.name.lower()).strip("-")
        case = Case(
            id=f"{layer.operator}/{name}",
            operator=layer.operator,
            attributes=layer.attributes,
            inputs={operand: TensorSpec(shape=tensor.shape) for operand, tensor in layer.operands.items()},
            data=OPERATORS[layer.operator].data,
            about=f"{layer.name} is {layer.native}.",
            source=f"{CAPTURED}{model}",
            where=Where(path=folder / f"{layer.operator}.yaml", line=0, column=0),
        )
        found.setdefault((case.operator, question(replace(case, id=""))), case)
    return tuple(found.values())


def write_cases(cases: Sequence[Case], folder: Path) -> tuple[Path, ...]:
    """One file an operator.

    Raises:
        InvalidModel: if a file is there already.
    """
    files: dict[Path, list[Case]] = {}
    for case in cases:
        files.setdefault(case.where.path, []).append(case)
    there = [str(path) for path in files if path.exists()]
    if there:
        raise InvalidModel(", ".join(there), "is there already, and nothing is overwritten; name another folder")
    folder.mkdir(parents=True, exist_ok=True)
    for path, own in files.items():
        path.write_text(as_yaml(*own), encoding="utf-8", newline="\n")
    return tuple(files)
