"""Random questions: attributes and shapes drawn from the operators' contracts, the same for the same seed everywhere.

A sampler draws what may well be impossible. The operator's own shape function says which of it is a question, or
the sampler itself where only roundings could give the answer (`ImpossibleShape`: it is drawn again). What was drawn
stands in the case's id (`conv2d/random-7-same-stride-groups`), so that deviations on file can speak of it.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import partial
from math import prod
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Literal, TypeVar, get_args

import numpy as np

from conformance.case.contract import NoAttributes, require
from conformance.case.families.activations import Elu, Gelu, HardTanh, LeakyRelu, Softmax
from conformance.case.families.arrays import Blocks, Concat, Mean, Pad
from conformance.case.families.backward import MaxPoolGradient, WeightGradient
from conformance.case.families.convolution import Convolution, TransposedConvolution, convolution_shapes
from conformance.case.families.losses import CrossEntropy, DenseCrossEntropy, Divergence, Loss, Reduction
from conformance.case.families.normalization import (
    BatchNorm,
    BatchNormTraining,
    GroupNorm,
    InstanceNorm,
    LayerNorm,
    LocalResponseNorm,
)
from conformance.case.families.pooling import AveragePool, Indexed, IndexedMaxPool, MaxPool, pool_shapes
from conformance.case.families.resizing import Resize
from conformance.case.families.sampling import Initialize, RandomDropout
from conformance.case.families.signals import Polynomial, Signal
from conformance.case.families.steps import Adagrad, Adam, AdamW, Dropout, Momentum, RmsProp, Sgd
from conformance.case.families.windows import (
    AdaptivePool,
    Fold,
    FractionalPool,
    LpPool,
    Order,
    Patches,
    Unpool,
    patch_shapes,
)
from conformance.case.model import Case, Fill, FormatName, Shape, TensorSpec, Values, Where
from conformance.case.operators import OPERATORS
from conformance.errors import ImpossibleShape

T = TypeVar("T")
# Shapes that may be drawn in vain before a sampler counts as broken; about every third one is impossible.
TRIES: Final = 200
PadMode = Literal["constant", "reflect", "symmetric", "edge", "wrap"]
# Constants twice: frameworks have them wherever they have pads.
PAD_MODES: Final[tuple[PadMode, ...]] = ("constant", "constant", "reflect", "symmetric", "edge", "wrap")
INDEXED: Final[tuple[Indexed, ...]] = get_args(Indexed)
# Of frameworks' defaults the largest and the smallest, and one beside which no variance is small.
EPSILONS: Final = (1e-5, 1e-3, 0.5)
REDUCTIONS: Final[tuple[Reduction, ...]] = ("mean", "sum", "none")
HERE: Final = Where(path=Path("random.yaml"), line=1, column=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """How large questions are.

    Attributes:
        images: the largest batch.
        channels: the most channels of a group.
        sides: the longest side of data with one, two and three spatial axes.
        row: the longest row of what is multiplied, added or averaged.
    """

    images: int
    channels: int
    sides: tuple[int, int, int]
    row: int


SMALL: Final = Extent(images=2, channels=2, sides=(7, 5, 4), row=6)
"""For arithmetic that takes a hundredth of a second an element."""
ORDINARY: Final = Extent(images=3, channels=6, sides=(80, 24, 9), row=150)
"""For frameworks: some thousand elements a question, as calling them costs more than their arithmetic."""


class Dice:
    """Random choices from the words of Philox, whose output is specified."""

    def __init__(self, seed: int, name: str) -> None:
        key = np.frombuffer(hashlib.sha256(f"{seed} {name}".encode()).digest()[:16], dtype="<u8")
        self._words = np.random.Philox(key=key)

    def integer(self, low: int, high: int) -> int:
        """An integer in low..high, both included."""
        return low + int(self._words.random_raw()) % (high - low + 1)

    def one_of(self, things: Sequence[T]) -> T:
        """One of them."""
        return things[self.integer(0, len(things) - 1)]

    def chance(self, one_in: int) -> bool:
        """True once in so many times."""
        return self.integer(1, one_in) == 1

    def integers(self, count: int, low: int, high: int) -> Shape:
        """So many of them."""
        return tuple(self.integer(low, high) for _ in range(count))

    def distinct(self, count: int, below: int) -> Shape:
        """So many different numbers in 0..below-1, in any order (the beginning of Fisher and Yates's shuffle)."""
        numbers = list(range(below))
        for place in range(count):
            other = self.integer(place, below - 1)
            numbers[place], numbers[other] = numbers[other], numbers[place]
        return tuple(numbers[:count])


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """A question as it was drawn; `features` are words for its id, `fills` say what is in no data set."""

    attributes: Any
    shapes: Mapping[str, Shape]
    features: tuple[str, ...] = ()
    fills: Mapping[str, Fill | Values] = field(default_factory=dict)


# (dice, sizes, spatial axes) -> a question, which may be an impossible one.
Sampler = Callable[[Dice, Extent, int], Drawn]


def _pads(dice: Dice, spans: Shape, *, half: bool) -> Any:
    kind = dice.one_of(("same", "same_lower", "valid", "pads"))
    if kind != "pads":
        return kind
    return tuple(
        (dice.integer(0, most), dice.integer(0, most)) for most in (s // 2 if half else s - 1 for s in spans)
    )


def _spans(kernel: Shape, dilation: Shape) -> Shape:
    return tuple((k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True))


def _said(padding: Any, **set_: bool) -> tuple[str, ...]:
    named = padding.replace("_", "-") if isinstance(padding, str) else "pads"
    return (named, *_set(**set_))


def _set(**set_: bool) -> tuple[str, ...]:
    return tuple(name for name, value in set_.items() if value)


def _data(dice: Dice, extent: Extent, rank: int, channels: int) -> Shape:
    longest = extent.sides[rank - 1]
    return (dice.integer(1, extent.images), *dice.integers(rank, 1 + longest // 4, longest), channels)


def _kernel(dice: Dice, rank: int) -> tuple[Shape, Shape, Shape]:
    """Sides, strides and dilations; each of the latter two is 1 everywhere in half of the questions."""
    sides = dice.integers(rank, 1, 3 if rank == 3 else 5)
    stride = dice.integers(rank, 1, 3) if dice.chance(2) else (1,) * rank
    dilation = dice.integers(rank, 1, 3) if dice.chance(2) else (1,) * rank
    return sides, stride, dilation


def _convolution(dice: Dice, extent: Extent, rank: int) -> Drawn:
    kernel, stride, dilation = _kernel(dice, rank)
    groups = dice.one_of((1, 1, 2, 3))
    inputs, outputs = dice.integers(2, 1, extent.channels)
    padding = _pads(dice, _spans(kernel, dilation), half=False)
    shapes = {"x": _data(dice, extent, rank, inputs * groups), "w": (*kernel, inputs, outputs * groups)}
    if dice.chance(2):
        shapes["b"] = (outputs * groups,)
    return Drawn(
        attributes=Convolution(stride=stride, dilation=dilation, groups=groups, padding=padding),
        shapes=shapes,
        features=_said(
            padding,
            stride=max(stride) > 1,
            dilation=max(dilation) > 1,
            groups=groups > 1,
            depthwise=groups > 1 and inputs == 1,
        ),
    )


def _transposed(dice: Dice, extent: Extent, rank: int) -> Drawn:
    kernel, stride, dilation = _kernel(dice, rank)
    groups = dice.one_of((1, 1, 2, 3))
    inputs, outputs = dice.integers(2, 1, extent.channels)
    padding = _pads(dice, _spans(kernel, dilation), half=False)
    more = (0,) * rank
    if isinstance(padding, tuple):
        more = tuple(dice.integer(0, s - 1) for s in stride)
    images, *sides, channels = _data(dice, extent, rank, inputs * groups)
    shapes = {
        "x": (images, *(-(-n // s) for n, s in zip(sides, stride, strict=True)), channels),
        "w": (*kernel, outputs, inputs * groups),
    }
    if dice.chance(2):
        shapes["b"] = (outputs * groups,)
    size: Shape = ()
    if dice.chance(4):
        size = _undone(dice, shapes["x"][1:-1], _spans(kernel, dilation), stride, padding)
        more = (0,) * rank
    circular = dice.chance(8)
    return Drawn(
        attributes=TransposedConvolution(
            stride=stride,
            dilation=dilation,
            groups=groups,
            padding=padding,
            output_padding=more,
            output_size=size,
            pad_mode="circular" if circular else "zeros",
        ),
        shapes=shapes,
        features=_said(
            padding,
            stride=max(stride) > 1,
            dilation=max(dilation) > 1,
            groups=groups > 1,
            sized=bool(size),
            circular=circular,
        ),
    )


def _undone(dice: Dice, counts: Shape, spans: Shape, stride: Shape, padding: Any) -> Shape:
    """Sizes of an image in which a convolution has so many windows."""
    least = [(n - 1) * s + 1 for n, s in zip(counts, stride, strict=True)]
    if padding not in ("same", "same_lower"):
        pads = padding if isinstance(padding, tuple) else ((0, 0),) * len(spans)
        least = [m + span - 1 - sum(pair) for m, span, pair in zip(least, spans, pads, strict=True)]
    return tuple(m + dice.integer(0, s - 1) for m, s in zip(least, stride, strict=True))


def _weight_gradient(dice: Dice, extent: Extent, rank: int) -> Drawn:
    """A convolution's image and its maps."""
    drawn = _convolution(dice, extent, rank)
    a, x, w = drawn.attributes, drawn.shapes["x"], drawn.shapes["w"]
    return Drawn(
        attributes=WeightGradient(
            kernel=w[:-2], stride=a.stride, dilation=a.dilation, groups=a.groups, padding=a.padding
        ),
        shapes={"x": x, "g": convolution_shapes(a, {"x": x, "w": w})["output"]},
        features=drawn.features,
    )


def _max_pool_gradient(dice: Dice, extent: Extent, rank: int) -> Drawn:
    """Indices anywhere in an image, some of them twice."""
    images, *size, channels = _data(dice, extent, 2, dice.integer(1, extent.channels))
    window, stride = (dice.integers(2, 1, most) for most in (5, 3))
    padding: Literal["same", "valid"] = dice.one_of(("same", "valid"))
    indexed: Literal["plane", "image"] = dice.one_of(("plane", "image"))
    pool = MaxPool(window=window, stride=stride, dilation=(1, 1), padding=padding)
    x = pool_shapes(pool, {"x": (images, *size, channels)})["output"]
    places = prod(size) * (channels if indexed == "image" else 1)
    return Drawn(
        attributes=MaxPoolGradient(
            size=(size[0], size[1]),
            window=(window[0], window[1]),
            stride=(stride[0], stride[1]),
            padding=padding,
            indexed=indexed,
        ),
        shapes={"x": x, "indices": x},
        features=_said(padding, stride=max(stride) > 1, **{indexed: True}),
        fills={"indices": Fill(kind="integers", low=0, high=places - 1)},
    )


def _max_pool(dice: Dice, extent: Extent, rank: int) -> Drawn:
    window, stride, dilation = _kernel(dice, rank)
    padding = _pads(dice, _spans(window, dilation), half=True)
    ceil = dice.chance(3)
    return Drawn(
        attributes=MaxPool(window=window, stride=stride, dilation=dilation, padding=padding, ceil_mode=ceil),
        shapes={"x": _data(dice, extent, rank, dice.integer(1, extent.channels))},
        features=_said(padding, stride=max(stride) > 1, dilation=max(dilation) > 1, ceil=ceil),
    )


def _indexed_max_pool(dice: Dice, extent: Extent, rank: int) -> Drawn:
    drawn = _max_pool(dice, extent, rank)
    indexed = dice.one_of(INDEXED)
    a: MaxPool = drawn.attributes
    attributes = IndexedMaxPool(
        window=a.window,
        stride=a.stride,
        dilation=a.dilation,
        padding=a.padding,
        ceil_mode=a.ceil_mode,
        indexed=indexed,
    )
    return replace(drawn, attributes=attributes, features=(*drawn.features, indexed))


def _average_pool(dice: Dice, extent: Extent, rank: int) -> Drawn:
    window, stride, _ = _kernel(dice, rank)
    padding = _pads(dice, window, half=True)
    ceil, count = dice.chance(3), dice.chance(2)
    return Drawn(
        attributes=AveragePool(window=window, stride=stride, padding=padding, ceil_mode=ceil, count_padding=count),
        shapes={"x": _data(dice, extent, rank, dice.integer(1, extent.channels))},
        features=_said(padding, stride=max(stride) > 1, ceil=ceil, counted=count),
    )


def _image(dice: Dice, extent: Extent, rank: int) -> Drawn:
    return Drawn(attributes=NoAttributes(), shapes={"x": _data(dice, extent, 2, dice.integer(1, extent.channels))})


def _any_shape(dice: Dice, extent: Extent) -> Shape:
    """One to four axes, fewer than a few thousand elements."""
    axes = dice.integer(2, 4)
    return _data(dice, extent, axes - 2, dice.integer(1, extent.channels)) if axes > 2 else _rows(dice, extent)


def _rows(dice: Dice, extent: Extent) -> Shape:
    return dice.integer(1, 2 * extent.images), dice.integer(1, extent.row)


def _spread_of(attributes: Callable[[Dice], Any]) -> Sampler:
    """Element by element, on any shape."""

    def sampler(dice: Dice, extent: Extent, rank: int) -> Drawn:
        return Drawn(attributes=attributes(dice), shapes={"x": _any_shape(dice, extent)})

    return sampler


def _plain(dice: Dice) -> NoAttributes:
    return NoAttributes()


def _leaky_relu(dice: Dice, extent: Extent, rank: int) -> Drawn:
    slope = dice.one_of((0.125, 0.01, 0.2))
    return Drawn(
        attributes=LeakyRelu(slope=slope), shapes={"x": _any_shape(dice, extent)}, features=(f"slope-{slope}",)
    )


def _prelu(dice: Dice, extent: Extent, rank: int) -> Drawn:
    x = _any_shape(dice, extent)
    return Drawn(attributes=NoAttributes(), shapes={"x": x, "a": x[-1:]})


def _pad(dice: Dice, extent: Extent, rank: int) -> Drawn:
    x = _any_shape(dice, extent)
    mode: PadMode = dice.one_of(PAD_MODES)
    inner = range(1, len(x) - 1)  # batch and channels are padded with constants alone: frameworks have no more
    least = -2 if dice.chance(4) else 0
    padding = tuple(
        (dice.integer(least, 3), dice.integer(least, 3)) if mode == "constant" or place in inner else (0, 0)
        for place in range(len(x))
    )
    value = dice.one_of((0.0, 0.0, -1.5)) if mode == "constant" else 0.0
    cut = any(min(pair) < 0 for pair in padding)
    features = ("cut", mode) if cut else (mode,)
    return Drawn(attributes=Pad(padding=padding, mode=mode, value=value), shapes={"x": x}, features=features)


def _concat(dice: Dice, extent: Extent, rank: int) -> Drawn:
    x = _any_shape(dice, extent)
    axis = dice.integer(-len(x), len(x) - 1)
    place = axis % len(x)
    y = (*x[:place], dice.integer(1, 5), *x[place + 1 :])
    return Drawn(attributes=Concat(axis=axis), shapes={"x": x, "y": y})


def _mean(dice: Dice, extent: Extent, rank: int) -> Drawn:
    x = _any_shape(dice, extent)
    axes = tuple(place for place in range(len(x)) if dice.chance(2)) or (dice.integer(-len(x), -1),)
    return Drawn(attributes=Mean(axes=axes, keepdims=dice.chance(2)), shapes={"x": x})


def _depth_to_space(dice: Dice, extent: Extent, rank: int) -> Drawn:
    block = dice.integer(1, 3)
    x = _data(dice, extent, 2, block**2 * dice.integer(1, extent.channels))
    return Drawn(attributes=Blocks(block=block, order=dice.one_of(("dcr", "crd"))), shapes={"x": x})


def _space_to_depth(dice: Dice, extent: Extent, rank: int) -> Drawn:
    block = dice.integer(1, 3)
    images, height, width, channels = _data(dice, extent, 2, dice.integer(1, extent.channels))
    x = (images, -(-height // block) * block, -(-width // block) * block, channels)
    return Drawn(attributes=Blocks(block=block, order=dice.one_of(("dcr", "crd"))), shapes={"x": x})


def _dense(dice: Dice, extent: Extent, rank: int) -> Drawn:
    inputs, units = dice.integers(2, 1, extent.row)
    shapes = {"x": (*dice.integers(dice.integer(1, 2), 1, 2 * extent.images), inputs), "w": (inputs, units)}
    return Drawn(attributes=NoAttributes(), shapes=shapes | ({"b": (units,)} if dice.chance(2) else {}))


def _bias_add(dice: Dice, extent: Extent, rank: int) -> Drawn:
    x = _any_shape(dice, extent)
    return Drawn(attributes=NoAttributes(), shapes={"x": x, "b": x[-1:]})


def _matmul(dice: Dice, extent: Extent, rank: int) -> Drawn:
    m, k, n = dice.integers(3, 1, extent.row // 3)
    batch = dice.integers(dice.integer(0, 2), 1, extent.images)
    other = tuple(1 if dice.chance(3) else size for size in batch)[dice.integer(0, len(batch)) :]
    return Drawn(attributes=NoAttributes(), shapes={"x": (*batch, m, k), "y": (*other, k, n)})


def _broadcast(dice: Dice, extent: Extent, rank: int) -> Drawn:
    x = _any_shape(dice, extent)
    y = tuple(1 if dice.chance(3) else n for n in x)[dice.integer(0, len(x) - 1) :]
    return Drawn(attributes=NoAttributes(), shapes={"x": x, "y": y})


def _signal(dice: Dice, extent: Extent, rank: int) -> Drawn:
    axes = dice.integer(1, 2)
    longest = extent.sides[axes - 1]
    x, w = dice.integers(axes, 1 + longest // 4, longest), dice.integers(axes, 1, min(longest, 9))
    return Drawn(attributes=Signal(mode=dice.one_of(("full", "same", "valid"))), shapes={"x": x, "w": w})


def _softmax(dice: Dice, extent: Extent, rank: int) -> Drawn:
    x = _any_shape(dice, extent)
    return Drawn(attributes=Softmax(axis=dice.integer(-len(x), len(x) - 1)), shapes={"x": x})


def _cross_entropy(dice: Dice, extent: Extent, rank: int) -> Drawn:
    rows, classes = dice.integer(1, 8 * extent.images), dice.integer(2, max(extent.row // 2, 2))
    smooth, ignores, weighs = (dice.chance(3) for _ in range(3))
    a = CrossEntropy(
        reduction=dice.one_of(REDUCTIONS), smoothing=0.125 if smooth else 0.0, ignored=0 if ignores else None
    )
    return Drawn(
        attributes=a,
        shapes={"logits": (rows, classes), "labels": (rows,), **({"weights": (classes,)} if weighs else {})},
        features=_set(smooth=smooth, ignores=ignores, weighs=weighs),
        fills={"labels": Fill(kind="integers", low=0, high=classes - 1)},
    )


def _dense_cross_entropy(dice: Dice, extent: Extent, rank: int) -> Drawn:
    logits = (dice.integer(1, 8 * extent.images), dice.integer(2, max(extent.row // 2, 2)))
    smooth, weighs = dice.chance(3), dice.chance(3)
    return Drawn(
        attributes=DenseCrossEntropy(reduction=dice.one_of(REDUCTIONS), smoothing=0.125 if smooth else 0.0),
        shapes={"logits": logits, "labels": logits, **({"weights": logits[1:]} if weighs else {})},
        features=_set(smooth=smooth, weighs=weighs),
    )


def _binary_cross_entropy(dice: Dice, extent: Extent, rank: int) -> Drawn:
    logits = _any_shape(dice, extent)
    weighs, positive = dice.chance(3), dice.chance(3)
    own = {"weights": logits} if weighs else {}
    own |= {"positive_weights": logits[-1:]} if positive else {}
    return Drawn(
        attributes=Loss(reduction=dice.one_of(REDUCTIONS)),
        shapes={"logits": logits, "labels": logits, **own},
        features=_set(weighs=weighs, positive=positive),
    )


def _squared_error(dice: Dice, extent: Extent, rank: int) -> Drawn:
    x = _any_shape(dice, extent)
    return Drawn(attributes=Loss(reduction=dice.one_of(REDUCTIONS)), shapes={"x": x, "targets": x})


def _divergence(dice: Dice, extent: Extent, rank: int) -> Drawn:
    x = _any_shape(dice, extent)
    reduction: Literal["mean", "batch_mean", "sum", "none"] = dice.one_of(("batch_mean", *REDUCTIONS))
    return Drawn(attributes=Divergence(reduction=reduction), shapes={"x": x, "targets": x})


def _dropout(dice: Dice, extent: Extent, rank: int) -> Drawn:
    x, keep = _any_shape(dice, extent), dice.one_of((0.5, 0.75, 0.9, 1.0))
    return Drawn(
        attributes=Dropout(keep=keep), shapes={"x": x, "mask": x}, fills={"mask": Fill(kind="mask", keep=keep)}
    )


def _update(attributes: Callable[[Dice], Any], *operands: str) -> Sampler:
    def sampler(dice: Dice, extent: Extent, rank: int) -> Drawn:
        return Drawn(attributes=attributes(dice), shapes=dict.fromkeys(operands, _any_shape(dice, extent)))

    return sampler


def _kernel_of_draws(dice: Dice, extent: Extent, rank: int) -> Drawn:
    u = (*dice.integers(2, 1, 5), *dice.integers(2, 1, extent.channels))
    return Drawn(attributes=NoAttributes(), shapes={"u": u})


_AFFINE: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {"both": ("scale", "offset"), "plain": (), "scale-alone": ("scale",), "offset-alone": ("offset",)}
)


def _affine(dice: Dice, shape: Shape) -> tuple[dict[str, Shape], tuple[str, ...]]:
    """Scale and offset of a normalisation, both of them in half of the questions, and a word for what is missing."""
    kind = dice.one_of(("both", "both", "both", "plain", "scale-alone", "offset-alone"))
    return dict.fromkeys(_AFFINE[kind], shape), () if kind == "both" else (kind,)


def _set_words(images: int, numbers: int) -> tuple[str, ...]:
    """Words for few images, and for sets of a single number, whose variance is 0."""
    return (*(("one-image",) if images == 1 else ()), *(("single-value",) if numbers == 1 else ()))


def _batch_norm(dice: Dice, extent: Extent, rank: int) -> Drawn:
    x = _any_shape(dice, extent)
    affine, words = _affine(dice, x[-1:])
    return Drawn(
        attributes=BatchNorm(epsilon=dice.one_of(EPSILONS)),
        shapes={"x": x, "mean": x[-1:], "variance": x[-1:], **affine},
        features=words,
    )


def _batch_norm_training(dice: Dice, extent: Extent, rank: int) -> Drawn:
    x = _any_shape(dice, extent)
    affine, words = _affine(dice, x[-1:])
    bessel = dice.chance(2)
    return Drawn(
        attributes=BatchNormTraining(
            epsilon=dice.one_of(EPSILONS), momentum=dice.one_of((0.0, 0.5, 0.9, 0.99, 1.0)), bessel=bessel
        ),
        shapes={"x": x, "mean": x[-1:], "variance": x[-1:], **affine},
        features=(("bessel" if bessel else "biased"), *_set_words(0, prod(x[:-1])), *words),
    )


def _layer_norm(dice: Dice, extent: Extent, rank: int) -> Drawn:
    x = _any_shape(dice, extent)
    places = tuple(place for place in range(len(x)) if dice.chance(2)) or (len(x) - 1,)
    affine, words = _affine(dice, tuple(x[place] for place in places))
    axes = tuple(place - len(x) for place in places) if dice.chance(2) else places
    return Drawn(
        attributes=LayerNorm(axes=axes, epsilon=dice.one_of(EPSILONS)), shapes={"x": x, **affine}, features=words
    )


def _group_norm(dice: Dice, extent: Extent, rank: int) -> Drawn:
    *x, channels = _any_shape(dice, extent)
    groups = dice.integer(1, 3)
    shape = (*x, channels * groups)
    affine, words = _affine(dice, shape[-1:])
    return Drawn(
        attributes=GroupNorm(groups=groups, epsilon=dice.one_of(EPSILONS)),
        shapes={"x": shape, **affine},
        features=(*_set_words(x[0], prod(x[1:]) * channels), *words),
    )


def _instance_norm(dice: Dice, extent: Extent, rank: int) -> Drawn:
    x = _data(dice, extent, dice.integer(1, 2), dice.integer(1, extent.channels))
    affine, words = _affine(dice, x[-1:])
    return Drawn(
        attributes=InstanceNorm(epsilon=dice.one_of(EPSILONS)),
        shapes={"x": x, **affine},
        features=(*_set_words(x[0], prod(x[1:-1])), *words),
    )


def _local_response_norm(dice: Dice, extent: Extent, rank: int) -> Drawn:
    *x, channels = _any_shape(dice, extent)
    size = dice.integer(1, 9)
    return Drawn(
        attributes=LocalResponseNorm(
            size=size,
            alpha=dice.one_of((1e-4, 0.5, 1.0)),
            beta=dice.one_of((0.5, 0.75, 1.0)),
            bias=dice.one_of((1.0, 2.0, 0.7)),
            alpha_of=dice.one_of(("sum", "mean")),
            extra=dice.one_of(("low", "high")),
        ),
        shapes={"x": (*x, 2 * channels)},
        features=("odd" if size % 2 else "even",),
    )


def _resize(dice: Dice, extent: Extent, rank: int, *, axes: int) -> Drawn:
    x = _data(dice, extent, axes, dice.integer(1, extent.channels))
    attributes = Resize(
        size=dice.integers(axes, 1, extent.sides[axes - 1]),
        method=dice.one_of(("nearest", "linear", "cubic")),
        coordinates=dice.one_of(("half_pixel", "half_pixel", "align_corners", "asymmetric")),
        rounding=dice.one_of(("floor", "ceil", "half_up", "half_down")),
        coefficient=dice.one_of((-0.5, -0.75)),
        edge=dice.one_of(("clamp", "renormalize")),
    )
    if attributes.coordinates == "half_pixel" and dice.chance(4):
        attributes = replace(attributes, method="area", cover=dice.one_of(("share", "whole")))
    elif attributes.coordinates == "half_pixel" and attributes.method != "nearest" and dice.chance(3):
        attributes = replace(attributes, antialias=True)
    # A widened kernel goes by a word of its own: who has a kernel need not have it widened.
    words: tuple[str, ...] = ("wide" * attributes.antialias + attributes.method, attributes.coordinates)
    pairs = tuple(zip(x[1:-1], attributes.size, strict=True))
    if attributes.method == "nearest":
        words = (*words, attributes.rounding)
        require(
            not any(_undecided(n, m, attributes.coordinates, attributes.rounding) for n, m in pairs),
            "an output lies where the rounding of its coordinate decides",
        )
    elif attributes.method == "area":
        words = (*words, attributes.cover)
    elif attributes.method == "cubic":
        words = (*words, "keys" if attributes.coefficient == -0.5 else "sharper", attributes.edge)
    elif attributes.antialias:
        words = (*words, attributes.edge)
    if any(m > 2 * n for n, m in pairs):
        words = (*words, "more-than-double")
    return Drawn(attributes=attributes, shapes={"x": x}, features=tuple(word.replace("_", "-") for word in words))


def _undecided(n: int, m: int, coordinates: str, rounding: str) -> bool:
    """Whether a coordinate lies exactly where its rounding jumps while a ratio in floating point lies beside it.

    An honest framework multiplies by a rounded ratio, which then decides between two elements. Ratios that are
    exact in binary decide nothing; neither does output 0, whose coordinate is 0 but for half pixels.
    """
    half = Fraction(1, 2)
    ratio = Fraction(n - 1, max(m - 1, 1)) if coordinates == "align_corners" else Fraction(n, m)
    if ratio.denominator.bit_count() == 1:
        return False
    jump = half if rounding.startswith("half") else Fraction(0)
    shift = half if coordinates == "half_pixel" else Fraction(0)
    return any(
        ((o + shift) * ratio - shift - jump).denominator == 1
        for o in range(0 if coordinates == "half_pixel" else 1, m)
    )


def _patches(dice: Dice, extent: Extent, rank: int) -> Drawn:
    window, stride, dilation = _kernel(dice, rank)
    padding = _pads(dice, _spans(window, dilation), half=False)
    order: Order = dice.one_of(("channels_last", "channels_first"))
    return Drawn(
        attributes=Patches(window=window, stride=stride, dilation=dilation, padding=padding, order=order),
        shapes={"x": _data(dice, extent, rank, dice.integer(1, extent.channels))},
        features=_said(padding, stride=max(stride) > 1, dilation=max(dilation) > 1, first=order == "channels_first"),
    )


def _fold(dice: Dice, extent: Extent, rank: int) -> Drawn:
    """The patches of some image, to be added up."""
    image = _patches(dice, extent, 2)
    a, (_, height, width, _) = image.attributes, image.shapes["x"]
    return Drawn(
        attributes=Fold(
            size=(height, width),
            window=a.window,
            stride=a.stride,
            dilation=a.dilation,
            padding=a.padding,
            order=a.order,
        ),
        shapes={"x": patch_shapes(a, image.shapes)["output"]},
        features=image.features,
    )


def _adaptive(dice: Dice, extent: Extent, rank: int) -> Drawn:
    size = (dice.integer(1, extent.sides[1]), dice.integer(1, extent.sides[1]))
    return Drawn(
        attributes=AdaptivePool(size=size), shapes={"x": _data(dice, extent, 2, dice.integer(1, extent.channels))}
    )


def _fractional(dice: Dice, extent: Extent, rank: int) -> Drawn:
    images, *sides, channels = _data(dice, extent, 2, dice.integer(1, extent.channels))
    window = dice.integer(1, 3), dice.integer(1, 3)
    rows, columns = (dice.integer(1, max(n - k + 1, 1)) for n, k in zip(sides, window, strict=True))
    return Drawn(
        attributes=FractionalPool(size=(rows, columns), window=window),
        shapes={"x": (images, *sides, channels), "samples": (images, channels, 2)},
    )


def _lp_pool(dice: Dice, extent: Extent, rank: int) -> Drawn:
    window, stride, _ = _kernel(dice, rank)
    # Zeros alone have a norm without a derivative, so that no window may lie in the padding.
    padding = _pads(dice, window, half=True)
    p: Literal[1, 2, 3] = dice.one_of((1, 2, 3))
    signed = dice.chance(2)
    return Drawn(
        attributes=LpPool(window=window, stride=stride, padding=padding, p=p, signed=signed),
        shapes={"x": _data(dice, extent, rank, dice.integer(1, extent.channels))},
        features=(f"norm{p}", *_said(padding, signed=signed, stride=max(stride) > 1)),
    )


def _unpool(dice: Dice, extent: Extent, rank: int) -> Drawn:
    """Numbers anywhere in an image as large as their pool may have been."""
    images, rows, columns, channels = (dice.integer(1, most) for most in (extent.images, 4, 4, extent.channels))
    size = (rows * dice.integer(1, 3) + dice.integer(0, 1), columns * dice.integer(1, 3) + dice.integer(0, 1))
    indexed: Literal["plane", "image"] = dice.one_of(("plane", "image"))
    numbers, room = rows * columns, size[0] * size[1]
    x = (images, rows, columns, channels)
    if indexed == "image":
        places = tuple(place for _ in range(images) for place in dice.distinct(numbers * channels, room * channels))
    else:
        planes = [[dice.distinct(numbers, room) for _ in range(channels)] for _ in range(images)]
        places = tuple(plane[pixel] for image in planes for pixel in range(numbers) for plane in image)
    return Drawn(
        attributes=Unpool(size=size, indexed=indexed),
        shapes={"x": x, "indices": x},
        features=(indexed,),
        fills={"indices": Values(values=tuple(map(float, places)))},
    )


def _polynomial(dice: Dice) -> Polynomial:
    return Polynomial(coefficients=tuple(dice.integer(-16, 16) / 8 for _ in range(dice.integer(2, 5))))


def _sgd(dice: Dice) -> Sgd:
    return Sgd(learning_rate=dice.one_of((0.125, 0.01, 0.1)))


def _adam(dice: Dice) -> Adam:
    return Adam(step=dice.integer(1, 9), epsilon_hat=dice.chance(2))


def _momentum(dice: Dice) -> Momentum:
    steps = dice.chance(2)
    nesterov = dice.chance(2)
    return Momentum(
        learning_rate=dice.one_of((0.125, 0.01)),
        momentum=dice.one_of((0.5, 0.9)),
        nesterov=nesterov,
        dampening=0.0 if steps or nesterov else dice.one_of((0.0, 0.25)),
        weight_decay=dice.one_of((0.0, 0.125)),
        first=not steps and dice.chance(3),
        velocity_of="steps" if steps else "gradients",
    )


def _rmsprop(dice: Dice, extent: Extent, rank: int) -> Drawn:
    shape, centred, moves = _any_shape(dice, extent), dice.chance(3), dice.chance(2)
    a = RmsProp(
        rho=dice.one_of((0.9, 0.99)),
        momentum=0.5 if moves else 0.0,
        epsilon=dice.one_of((1e-7, 1e-3)),
        epsilon_inside=dice.chance(2),
        velocity_of=dice.one_of(("gradients", "steps")),
    )
    slots = ("parameter", "gradient", "v", *(("mean",) if centred else ()), *(("velocity",) if moves else ()))
    # The mean of squares is no less than the square of the mean: zeros for the one leave the other free.
    fills = {"mean": Fill(kind="zeros")} if centred else {}
    return Drawn(
        attributes=a, shapes=dict.fromkeys(slots, shape), features=_set(centred=centred, moves=moves), fills=fills
    )


def _adagrad(dice: Dice, extent: Extent, rank: int) -> Drawn:
    shape, first = _any_shape(dice, extent), dice.chance(3)
    a = Adagrad(
        learning_rate=dice.one_of((0.125, 0.01)),
        epsilon=dice.one_of((1e-7, 1e-3)),
        epsilon_inside=dice.chance(2),
        initial=dice.one_of((0.0, 0.125)) if first else 0.0,
    )
    slots = ("parameter", "gradient", *(() if first else ("v",)))
    return Drawn(attributes=a, shapes=dict.fromkeys(slots, shape), features=_set(first=first))


def _adamw(dice: Dice) -> AdamW:
    return AdamW(step=dice.integer(1, 9), epsilon_hat=dice.chance(2), weight_decay=dice.one_of((0.125, 0.004)))


def _initialize(dice: Dice, extent: Extent, rank: int) -> Drawn:
    """Kernels of some thousand numbers: a sample of a few says nothing."""
    w = (dice.integer(1, 5), dice.integer(1, 5), dice.integer(8, 32), dice.integer(32, 96))
    a = Initialize(
        scheme=dice.one_of(("glorot", "he", "lecun", "constant")),
        distribution=dice.one_of(("uniform", "normal", "truncated_normal")),
        seed=dice.integer(0, 1 << 20),
    )
    return Drawn(attributes=a, shapes={"w": w})


def _random_dropout(dice: Dice, extent: Extent, rank: int) -> Drawn:
    a = RandomDropout(rate=dice.one_of((0.125, 0.5, 0.9)), seed=dice.integer(0, 1 << 20))
    return Drawn(attributes=a, shapes={"x": (dice.integer(1, 4), dice.integer(20, 60), dice.integer(20, 60))})


def _gelu(dice: Dice) -> Gelu:
    return Gelu(approximate=dice.one_of(("none", "tanh")))


SAMPLERS: Final[Mapping[str, Sampler]] = MappingProxyType(
    {
        **{f"conv{rank}d": _convolution for rank in (1, 2, 3)},
        **{f"conv{rank}d_transpose": _transposed for rank in (1, 2, 3)},
        **{f"max_pool{rank}d": _max_pool for rank in (1, 2, 3)},
        **{f"max_pool{rank}d_with_indices": _indexed_max_pool for rank in (1, 2, 3)},
        **{f"average_pool{rank}d": _average_pool for rank in (1, 2, 3)},
        "global_average_pool2d": _image,
        "global_max_pool2d": _image,
        "mean": _mean,
        "pad": _pad,
        "concat": _concat,
        "flatten": _spread_of(_plain),
        "depth_to_space": _depth_to_space,
        "space_to_depth": _space_to_depth,
        "dense": _dense,
        "bias_add": _bias_add,
        "matmul": _matmul,
        "add": _broadcast,
        "multiply": _broadcast,
        "convolve": _signal,
        "correlate": _signal,
        "relu": _spread_of(_plain),
        "relu6": _spread_of(_plain),
        "leaky_relu": _leaky_relu,
        "prelu": _prelu,
        "hard_sigmoid": _spread_of(_plain),
        "hard_swish": _spread_of(_plain),
        "hard_tanh": _spread_of(lambda dice: HardTanh(low=-dice.one_of((1.0, 0.5)), high=dice.one_of((1.0, 2.0)))),
        "sigmoid": _spread_of(_plain),
        "tanh": _spread_of(_plain),
        "softmax": _softmax,
        "log_softmax": _softmax,
        "elu": _spread_of(lambda dice: Elu(alpha=dice.one_of((1.0, 0.5)))),
        "selu": _spread_of(_plain),
        "gelu": _spread_of(_gelu),
        "silu": _spread_of(_plain),
        "mish": _spread_of(_plain),
        "softplus": _spread_of(_plain),
        "softsign": _spread_of(_plain),
        "log_sigmoid": _spread_of(_plain),
        "batch_norm": _batch_norm,
        "batch_norm_training": _batch_norm_training,
        "layer_norm": _layer_norm,
        "group_norm": _group_norm,
        "instance_norm": _instance_norm,
        "local_response_norm": _local_response_norm,
        "softmax_cross_entropy": _cross_entropy,
        "softmax_cross_entropy_dense": _dense_cross_entropy,
        "binary_cross_entropy": _binary_cross_entropy,
        "kl_divergence": _divergence,
        "mean_squared_error": _squared_error,
        "polynomial": _spread_of(_polynomial),
        "dropout": _dropout,
        "sgd": _update(_sgd, "parameter", "gradient"),
        "sgd_momentum": _update(_momentum, "parameter", "gradient", "velocity"),
        "rmsprop": _rmsprop,
        "adagrad": _adagrad,
        "adam": _update(_adam, "parameter", "gradient", "m", "v"),
        "adamw": _update(_adamw, "parameter", "gradient", "m", "v"),
        "glorot_uniform": _kernel_of_draws,
        "initialize": _initialize,
        "random_dropout": _random_dropout,
        **{f"resize{axes}d": partial(_resize, axes=axes) for axes in (1, 2, 3)},
        "extract_patches": _patches,
        "fold": _fold,
        "adaptive_average_pool2d": _adaptive,
        "adaptive_max_pool2d": _adaptive,
        "fractional_max_pool2d": _fractional,
        "lp_pool2d": _lp_pool,
        "max_unpool2d": _unpool,
        **{f"conv{rank}d_weight_gradient": _weight_gradient for rank in (2, 3)},
        "max_pool2d_gradient": _max_pool_gradient,
    }
)
"""How each operator's questions are drawn; a test tells of one that is missing here.

A line will do for what goes element by element (`_spread_of`) and for updates (`_update`); for the rest a function
that draws attributes and shapes, without asking whether they fit.
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
