"""Random questions, a module a family: attributes and shapes drawn from the operators' contracts.

They are the same for the same seed everywhere.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from conformance.case.model import Case, FormatName, TensorSpec, Where
from conformance.case.operators import OPERATORS
from conformance.errors import ImpossibleShape
from conformance.run.sampling import (
    activations,
    arrays,
    backward,
    convolution,
    losses,
    normalization,
    polynomial,
    pooling,
    products,
    resizing,
    signals,
    steps,
    windows,
)
from conformance.run.sampling.dice import ORDINARY, SMALL, Dice, Drawn, Extent, Sampler

# Shapes that may be drawn in vain before a sampler counts as broken; about every third one is impossible.
TRIES: Final = 200
HERE: Final = Where(path=Path("random.yaml"), line=1, column=1)
SAMPLERS: Final[Mapping[str, Sampler]] = MappingProxyType(
    {
        **convolution.SAMPLERS,
        **pooling.SAMPLERS,
        **arrays.SAMPLERS,
        **products.SAMPLERS,
        **signals.SAMPLERS,
        **activations.SAMPLERS,
        **normalization.SAMPLERS,
        **losses.SAMPLERS,
        **polynomial.SAMPLERS,
        **steps.SAMPLERS,
        **resizing.SAMPLERS,
        **windows.SAMPLERS,
        **backward.SAMPLERS,
    }
)
"""How each operator's questions are drawn, in the order in which operators take turns; a test tells of a missing one.

A line in its family's table will do for what goes element by element (`spread_of`) and for updates (`_update` in
`steps`); for the rest a function that draws attributes and shapes, without asking whether they fit.
"""


def undrawn() -> tuple[str, ...]:
    """The operators without a sampler; chains are made of others."""
    return tuple(name for name in OPERATORS if name not in SAMPLERS and name != "chain")


def draw(
    operator: str,
    number: int,
    *,
    seed: int = 0,
    extent: Extent = ORDINARY,
    formats: tuple[FormatName, ...] = ("float32", "float64"),
) -> Case:
    """The so-and-so-many-th random question of an operator.

    Raises:
        KeyError: if the operator has no sampler.
    """
    contract = OPERATORS[operator]
    dice = Dice(seed, f"{operator} {number} {extent}")
    for _ in range(TRIES):
        try:
            drawn = SAMPLERS[operator](dice, extent, contract.rank)
            attributes = contract.resolve(drawn.attributes)
            contract.shapes(attributes, drawn.shapes)
        except ImpossibleShape:
            continue
        return Case(
            id=f"{operator}/{'-'.join(('random', str(number), *drawn.features))}",
            operator=operator,
            attributes=attributes,
            inputs={
                name: TensorSpec(shape=shape, source=drawn.fills.get(name)) for name, shape in drawn.shapes.items()
            },
            # Special values ask for conventions, which differ: they have cases of their own.
            data=tuple(data for data in contract.data if data != "special"),
            formats=formats,
            about=f"Drawn at random from the contract of {operator}, seed {seed}.",
            where=HERE,
        )
    raise RuntimeError(f"the sampler of {operator} draws nothing but impossible shapes")


def drawn(operators: Sequence[str], *, seed: int = 0, extent: Extent = ORDINARY, **how: Any) -> Iterator[Case]:
    """Random questions without end, the operators in turn."""
    number = 0
    while operators:
        for operator in operators:
            yield draw(operator, number, seed=seed, extent=extent, **how)
        number += 1


__all__ = ["HERE", "ORDINARY", "SAMPLERS", "SMALL", "Dice", "Drawn", "Extent", "Sampler", "draw", "drawn", "undrawn"]
