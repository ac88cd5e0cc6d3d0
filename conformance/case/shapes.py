"""Shape functions: (attributes, operand shapes) -> output shapes.

They raise `ImpossibleShape` where the question has no answer.
"""

import math
from collections.abc import Mapping
from typing import Any

from conformance.case.attributes import (
    AveragePool,
    Blocks,
    Concat,
    Convolution,
    CrossEntropy,
    Dropout,
    HardTanh,
    MaxPool,
    Mean,
    NoAttributes,
    Pad,
    Signal,
    Softmax,
    TransposedConvolution,
    per_axis_names,
)
from conformance.case.geometry import resolve_pads, transposed_crop, window_count
from conformance.case.model import Shape
from conformance.errors import ImpossibleShape

Shapes = Mapping[str, Shape]


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ImpossibleShape(message)


def _spatial(x: Shape, rank: int) -> Shape:
    _require(len(x) == rank + 2, f"x must have {rank + 2} axes (batch, {rank} spatial, channels), got shape {x}")
    return x[1:-1]


def _channels(x: Shape, w: Shape, groups: int, *, transposed: bool) -> int:
    """Checks a kernel against data and groups, and gives the output's channels."""
    _require(len(w) == len(x), f"w must have {len(x)} axes, got shape {w}")
    _require(groups >= 1, f"groups must be at least 1, got {groups}")
    inside, outside = (w[-1], w[-2] * groups) if transposed else (w[-2] * groups, w[-1])
    _require(
        x[-1] == inside,
        f"x has {x[-1]} channels, w of shape {w} with {groups} group(s) reads {inside}",
    )
    divided = inside if transposed else outside
    _require(divided % groups == 0, f"{groups} groups do not divide {divided} channels")
    _require(inside > 0 and outside > 0, f"w must have channels, got shape {w}")
    return outside


def _check_bias(shapes: Shapes, channels: int) -> None:
    if "b" in shapes:
        _require(shapes["b"] == (channels,), f"b must have shape ({channels},), got {shapes['b']}")


def _check_padding(attributes: Any, rank: int, channels: int | None = None) -> None:
    for name in per_axis_names(type(attributes)):
        value = getattr(attributes, name)
        if isinstance(value, tuple):
            _require(len(value) == rank, f"{name} must have {rank} entries, got {value}")
    if isinstance(attributes.padding, tuple):
        for pair in attributes.padding:
            _require(min(pair) >= 0, f"pads must not be negative, got {pair}")


def convolution_shapes(attributes: Convolution, shapes: Shapes) -> dict[str, Shape]:
    """Output (batch, windows, out)."""
    x, w = shapes["x"], shapes["w"]
    rank = len(attributes.stride)
    sizes = _spatial(x, rank)
    channels = _channels(x, w, attributes.groups, transposed=False)
    _check_bias(shapes, channels)
    _check_padding(attributes, rank)
    for name in ("stride", "dilation"):
        _require(min(getattr(attributes, name)) >= 1, f"{name} must be at least 1, got {getattr(attributes, name)}")
    pads = resolve_pads(attributes.padding, sizes, w[:rank], attributes.stride, attributes.dilation)
    counts = window_count(sizes, pads, w[:rank], attributes.stride, attributes.dilation)
    return {"output": (x[0], *counts, channels)}


def transposed_shapes(attributes: TransposedConvolution, shapes: Shapes) -> dict[str, Shape]:
    """Output (batch, cropped canvas, out)."""
    x, w = shapes["x"], shapes["w"]
    rank = len(attributes.stride)
    sizes = _spatial(x, rank)
    channels = _channels(x, w, attributes.groups, transposed=True)
    _check_bias(shapes, channels)
    _check_padding(attributes, rank)
    _, outputs = transposed_crop(
        attributes.padding, sizes, w[:rank], attributes.stride, attributes.dilation, attributes.output_padding
    )
    return {"output": (x[0], *outputs, channels)}


def pool_shapes(attributes: MaxPool | AveragePool, shapes: Shapes) -> dict[str, Shape]:
    """Output (batch, windows, channels)."""
    x = shapes["x"]
    rank = len(attributes.window)
    sizes = _spatial(x, rank)
    _check_padding(attributes, rank)
    dilation = attributes.dilation if isinstance(attributes, MaxPool) else (1,) * rank
    for name, values in (("window", attributes.window), ("stride", attributes.stride), ("dilation", dilation)):
        _require(min(values) >= 1, f"{name} must be at least 1, got {values}")
    pads = resolve_pads(attributes.padding, sizes, attributes.window, attributes.stride, dilation)
    if isinstance(attributes.padding, tuple):
        for window, d, pair in zip(attributes.window, dilation, pads, strict=True):
            _require(
                max(pair) <= ((window - 1) * d + 1) // 2,
                f"pads of a pool must be at most half its window ({window}), or a window may hold padding alone; "
                f"got {pair}",
            )
    counts = window_count(sizes, pads, attributes.window, attributes.stride, dilation, ceil_mode=attributes.ceil_mode)
    return {"output": (x[0], *counts, x[-1])}


def pad_shapes(attributes: Pad, shapes: Shapes) -> dict[str, Shape]:
    """Every axis grows by its pair."""
    x = shapes["x"]
    _require(len(attributes.padding) == len(x), f"padding must have {len(x)} pairs, got {len(attributes.padding)}")
    for n, pair in zip(x, attributes.padding, strict=True):
        _require(min(pair) >= 0, f"pads must not be negative, got {pair}")
        most = {"reflect": max(n - 1, 0), "symmetric": n, "wrap": n, "edge": max(pair) if n else 0}
        _require(
            max(pair) <= most.get(attributes.mode, max(pair)),
            f"{attributes.mode} gives an axis of {n} at most {most.get(attributes.mode)} on a side, got {pair}",
        )
    return {"output": tuple(n + low + high for n, (low, high) in zip(x, attributes.padding, strict=True))}


def dense_shapes(attributes: NoAttributes, shapes: Shapes) -> dict[str, Shape]:
    """X (..., in), w (in, out) -> (..., out)."""
    x, w = shapes["x"], shapes["w"]
    _require(len(w) == 2, f"w must have 2 axes (in, out), got shape {w}")
    _require(len(x) >= 1 and x[-1] == w[0], f"x of shape {x} does not end in w's {w[0]} inputs")
    _check_bias(shapes, w[1])
    return {"output": (*x[:-1], w[1])}


def _broadcast(x: Shape, y: Shape) -> Shape:
    sizes = []
    for place in range(1, max(len(x), len(y)) + 1):
        n, m = (shape[-place] if place <= len(shape) else 1 for shape in (x, y))
        _require(n == m or 1 in (n, m), f"shapes {x} and {y} do not broadcast")
        sizes.append(m if n == 1 else n)
    return tuple(reversed(sizes))


def broadcast_shapes(attributes: NoAttributes, shapes: Shapes) -> dict[str, Shape]:
    """X and y broadcast by NumPy's rules."""
    return {"output": _broadcast(shapes["x"], shapes["y"])}


def matmul_shapes(attributes: NoAttributes, shapes: Shapes) -> dict[str, Shape]:
    """X (..., m, k), y (..., k, n) -> (..., m, n); the leading axes broadcast."""
    x, y = shapes["x"], shapes["y"]
    _require(min(len(x), len(y)) >= 2, f"x and y must have 2 axes at least, got shapes {x} and {y}")
    _require(x[-1] == y[-2], f"x of shape {x} does not end in y's {y[-2]} rows")
    return {"output": (*_broadcast(x[:-2], y[:-2]), x[-2], y[-1])}


def concat_shapes(attributes: Concat, shapes: Shapes) -> dict[str, Shape]:
    """X and y agree but for the axis, where they add up."""
    x, y = shapes["x"], shapes["y"]
    _require(-len(x) <= attributes.axis < len(x), f"x of shape {x} has no axis {attributes.axis}")
    axis = attributes.axis % len(x)
    rest = x[:axis] + x[axis + 1 :]
    _require(len(y) == len(x) and y[:axis] + y[axis + 1 :] == rest, f"y must be {x} but for axis {axis}, got {y}")
    return {"output": (*x[:axis], x[axis] + y[axis], *x[axis + 1 :])}


def mean_shapes(attributes: Mean, shapes: Shapes) -> dict[str, Shape]:
    """The axes go, or stay with size 1."""
    x, axes = shapes["x"], attributes.axes
    _require(len(axes) > 0, "axes must name one axis at least")
    for axis in axes:
        _require(-len(x) <= axis < len(x), f"x of shape {x} has no axis {axis}")
    places = {axis % len(x) for axis in axes}
    _require(len(places) == len(axes), f"axes must be distinct, got {axes}")
    _require(all(x[place] for place in places), f"the mean of no elements is asked, x has shape {x}")
    if attributes.keepdims:
        return {"output": tuple(1 if place in places else n for place, n in enumerate(x))}
    return {"output": tuple(n for place, n in enumerate(x) if place not in places)}


def global_pool_shapes(attributes: NoAttributes, shapes: Shapes) -> dict[str, Shape]:
    """(batch, height, width, channels) -> (batch, channels)."""
    x = shapes["x"]
    sizes = _spatial(x, 2)
    _require(all(sizes), f"x must have a pixel at least, got shape {x}")
    return {"output": (x[0], x[-1])}


def _block(attributes: Blocks) -> int:
    _require(attributes.block >= 1, f"block must be at least 1, got {attributes.block}")
    return attributes.block


def depth_to_space_shapes(attributes: Blocks, shapes: Shapes) -> dict[str, Shape]:
    """(batch, height, width, block^2 channels) -> (batch, height block, width block, channels)."""
    x, block = shapes["x"], _block(attributes)
    height, width = _spatial(x, 2)
    _require(x[-1] % block**2 == 0, f"blocks of {block} by {block} do not divide {x[-1]} channels")
    return {"output": (x[0], height * block, width * block, x[-1] // block**2)}


def space_to_depth_shapes(attributes: Blocks, shapes: Shapes) -> dict[str, Shape]:
    """(batch, height block, width block, channels) -> (batch, height, width, block^2 channels)."""
    x, block = shapes["x"], _block(attributes)
    height, width = _spatial(x, 2)
    _require(height % block == 0 and width % block == 0, f"blocks of {block} do not divide an image of shape {x}")
    return {"output": (x[0], height // block, width // block, x[-1] * block**2)}


def bias_shapes(attributes: NoAttributes, shapes: Shapes) -> dict[str, Shape]:
    """B is added along the last axis."""
    x = shapes["x"]
    _require(len(x) >= 1, "x must have an axis of channels, got a scalar")
    _check_bias(shapes, x[-1])
    return {"output": x}


def flatten_shapes(attributes: NoAttributes, shapes: Shapes) -> dict[str, Shape]:
    """(batch, ...) -> (batch, everything else)."""
    x = shapes["x"]
    _require(len(x) >= 1, "x must have a batch axis, got a scalar")
    return {"output": (x[0], math.prod(x[1:]))}


def same_shape(attributes: Any, shapes: Shapes) -> dict[str, Shape]:
    """Element-wise."""
    return {"output": shapes["x"]}


def hard_tanh_shapes(attributes: HardTanh, shapes: Shapes) -> dict[str, Shape]:
    """Element-wise; the ends must be in order."""
    _require(attributes.low < attributes.high, f"low must be below high, got {attributes.low} and {attributes.high}")
    return {"output": shapes["x"]}


def prelu_shapes(attributes: NoAttributes, shapes: Shapes) -> dict[str, Shape]:
    """X (batch, ..., channels), a slope for every channel."""
    x, a = shapes["x"], shapes["a"]
    _require(len(x) >= 2, f"x must have a batch and channels, got shape {x}")
    _require(a == x[-1:], f"a must have shape {x[-1:]}, one slope a channel, got {a}")
    return {"output": x}


def softmax_shapes(attributes: Softmax, shapes: Shapes) -> dict[str, Shape]:
    """Element-wise in shape; the axis must exist."""
    x = shapes["x"]
    _require(-len(x) <= attributes.axis < len(x), f"x of shape {x} has no axis {attributes.axis}")
    return {"output": x}


def cross_entropy_shapes(attributes: CrossEntropy, shapes: Shapes) -> dict[str, Shape]:
    """Logits (batch, classes), labels (batch,) -> () or (batch,)."""
    logits, labels = shapes["logits"], shapes["labels"]
    _require(len(logits) == 2, f"logits must have 2 axes (batch, classes), got shape {logits}")
    _require(labels == logits[:1], f"labels must have shape {logits[:1]}, one a row of logits, got {labels}")
    return {"output": labels if attributes.reduction == "none" else ()}


def dropout_shapes(attributes: Dropout, shapes: Shapes) -> dict[str, Shape]:
    """X and its mask have one shape."""
    _require(shapes["mask"] == shapes["x"], f"mask must have x's shape {shapes['x']}, got {shapes['mask']}")
    _require(0 < attributes.keep <= 1, f"keep must be in (0, 1], got {attributes.keep}")
    return {"output": shapes["x"]}


def update_shapes(attributes: Any, shapes: Shapes) -> dict[str, Shape]:
    """A parameter, its gradient and its slots have one shape."""
    first = shapes["parameter"]
    for name, shape in shapes.items():
        _require(shape == first, f"{name} must have the parameter's shape {first}, got {shape}")
    return {name: first for name in shapes if name != "gradient"}


def glorot_shapes(attributes: NoAttributes, shapes: Shapes) -> dict[str, Shape]:
    """A kernel of at least two axes, (*receptive field, in, out)."""
    _require(len(shapes["u"]) >= 2, f"u must have at least 2 axes (..., in, out), got shape {shapes['u']}")
    return {"output": shapes["u"]}


def signal_shapes(attributes: Signal, shapes: Shapes) -> dict[str, Shape]:
    """SciPy's sizes; in `valid` mode one operand must cover the other on every axis."""
    x, w = shapes["x"], shapes["w"]
    _require(len(x) == len(w) and len(x) in (1, 2), f"x and w must both have 1 or 2 axes, got {x} and {w}")
    _require(min(x + w) >= 1, f"x and w must not be empty, got {x} and {w}")
    if attributes.mode == "same":
        return {"output": x}
    if attributes.mode == "full":
        return {"output": tuple(n + k - 1 for n, k in zip(x, w, strict=True))}
    covers = [n >= k for n, k in zip(x, w, strict=True)]
    covered = [n <= k for n, k in zip(x, w, strict=True)]
    _require(all(covers) or all(covered), f"in valid mode one of x {x} and w {w} must cover the other on every axis")
    return {"output": tuple(abs(n - k) + 1 for n, k in zip(x, w, strict=True))}
