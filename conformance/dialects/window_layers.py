"""Layers of windows beside the ordinary pools, and layers of several arrays, read: what they ask.

Windows as vectors are one after the other in torch's layers, and lie as an image does in the house: an operator and
a spreading of the same numbers.
"""

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from conformance.case.contract import NoAttributes, require
from conformance.case.families.arrays import Concat
from conformance.case.families.normalization import LocalResponseNorm
from conformance.case.families.windows import Fold, LpPool, Patches, Unpool
from conformance.case.geometry import window_count
from conformance.case.model import Shape
from conformance.dialects.model import Question, Spread, Step
from conformance.dialects.source import REQUIRED, Call, Signature

Read = Callable[[Call, Shape], Step]

_WINDOWS: Final[Signature] = {"kernel_size": REQUIRED, "dilation": 1, "padding": 0, "stride": 1}

TORCH_SIGNATURES: Final[Mapping[str, Signature]] = MappingProxyType(
    {
        "LocalResponseNorm": {"size": REQUIRED, "alpha": 1e-4, "beta": 0.75, "k": 1.0},
        "LPPool2d": {"norm_type": REQUIRED, "kernel_size": REQUIRED, "stride": None, "ceil_mode": False},
        "Unfold": _WINDOWS,
        "Fold": {"output_size": REQUIRED, **_WINDOWS},
        "MaxUnpool2d": {"kernel_size": REQUIRED, "stride": None, "padding": 0},
    }
)
KERAS_SIGNATURES: Final[Mapping[str, Signature]] = MappingProxyType(
    {"Add": {}, "Multiply": {}, "Concatenate": {"axis": -1}}
)


def _step(call: Call, *questions: Question) -> Step:
    return Step(text=call.text, questions=questions)


def _images(x: Shape) -> None:
    require(len(x) == 4, f"it takes (channels, height, width) without the batch; this has {len(x) - 2} spatial axes")


def _responses(call: Call, x: Shape) -> Step:
    attributes = LocalResponseNorm(
        size=call.integer("size"),
        alpha=call.number("alpha"),
        beta=call.number("beta"),
        bias=call.number("k"),
        alpha_of="mean",
    )
    return _step(call, Question(operator="local_response_norm", attributes=attributes, shapes={"x": x}))


def _norms(call: Call, x: Shape) -> Step:
    _images(x)
    call.only("norm_type", 1, 2, 3, 1.0, 2.0, 3.0)
    call.only("ceil_mode", False)
    power = int(call.number("norm_type"))
    window = call.sizes("kernel_size", 2)
    stride = window if call.arguments["stride"] is None else call.sizes("stride", 2)
    # It takes the power of x as it is, whose sign an even one loses.
    attributes = LpPool(window=window, stride=stride, p=power, signed=power % 2 == 1)  # type: ignore[arg-type]
    return _step(call, Question(operator="lp_pool2d", attributes=attributes, shapes={"x": x}))


def _sides(call: Call, name: str, least: int = 1) -> tuple[int, int]:
    rows, columns = call.sizes(name, 2, least)
    return rows, columns


def _unfold(call: Call, x: Shape) -> Step:
    _images(x)
    attributes = Patches(
        window=_sides(call, "kernel_size"),
        stride=_sides(call, "stride"),
        dilation=_sides(call, "dilation"),
        padding=tuple((pad, pad) for pad in _sides(call, "padding", 0)),
        order="channels_first",
    )
    patches = Question(operator="extract_patches", attributes=attributes, shapes={"x": x})
    row = Spread(sizes=(math.prod(patches.output[1:-1]),))
    return _step(call, patches, Question(operator="spread", attributes=row, shapes={"x": patches.output}))


def _folding(call: Call) -> tuple[Fold, tuple[int, ...]]:
    """What a fold is, and how many windows it takes along both axes."""
    size, window = _sides(call, "output_size"), _sides(call, "kernel_size")
    stride, dilation = _sides(call, "stride"), _sides(call, "dilation")
    padding = tuple((pad, pad) for pad in _sides(call, "padding", 0))
    fold = Fold(size=size, window=window, stride=stride, dilation=dilation, padding=padding, order="channels_first")
    return fold, window_count(size, padding, window, stride, dilation)


def folded_from(call: Call, channels: int) -> Shape:
    """The vectors, without the batch and channels last, that a fold makes an image of so many channels of."""
    fold, counts = _folding(call)
    return (math.prod(counts), math.prod(fold.window) * channels)


def _fold(call: Call, x: Shape) -> Step:
    fold, counts = _folding(call)
    require(len(x) == 3, f"it takes (channels times window, windows) without the batch; this has {len(x) - 1} axes")
    images = Question(operator="spread", attributes=Spread(sizes=counts), shapes={"x": x})
    return _step(call, images, Question(operator="fold", attributes=fold, shapes={"x": images.output}))


def _unpool(call: Call, x: Shape) -> Step:
    _images(x)
    window = call.sizes("kernel_size", 2)
    stride = window if call.arguments["stride"] is None else call.sizes("stride", 2)
    padding = call.sizes("padding", 2, 0)
    rows, columns = ((n - 1) * s - 2 * p + k for n, s, p, k in zip(x[1:-1], stride, padding, window, strict=True))
    attributes = Unpool(size=(rows, columns))
    return _step(call, Question(operator="max_unpool2d", attributes=attributes, shapes={"x": x, "indices": x}))


def _pairwise(call: Call, x: Shape) -> Step:
    shapes = {"x": x, "y": x}
    return _step(call, Question(operator=call.layer.lower(), attributes=NoAttributes(), shapes=shapes))


def _concatenate(call: Call, x: Shape) -> Step:
    axis = call.arguments["axis"]
    if not isinstance(axis, int) or isinstance(axis, bool) or axis == 0:
        raise call.fault(f"axis must be an integer, and not that of the batch, got {axis!r}")
    return _step(call, Question(operator="concat", attributes=Concat(axis=axis), shapes={"x": x, "y": x}))


TORCH: Final[Mapping[str, Read]] = MappingProxyType(
    {
        "LocalResponseNorm": _responses,
        "LPPool2d": _norms,
        "Unfold": _unfold,
        "Fold": _fold,
        "MaxUnpool2d": _unpool,
    }
)
KERAS: Final[Mapping[str, Read]] = MappingProxyType(
    {"Add": _pairwise, "Multiply": _pairwise, "Concatenate": _concatenate}
)
