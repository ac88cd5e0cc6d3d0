"""Which layer of one model is which of another: by order and shape, as a porter would say it.

Layers with parameters are told by their operator and the parameters' shapes; those without by operator and output.
The two sequences are aligned at the least cost; of layers that look alike, those after layers that look alike go
together, as the normalisations behind the two convolutions of a residual block. What stands in another order on
either side (the short cut of a residual block before the long way, or after) is paired afterwards, first with first.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from conformance.case.traces import TracedLayer
from conformance.case.yaml12 import read
from conformance.errors import InvalidModel

# What it costs to pair two layers, against leaving both alone: a layer of another output's shape is still the same
# one; another activation in the same place is more likely a slip than one too many on each side.
_OTHER_SOURCE: Final = 0.25
_OTHER_SHAPE: Final = 1.0
_OTHER_OPERATOR: Final = 3.0
_ALONE: Final = 2.0
_NEVER: Final = float("inf")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pairing:
    """Pairs in the order of the first model, and what has no partner."""

    pairs: tuple[tuple[TracedLayer, TracedLayer], ...]
    only_first: tuple[TracedLayer, ...] = ()
    only_second: tuple[TracedLayer, ...] = ()


def pair_layers(
    first: Sequence[TracedLayer], second: Sequence[TracedLayer], names: Mapping[str, str] | None = None
) -> Pairing:
    """Pairs the layers of two models.

    Args:
        first: layers in the order in which they ran.
        second: likewise.
        names: pairs that are given: a name of the first to one of the second.

    Raises:
        InvalidModel: if a given name is no layer's.
    """
    given = _given(first, second, names or {})
    found = dict(given)
    cost = _Costs(first, second)
    left = [layer for layer in first if layer.name not in found]
    right = [layer for layer in second if layer.name not in found.values()]
    found |= {a.name: b.name for a, b in _aligned(left, right, cost)}
    for most in (0.0, _OTHER_SOURCE):
        for a in left:
            free = [b for b in right if b.name not in found.values() and cost(a, b) <= most]
            if a.name not in found and free:
                found[a.name] = free[0].name
    by_name = {layer.name: layer for layer in second}
    return Pairing(
        pairs=tuple((a, by_name[found[a.name]]) for a in first if a.name in found),
        only_first=tuple(a for a in first if a.name not in found),
        only_second=tuple(b for b in second if b.name not in found.values()),
    )


def read_names(path: Path) -> dict[str, str]:
    """A file of pairs: `enc1.conv: enc1_conv`, one a line.

    Raises:
        InvalidModel: if it is anything else.
    """
    if not path.is_file():
        raise InvalidModel(str(path), "there is no such file; it says `name in --from: name in --to`, one a line")
    data = read(path).data
    if not isinstance(data, dict) or not all(isinstance(name, str) for pair in data.items() for name in pair):
        raise InvalidModel(str(path), "expected `name in --from: name in --to`, one a line")
    if len(set(data.values())) < len(data):
        raise InvalidModel(str(path), "a layer of --to is named twice")
    return data


def _given(first: Sequence[TracedLayer], second: Sequence[TracedLayer], names: Mapping[str, str]) -> dict[str, str]:
    for name, layers, which in (
        *((name, first, "--from") for name in names),
        *((name, second, "--to") for name in names.values()),
    ):
        known = [layer.name for layer in layers]
        if name not in known:
            raise InvalidModel(f"--map: {name!r}", f"no layer of {which} is called so; it has {', '.join(known)}")
    return dict(names)


def _parameter_shapes(layer: TracedLayer) -> dict[str, tuple[int, ...]]:
    return {operand: layer.operands[operand].shape for operand in layer.parameters}


class _Costs:
    """What it costs to pair two layers."""

    def __init__(self, first: Sequence[TracedLayer], second: Sequence[TracedLayer]) -> None:
        self._looks = tuple({layer.name: _look(layer) for layer in layers} for layers in (first, second))

    def __call__(self, a: TracedLayer, b: TracedLayer) -> float:
        one, two = _parameter_shapes(a), _parameter_shapes(b)
        # A bias, scale or offset that one of them leaves out is a finding; another kernel is another layer.
        alike = one.get("w") == two.get("w") and all(one[name] == two[name] for name in one.keys() & two.keys())
        if a.operator == b.operator and alike and bool(one) == bool(two):
            cost = 0.0 if a.output.shape == b.output.shape else _OTHER_SHAPE
            return cost if self._after(a, 0) == self._after(b, 1) else cost + _OTHER_SOURCE
        if not one and not two and _inputs(a) == _inputs(b) and a.output.shape == b.output.shape:
            return _OTHER_OPERATOR
        return _NEVER

    def _after(self, layer: TracedLayer, side: int) -> list[str]:
        return sorted(self._looks[side].get(name, "") for name in layer.sources)


def _look(layer: TracedLayer) -> str:
    return f"{layer.operator} {sorted(_parameter_shapes(layer).items())}"


def _inputs(layer: TracedLayer) -> int:
    return len(layer.operands) - len(layer.parameters)


def _aligned(
    first: Sequence[TracedLayer], second: Sequence[TracedLayer], cost: _Costs
) -> list[tuple[TracedLayer, TracedLayer]]:
    """The pairs of the cheapest alignment of two sequences."""
    width = len(second) + 1
    costs = [[_ALONE * (i + j) for j in range(width)] for i in range(len(first) + 1)]
    for i, a in enumerate(first, start=1):
        for j, b in enumerate(second, start=1):
            alone = min(costs[i - 1][j], costs[i][j - 1]) + _ALONE
            costs[i][j] = min(alone, costs[i - 1][j - 1] + cost(a, b))
    pairs = []
    i, j = len(first), len(second)
    while i and j:
        if costs[i][j] == costs[i - 1][j - 1] + cost(first[i - 1], second[j - 1]):
            i, j = i - 1, j - 1
            pairs.append((first[i], second[j]))
        elif costs[i][j] == costs[i - 1][j] + _ALONE:
            i -= 1
        else:
            j -= 1
    return pairs[::-1]
