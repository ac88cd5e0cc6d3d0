"""What moves or joins elements, and means over axes."""

import math
from dataclasses import dataclass
from typing import Final, Literal

from conformance.case.contract import LINEAR, NoAttributes, Operator, Shapes, X, Y, require, spatial
from conformance.case.geometry import Pads
from conformance.case.model import Shape


@dataclass(frozen=True, slots=True, kw_only=True)
class Pad:
    """A pair (low, high) for every axis, batch and channels included; the value stands in the mode constant alone.

    Modes are NumPy's: reflect leaves the edge out, symmetric repeats it (TensorFlow's names as well); edge is
    PyTorch's replicate, wrap its circular. A negative number cuts so many elements off its end, before anything is
    repeated.
    """

    padding: tuple[tuple[int, int], ...]
    mode: Literal["constant", "reflect", "symmetric", "edge", "wrap"] = "constant"
    value: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Concat:
    """The axis along which one array lies behind the other."""

    axis: int = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Mean:
    """The axes that are averaged, and whether they stay with size 1."""

    axes: tuple[int, ...]
    keepdims: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocks:
    """depth_to_space, space_to_depth: the side of a block, and how its pixels lie in the channels.

    "dcr" keeps the channels of one pixel together (TensorFlow), "crd" the pixels of one channel (PyTorch).
    """

    block: int
    order: Literal["dcr", "crd"] = "dcr"


def cuts(padding: Pads) -> Pads:
    """What negative pads take off both ends."""
    return tuple((max(-low, 0), max(-high, 0)) for low, high in padding)


def additions(padding: Pads) -> Pads:
    """What the others add to them."""
    return tuple((max(low, 0), max(high, 0)) for low, high in padding)


def pad_shapes(attributes: Pad, shapes: Shapes) -> dict[str, Shape]:
    """Every axis grows by its pair, or shrinks."""
    x = shapes["x"]
    require(len(attributes.padding) == len(x), f"padding must have {len(x)} pairs, got {len(attributes.padding)}")
    given = zip(x, cuts(attributes.padding), additions(attributes.padding), strict=True)
    for size, cut, pair in given:
        n = size - sum(cut)
        require(n >= 0, f"an axis of {size} has no {cut[0]} and {cut[1]} elements to be cut off")
        most = {"reflect": max(n - 1, 0), "symmetric": n, "wrap": n, "edge": max(pair) if n else 0}
        require(
            max(pair) <= most.get(attributes.mode, max(pair)),
            f"{attributes.mode} gives an axis of {n} at most {most.get(attributes.mode)} on a side, got {pair}",
        )
    return {"output": tuple(n + low + high for n, (low, high) in zip(x, attributes.padding, strict=True))}


def concat_shapes(attributes: Concat, shapes: Shapes) -> dict[str, Shape]:
    """X and y agree but for the axis, where they add up."""
    x, y = shapes["x"], shapes["y"]
    require(-len(x) <= attributes.axis < len(x), f"x of shape {x} has no axis {attributes.axis}")
    axis = attributes.axis % len(x)
    rest = x[:axis] + x[axis + 1 :]
    require(len(y) == len(x) and y[:axis] + y[axis + 1 :] == rest, f"y must be {x} but for axis {axis}, got {y}")
    return {"output": (*x[:axis], x[axis] + y[axis], *x[axis + 1 :])}


def mean_shapes(attributes: Mean, shapes: Shapes) -> dict[str, Shape]:
    """The axes go, or stay with size 1."""
    x, axes = shapes["x"], attributes.axes
    require(len(axes) > 0, "axes must name one axis at least")
    for axis in axes:
        require(-len(x) <= axis < len(x), f"x of shape {x} has no axis {axis}")
    places = {axis % len(x) for axis in axes}
    require(len(places) == len(axes), f"axes must be distinct, got {axes}")
    require(all(x[place] for place in places), f"the mean of no elements is asked, x has shape {x}")
    if attributes.keepdims:
        return {"output": tuple(1 if place in places else n for place, n in enumerate(x))}
    return {"output": tuple(n for place, n in enumerate(x) if place not in places)}


def _block(attributes: Blocks) -> int:
    require(attributes.block >= 1, f"block must be at least 1, got {attributes.block}")
    return attributes.block


def depth_to_space_shapes(attributes: Blocks, shapes: Shapes) -> dict[str, Shape]:
    """(batch, height, width, block^2 channels) -> (batch, height block, width block, channels)."""
    x, block = shapes["x"], _block(attributes)
    height, width = spatial(x, 2)
    require(x[-1] % block**2 == 0, f"blocks of {block} by {block} do not divide {x[-1]} channels")
    return {"output": (x[0], height * block, width * block, x[-1] // block**2)}


def space_to_depth_shapes(attributes: Blocks, shapes: Shapes) -> dict[str, Shape]:
    """(batch, height block, width block, channels) -> (batch, height, width, block^2 channels)."""
    x, block = shapes["x"], _block(attributes)
    height, width = spatial(x, 2)
    require(height % block == 0 and width % block == 0, f"blocks of {block} do not divide an image of shape {x}")
    return {"output": (x[0], height // block, width // block, x[-1] * block**2)}


def flatten_shapes(attributes: NoAttributes, shapes: Shapes) -> dict[str, Shape]:
    """(batch, ...) -> (batch, everything else)."""
    x = shapes["x"]
    require(len(x) >= 1, "x must have a batch axis, got a scalar")
    return {"output": (x[0], math.prod(x[1:]))}


OPERATORS: Final = (
    *(
        Operator(name=name, attributes=attributes, operands=operands, shapes=shapes, linear=True, data=LINEAR)
        for name, attributes, operands, shapes in (
            ("pad", Pad, (X,), pad_shapes),
            ("concat", Concat, (X, Y), concat_shapes),
            ("depth_to_space", Blocks, (X,), depth_to_space_shapes),
            ("space_to_depth", Blocks, (X,), space_to_depth_shapes),
            ("flatten", NoAttributes, (X,), flatten_shapes),
        )
    ),
    Operator(name="mean", attributes=Mean, operands=(X,), shapes=mean_shapes, data=("normal",)),
)
