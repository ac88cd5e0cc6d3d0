"""Operators by their definitions, in rational arithmetic: a second opinion on the reference.

The definition of an operator says, for each element of its output, of which elements of its operands it is a sum of
products. Everything else follows from that: values, sums of absolute values, numbers of terms, and gradients by the
product rule. Numbers are `Fraction`, so that nothing is rounded; windows are enumerated, position by position, so
that no formula is shared with the reference or with the geometry of cases. Only finite numbers have a place here, and
only operators whose mathematics is rational; everything is slow, and meant for small questions.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from itertools import product as cartesian
from math import floor, prod
from types import MappingProxyType
from typing import Any, Final

from conformance.case.job import Job, Tensor

Index = tuple[int, ...]
Place = tuple[str, Index]
ZERO: Final = Fraction(0)
ONE: Final = Fraction(1)


@dataclass(frozen=True, slots=True)
class Product:
    """Elements of operands, multiplied, times a factor that no operand holds, over a divisor."""

    places: tuple[Place, ...]
    factor: Fraction = ONE
    divisor: Fraction = ONE


@dataclass(frozen=True, slots=True)
class Term:
    """A product with its numbers: what an honest computation multiplies, divides and then adds."""

    factors: tuple[Fraction, ...]
    divisor: Fraction = ONE

    @property
    def value(self) -> Fraction:
        """The exact product."""
        return prod(self.factors, start=ONE) / self.divisor


@dataclass(frozen=True, slots=True)
class Array:
    """An operand: exact numbers by index."""

    shape: Index
    numbers: Mapping[Index, Fraction]

    def __getitem__(self, index: Index) -> Fraction:
        return self.numbers[index]

    @classmethod
    def of(cls, tensor: Tensor) -> "Array":
        """A float32 or float64 tensor, an integer or a mask, exactly."""
        flat = tensor.data.ravel().tolist()
        return cls(tensor.shape, dict(zip(indices(tensor.shape), map(Fraction, flat), strict=True)))


@dataclass(frozen=True, slots=True)
class Sums:
    """An array by its definition: the terms of every element, in row-major order."""

    shape: Index
    terms: Mapping[Index, tuple[Term, ...]]


# What an operator is: (attributes, operands) -> the shape of its output, and the products of each element.
Defined = tuple[Index, Mapping[Index, tuple[Product, ...]]]
Definition = Callable[[Any, Mapping[str, Array]], Defined]


def indices(shape: Index) -> Iterator[Index]:
    """Every index of an array, in row-major order."""
    return cartesian(*map(range, shape))


def outputs(job: Job) -> dict[str, Sums]:
    """The outputs of a job, element by element.

    Raises:
        KeyError: if the operator is not among `DEFINITIONS`.
    """
    operands = {name: Array.of(tensor) for name, tensor in job.operands.items()}
    shape, elements = DEFINITIONS[job.operator](job.attributes, operands)
    terms = {at: tuple(_term(product, operands) for product in products) for at, products in elements.items()}
    return {_output(job): Sums(shape, {at: terms.get(at, ()) for at in indices(shape)})}


def gradients(job: Job) -> dict[str, Sums]:
    """The cotangent of a job pulled back to every operand, by the product rule.

    Raises:
        KeyError: if the operator is not among `DEFINITIONS`.
    """
    operands = {name: Array.of(tensor) for name, tensor in job.operands.items()}
    cotangent = Array.of(job.cotangents[_output(job)])
    _, elements = DEFINITIONS[job.operator](job.attributes, operands)
    pulled: dict[str, dict[Index, list[Term]]] = {name: {} for name in operands}
    for at, products in elements.items():
        for each in products:
            powers = Counter(each.places)
            for (name, index), power in powers.items():
                rest = powers - Counter({(name, index): 1})
                slope = Product(tuple(rest.elements()), power * each.factor, each.divisor)
                pulled[name].setdefault(index, []).append(_term(slope, operands, cotangent[at]))
    return {
        name: Sums(array.shape, {at: tuple(pulled[name].get(at, ())) for at in indices(array.shape)})
        for name, array in operands.items()
    }


def _output(job: Job) -> str:
    return "parameter" if job.operator == "sgd" else "output"


def _term(product: Product, operands: Mapping[str, Array], *cotangent: Fraction) -> Term:
    """A factor of 1 multiplies nothing."""
    numbers = (*cotangent, *(operands[name][index] for name, index in product.places))
    factor = () if product.factor == 1 and numbers else (product.factor,)
    return Term((*factor, *numbers), product.divisor)


# Windows, enumerated ------------------------------------------------------------------------------------------------


def _named_pads(size: int, span: int, stride: int, name: str) -> tuple[int, int]:
    """SAME: a window for every stride that begins inside; the last one says how many positions are missing."""
    if name == "valid":
        return 0, 0
    starts = range(0, size, stride)
    missing = max(starts[-1] + span - size, 0) if size else 0
    less, more = missing // 2, missing - missing // 2
    return (less, more) if name == "same" else (more, less)


@dataclass(frozen=True, slots=True)
class _Axis:
    """The windows of one axis: the position that every tap of every window looks at, and which lie in the padding."""

    size: int
    low: int
    high: int
    windows: tuple[tuple[int, ...], ...]

    def inside(self, position: int) -> bool:
        return 0 <= position < self.size

    def padded(self, position: int) -> bool:
        return -self.low <= position < self.size + self.high


def _axis(size: int, taps: int, stride: int, dilation: int, padding: Any, place: int, *, ceil: bool = False) -> _Axis:
    span = (taps - 1) * dilation + 1
    low, high = _named_pads(size, span, stride, padding) if isinstance(padding, str) else padding[place]
    windows: list[Index] = []
    start = -low
    while True:
        fits = start + span <= size + high
        hangs_over = ceil and start < size and start - stride + span < size + high
        if not (fits or hangs_over):
            return _Axis(size, low, high, tuple(windows))
        windows.append(tuple(start + tap * dilation for tap in range(taps)))
        start += stride


def _axes(sizes: Index, taps: Index, attributes: Any, *, ceil: bool = False) -> tuple[_Axis, ...]:
    dilation = getattr(attributes, "dilation", (1,) * len(taps))
    return tuple(
        _axis(n, k, s, d, attributes.padding, place, ceil=ceil)
        for place, (n, k, s, d) in enumerate(zip(sizes, taps, attributes.stride, dilation, strict=True))
    )


def _looked_at(axes: tuple[_Axis, ...], window: Index) -> Iterator[tuple[Index, Index]]:
    """Every tap of a window over a box, in row-major order, with its position."""
    for tap in indices(tuple(len(axis.windows[o]) for axis, o in zip(axes, window, strict=True))):
        yield tap, tuple(axis.windows[o][t] for axis, o, t in zip(axes, window, tap, strict=True))


def _inside(axes: tuple[_Axis, ...], position: Index) -> bool:
    return all(axis.inside(p) for axis, p in zip(axes, position, strict=True))


# Convolution --------------------------------------------------------------------------------------------------------


def _convolution(attributes: Any, given: Mapping[str, Array]) -> Defined:
    x, w = given["x"].shape, given["w"].shape
    taps, channels, units = w[:-2], w[-2], w[-1]
    axes = _axes(x[1:-1], taps, attributes)
    shape = (x[0], *(len(axis.windows) for axis in axes), units)
    elements = {}
    for at in indices(shape):
        image, window, unit = at[0], at[1:-1], at[-1]
        first = unit // (units // attributes.groups) * channels
        products = [
            Product((("x", (image, *position, first + c)), ("w", (*tap, c, unit))))
            for tap, position in _looked_at(axes, window)
            if _inside(axes, position)
            for c in range(channels)
        ]
        elements[at] = _with_bias(products, given, unit)
    return shape, elements


def _transposed(attributes: Any, given: Mapping[str, Array]) -> Defined:
    x, w = given["x"].shape, given["w"].shape
    taps, units = w[:-2], w[-2]
    starts, sizes = [], []
    for place, (n, k, s, d, more) in enumerate(
        zip(x[1:-1], taps, attributes.stride, attributes.dilation, attributes.output_padding, strict=True)
    ):
        span = (k - 1) * d + 1
        canvas = (n - 1) * s + span
        if attributes.output_size:
            # Where a convolution of the image that was asked for has its windows.
            size, kept = attributes.output_size[place], attributes.padding
            starts.append(_named_pads(size, span, s, kept)[0] if isinstance(kept, str) else kept[place][0])
            sizes.append(size)
        elif isinstance(attributes.padding, str):
            # Where a convolution of n s elements with this stride has its windows; VALID keeps all of the canvas.
            starts.append(_named_pads(n * s, span, s, attributes.padding)[0])
            sizes.append(max(n * s, canvas) if attributes.padding == "valid" else n * s)
        else:
            low, high = attributes.padding[place]
            starts.append(low)
            sizes.append(canvas - low - high + more)
    shape = (x[0], *sizes, units * attributes.groups)
    elements: dict[Index, list[Product]] = {at: [] for at in indices(shape)}
    for image, *position, channel in indices(x):
        group = channel // (x[-1] // attributes.groups)
        for tap in indices(taps):
            landed = tuple(
                i * s + t * d - start
                for i, s, t, d, start in zip(
                    position, attributes.stride, tap, attributes.dilation, starts, strict=True
                )
            )
            if attributes.pad_mode == "circular":
                landed = tuple(p % size for p, size in zip(landed, sizes, strict=True))
            if all(0 <= p < size for p, size in zip(landed, sizes, strict=True)):
                for unit in range(units):
                    elements[image, *landed, group * units + unit].append(
                        Product((("x", (image, *position, channel)), ("w", (*tap, unit, channel))))
                    )
    return shape, {at: _with_bias(products, given, at[-1]) for at, products in elements.items()}


def _weight_gradient(attributes: Any, given: Mapping[str, Array]) -> Defined:
    x, g = given["x"].shape, given["g"].shape
    channels, units = x[-1] // attributes.groups, g[-1] // attributes.groups
    axes = _axes(x[1:-1], attributes.kernel, attributes)
    elements: dict[Index, list[Product]] = {}
    for image, *window, unit in indices(g):
        first = unit // units * channels
        for tap, position in _looked_at(axes, tuple(window)):
            if _inside(axes, position):
                for c in range(channels):
                    elements.setdefault((*tap, c, unit), []).append(
                        Product((("x", (image, *position, first + c)), ("g", (image, *window, unit))))
                    )
    return (*attributes.kernel, channels, g[-1]), {at: tuple(products) for at, products in elements.items()}


def _with_bias(products: list[Product], given: Mapping[str, Array], unit: int) -> tuple[Product, ...]:
    return (*products, Product((("b", (unit,)),))) if "b" in given else tuple(products)


# Pooling ------------------------------------------------------------------------------------------------------------


def _max_pool(attributes: Any, given: Mapping[str, Array]) -> Defined:
    x = given["x"]
    axes = _axes(x.shape[1:-1], attributes.window, attributes, ceil=attributes.ceil_mode)
    shape = (x.shape[0], *(len(axis.windows) for axis in axes), x.shape[-1])
    elements = {}
    for at in indices(shape):
        seen = [(at[0], *p, at[-1]) for _, p in _looked_at(axes, at[1:-1]) if _inside(axes, p)]
        elements[at] = (Product((("x", max(seen, key=x.__getitem__)),)),)  # of equals the first
    return shape, elements


def _fractional_max_pool(attributes: Any, given: Mapping[str, Array]) -> Defined:
    x, samples = given["x"], given["samples"]
    shape = (x.shape[0], *attributes.size, x.shape[-1])
    elements = {}
    for at in indices(shape):
        image, *place, channel = at
        ranges = []
        for axis, (o, m, k) in enumerate(zip(place, attributes.size, attributes.window, strict=True)):
            start = last = x.shape[axis + 1] - k
            if o < m - 1:
                step, sample = Fraction(last, m - 1), Fraction(float(samples[image, channel, axis]))
                start = floor((o + sample) * step) - floor(sample * step)
            ranges.append(range(start, start + k))
        seen = [(image, row, column, channel) for row in ranges[0] for column in ranges[1]]
        elements[at] = (Product((("x", max(seen, key=x.__getitem__)),)),)
    return shape, elements


def _average_pool(attributes: Any, given: Mapping[str, Array]) -> Defined:
    x = given["x"].shape
    axes = _axes(x[1:-1], attributes.window, attributes, ceil=attributes.ceil_mode)
    shape = (x[0], *(len(axis.windows) for axis in axes), x[-1])
    elements = {}
    for at in indices(shape):
        positions = [position for _, position in _looked_at(axes, at[1:-1])]
        inside = [position for position in positions if _inside(axes, position)]
        padded = [p for p in positions if all(axis.padded(q) for axis, q in zip(axes, p, strict=True))]
        divisor = Fraction(len(padded if attributes.count_padding else inside))
        elements[at] = tuple(Product((("x", (at[0], *p, at[-1])),), divisor=divisor) for p in inside)
    return shape, elements


def _mean_over(x: Index, axes: tuple[int, ...], *, keep: bool) -> Defined:
    places = {axis % len(x) for axis in axes}
    kept = tuple(1 if place in places else n for place, n in enumerate(x))
    divisor = Fraction(prod(x[place] for place in places))
    elements: dict[Index, list[Product]] = {}
    for at in indices(x):
        to = tuple(0 if place in places else i for place, i in enumerate(at))
        to = to if keep else tuple(i for place, i in enumerate(to) if place not in places)
        elements.setdefault(to, []).append(Product((("x", at),), divisor=divisor))
    shape = kept if keep else tuple(n for place, n in enumerate(kept) if place not in places)
    return shape, {at: tuple(products) for at, products in elements.items()}


def _mean(attributes: Any, given: Mapping[str, Array]) -> Defined:
    return _mean_over(given["x"].shape, attributes.axes, keep=attributes.keepdims)


def _global_average(attributes: Any, given: Mapping[str, Array]) -> Defined:
    return _mean_over(given["x"].shape, (1, 2), keep=False)


def _global_maximum(attributes: Any, given: Mapping[str, Array]) -> Defined:
    x = given["x"]
    images, height, width, channels = x.shape
    elements: dict[Index, tuple[Product, ...]] = {}
    for image, channel in indices((images, channels)):
        seen = [(image, i, j, channel) for i, j in indices((height, width))]
        elements[image, channel] = (Product((("x", max(seen, key=x.__getitem__)),)),)
    return (images, channels), elements


# What moves elements ------------------------------------------------------------------------------------------------


def _beyond(size: int, low: int, high: int, mode: str) -> list[int | None]:
    """Which element stands at each position of a padded axis, read outwards from either edge; None: the constant."""
    outwards: dict[str, Callable[[int], tuple[int | None, int | None]]] = {
        "constant": lambda far: (None, None),
        "reflect": lambda far: (far, size - 1 - far),
        "symmetric": lambda far: (far - 1, size - far),
        "edge": lambda far: (0, size - 1),
        "wrap": lambda far: (size - far, far - 1),
    }
    read = outwards[mode]
    before = [read(far)[0] for far in range(low, 0, -1)]
    return [*before, *range(size), *(read(far)[1] for far in range(1, high + 1))]


def _left(size: int, low: int, high: int, mode: str) -> list[int | None]:
    """The same of what negative pads leave of an axis."""
    left = list(range(size))[max(-low, 0) : size - max(-high, 0)]
    return [None if place is None else left[place] for place in _beyond(len(left), low, high, mode)]


def _pad(attributes: Any, given: Mapping[str, Array]) -> Defined:
    sources = [
        _left(n, low, high, attributes.mode)
        for n, (low, high) in zip(given["x"].shape, attributes.padding, strict=True)
    ]
    shape = tuple(map(len, sources))
    elements = {}
    for at in indices(shape):
        read = [source[i] for source, i in zip(sources, at, strict=True)]
        index = tuple(i for i in read if i is not None)
        constant = Product((), Fraction(attributes.value))
        elements[at] = (Product((("x", index),)) if len(index) == len(read) else constant,)
    return shape, elements


def _concat(attributes: Any, given: Mapping[str, Array]) -> Defined:
    x, y = given["x"].shape, given["y"].shape
    axis = attributes.axis % len(x)
    shape = tuple(n + m if place == axis else n for place, (n, m) in enumerate(zip(x, y, strict=True)))
    elements = {}
    for at in indices(shape):
        behind = (*at[:axis], at[axis] - x[axis], *at[axis + 1 :])
        elements[at] = (Product((("x", at) if at[axis] < x[axis] else ("y", behind),)),)
    return shape, elements


def _flatten(attributes: Any, given: Mapping[str, Array]) -> Defined:
    x = given["x"].shape
    elements: dict[Index, tuple[Product, ...]] = {
        (n, place): (Product((("x", (n, *rest)),)),) for n in range(x[0]) for place, rest in enumerate(indices(x[1:]))
    }
    return (x[0], prod(x[1:])), elements


def _folded(attributes: Any, channel: int, i: int, j: int, channels: int) -> int:
    """Where pixel (i, j) of a block lies among the channels."""
    b: int = attributes.block
    return (i * b + j) * channels + channel if attributes.order == "dcr" else (channel * b + i) * b + j


def _depth_to_space(attributes: Any, given: Mapping[str, Array]) -> Defined:
    images, height, width, depth = given["x"].shape
    b = attributes.block
    shape = (images, height * b, width * b, depth // b**2)
    return shape, {
        (n, h, w, c): (Product((("x", (n, h // b, w // b, _folded(attributes, c, h % b, w % b, shape[-1]))),)),)
        for n, h, w, c in indices(shape)
    }


def _space_to_depth(attributes: Any, given: Mapping[str, Array]) -> Defined:
    images, height, width, channels = given["x"].shape
    b = attributes.block
    return (images, height // b, width // b, channels * b**2), {
        (n, h // b, w // b, _folded(attributes, c, h % b, w % b, channels)): (Product((("x", (n, h, w, c)),)),)
        for n, h, w, c in indices(given["x"].shape)
    }


# Windows beside the pools -------------------------------------------------------------------------------------------


def _in_patch(attributes: Any, tap: Index, channel: int, channels: int) -> int:
    """Where a tap's channel lies in a patch."""
    rows: int
    columns: int
    (rows, columns), (i, j) = attributes.window, tap
    if attributes.order == "channels_last":
        return (i * columns + j) * channels + channel
    return (channel * rows + i) * columns + j


def _extract_patches(attributes: Any, given: Mapping[str, Array]) -> Defined:
    images, *sizes, channels = given["x"].shape
    axes = _axes(tuple(sizes), attributes.window, attributes)
    counts = tuple(len(axis.windows) for axis in axes)
    elements: dict[Index, tuple[Product, ...]] = {}
    for image, *window, channel in indices((images, *counts, channels)):
        for tap, position in _looked_at(axes, tuple(window)):
            if _inside(axes, position):
                to = (image, *window, _in_patch(attributes, tap, channel, channels))
                elements[to] = (Product((("x", (image, *position, channel)),)),)
    return (images, *counts, prod(attributes.window) * channels), elements


def _fold(attributes: Any, given: Mapping[str, Array]) -> Defined:
    images, *counts, depth = given["x"].shape
    channels = depth // prod(attributes.window)
    axes = _axes(attributes.size, attributes.window, attributes)
    elements: dict[Index, list[Product]] = {}
    for image, *window, channel in indices((images, *counts, channels)):
        for tap, position in _looked_at(axes, tuple(window)):
            if _inside(axes, position):
                read = (image, *window, _in_patch(attributes, tap, channel, channels))
                elements.setdefault((image, *position, channel), []).append(Product((("x", read),)))
    return (images, *attributes.size, channels), {at: tuple(products) for at, products in elements.items()}


def _shares(n: int, m: int, window: int) -> list[int]:
    """The elements of which a part lies in a window, when n elements are cut into m equal windows."""
    begin, end = Fraction(window * n, m), Fraction((window + 1) * n, m)
    return [place for place in range(n) if place + 1 > begin and place < end]


def _adaptive(attributes: Any, x: Index) -> Iterator[tuple[Index, list[Index]]]:
    """Every output of an adaptive pool, and the elements that it sees, in row-major order."""
    for at in indices((x[0], *attributes.size, x[-1])):
        rows, columns = (_shares(*sizes) for sizes in zip(x[1:-1], attributes.size, at[1:-1], strict=True))
        yield at, [(at[0], i, j, at[-1]) for i in rows for j in columns]


def _adaptive_average_pool(attributes: Any, given: Mapping[str, Array]) -> Defined:
    x = given["x"].shape
    return (x[0], *attributes.size, x[-1]), {
        at: tuple(Product((("x", place),), divisor=Fraction(len(seen))) for place in seen)
        for at, seen in _adaptive(attributes, x)
    }


def _adaptive_max_pool(attributes: Any, given: Mapping[str, Array]) -> Defined:
    x = given["x"]
    return (x.shape[0], *attributes.size, x.shape[-1]), {
        at: (Product((("x", max(seen, key=x.__getitem__)),)),)  # of equals the first
        for at, seen in _adaptive(attributes, x.shape)
    }


def _lp_pool(attributes: Any, given: Mapping[str, Array]) -> Defined:
    """Sums of numbers or of absolute values; the root of a sum of squares is not rational."""
    x = given["x"]
    axes = _axes(x.shape[1:-1], attributes.window, attributes)
    shape = (x.shape[0], *(len(axis.windows) for axis in axes), x.shape[-1])
    elements = {}
    for at in indices(shape):
        seen = [(at[0], *p, at[-1]) for _, p in _looked_at(axes, at[1:-1]) if _inside(axes, p)]
        elements[at] = tuple(
            Product((("x", place),), -ONE if x[place] < 0 and not attributes.signed else ONE)
            for place in seen
            if x[place] or attributes.signed
        )
    return shape, elements


def _put_back(attributes: Any, given: Mapping[str, Array]) -> Defined:
    """Of maxima: a number for every place in an unpooled image, sums of them in the gradient of a pool."""
    x, places = given["x"].shape, given["indices"]
    columns, channels = attributes.size[1], x[-1]
    elements: dict[Index, tuple[Product, ...]] = {}
    for at in indices(x):
        pixel, channel = int(places[at]), at[-1]
        if attributes.indexed == "image":
            pixel, channel = divmod(pixel, channels)
        place = (at[0], *divmod(pixel, columns), channel)
        elements[place] = (*elements.get(place, ()), Product((("x", at),)))
    return (x[0], *attributes.size, channels), elements


# Resizing -----------------------------------------------------------------------------------------------------------

_HALF: Final = Fraction(1, 2)


def _coordinate(n: int, m: int, output: int, coordinates: str) -> Fraction:
    if coordinates == "half_pixel":
        return (output + _HALF) * n / m - _HALF
    if coordinates == "asymmetric":
        return Fraction(output * n, m)
    return Fraction(output * (n - 1), m - 1) if m > 1 else ZERO


def _to_integer(number: Fraction, rounding: str) -> int:
    below = number.numerator // number.denominator
    beyond = number - below
    up = {"floor": False, "ceil": beyond > 0, "half_up": beyond >= _HALF, "half_down": beyond > _HALF}[rounding]
    return below + up


def _kernel_at(distance: Fraction, attributes: Any) -> Fraction:
    """The triangle, or Keys' two cubic pieces as he factors them by their roots."""
    d, a = abs(distance), Fraction(attributes.coefficient)
    if attributes.method == "linear":
        return max(1 - d, ZERO)
    if d < 1:
        return (1 - d) * (1 + d - (a + 2) * d**2)
    return a * (d - 1) * (d - 2) ** 2 if d < 2 else ZERO


def _weights(n: int, m: int, output: int, attributes: Any) -> list[tuple[int, Fraction]]:
    """The elements of one axis that an output is made of, and what they weigh; the edge's may occur several times."""
    at = _coordinate(n, m, output, attributes.coordinates)
    if attributes.method == "nearest":
        return [(min(max(_to_integer(at, attributes.rounding), 0), n - 1), ONE)]
    if attributes.method == "area":
        return _covered(Fraction(output * n, m), Fraction((output + 1) * n, m), attributes.cover)
    width = max(Fraction(n, m), ONE) if attributes.antialias else ONE
    reach = 2 * _to_integer(width, "ceil")
    around = range(_to_integer(at, "floor") - reach, _to_integer(at, "floor") + reach + 2)
    weights = [(place, weight) for place in around if (weight := _kernel_at((at - place) / width, attributes))]
    if attributes.edge == "renormalize" and (attributes.antialias or attributes.method == "cubic"):
        weights = [(place, weight) for place, weight in weights if 0 <= place < n]
    total = sum(weight for _, weight in weights)  # 1 of a kernel that is not widened and loses nothing at the edge
    return [(min(max(place, 0), n - 1), weight / total) for place, weight in weights]


def _covered(begin: Fraction, end: Fraction, cover: str) -> list[tuple[int, Fraction]]:
    """The elements with a part between two ends, and what each weighs in their mean."""
    places = range(_to_integer(begin, "floor"), _to_integer(end, "ceil"))
    if cover == "whole":
        return [(place, Fraction(1, len(places))) for place in places]
    return [
        (place, (min(end, Fraction(place + 1)) - max(begin, Fraction(place))) / (end - begin)) for place in places
    ]


def _resize(attributes: Any, given: Mapping[str, Array]) -> Defined:
    images, *sizes, channels = given["x"].shape
    axes = [
        [_weights(n, m, output, attributes) for output in range(m)]
        for n, m in zip(sizes, attributes.size, strict=True)
    ]
    return (images, *attributes.size, channels), {
        (image, *at, channel): tuple(
            Product(
                (("x", (image, *(place for place, _ in taken), channel)),),
                prod((weight for _, weight in taken), start=ONE),
            )
            for taken in cartesian(*(axis[o] for axis, o in zip(axes, at, strict=True)))
        )
        for image, *at, channel in indices((images, *attributes.size, channels))
    }


# Products and sums --------------------------------------------------------------------------------------------------


def _dense(attributes: Any, given: Mapping[str, Array]) -> Defined:
    x, (inputs, units) = given["x"].shape, given["w"].shape
    shape = (*x[:-1], units)
    return shape, {
        at: _with_bias([Product((("x", (*at[:-1], k)), ("w", (k, at[-1])))) for k in range(inputs)], given, at[-1])
        for at in indices(shape)
    }


def _bias_add(attributes: Any, given: Mapping[str, Array]) -> Defined:
    shape = given["x"].shape
    return shape, {at: (Product((("x", at),)), Product((("b", at[-1:]),))) for at in indices(shape)}


def _broadcast(x: Index, y: Index) -> Index:
    axes = max(len(x), len(y))
    aligned = zip((1,) * (axes - len(x)) + x, (1,) * (axes - len(y)) + y, strict=True)
    return tuple(m if n == 1 else n for n, m in aligned)


def _read_from(at: Index, shape: Index) -> Index:
    """The element that a broadcast operand shows at an index."""
    own = at[len(at) - len(shape) :]
    return tuple(0 if n == 1 else i for i, n in zip(own, shape, strict=True))


def _matmul(attributes: Any, given: Mapping[str, Array]) -> Defined:
    x, y = given["x"].shape, given["y"].shape
    shape = (*_broadcast(x[:-2], y[:-2]), x[-2], y[-1])
    elements = {}
    for at in indices(shape):
        batch, row, column = at[:-2], at[-2], at[-1]
        left, right = _read_from(batch, x[:-2]), _read_from(batch, y[:-2])
        elements[at] = tuple(Product((("x", (*left, row, k)), ("y", (*right, k, column)))) for k in range(x[-1]))
    return shape, elements


def _add(attributes: Any, given: Mapping[str, Array]) -> Defined:
    x, y = given["x"].shape, given["y"].shape
    shape = _broadcast(x, y)
    return shape, {
        at: (Product((("x", _read_from(at, x)),)), Product((("y", _read_from(at, y)),))) for at in indices(shape)
    }


def _multiply(attributes: Any, given: Mapping[str, Array]) -> Defined:
    x, y = given["x"].shape, given["y"].shape
    shape = _broadcast(x, y)
    return shape, {at: (Product((("x", _read_from(at, x)), ("y", _read_from(at, y)))),) for at in indices(shape)}


def _signal(given: Mapping[str, Array], mode: str, *, reversed_: bool) -> Defined:
    """The full convolution, and of it all, the middle of x's size, or what no edge has a part in."""
    x, w = given["x"].shape, given["w"].shape
    full: dict[Index, list[Product]] = {}
    for i in indices(x):
        for k in indices(w):
            read = tuple(n - 1 - t for n, t in zip(w, k, strict=True)) if reversed_ else k
            to = tuple(a + b for a, b in zip(i, k, strict=True))
            full.setdefault(to, []).append(Product((("x", i), ("w", read))))
    sizes = {
        "full": tuple(n + k - 1 for n, k in zip(x, w, strict=True)),
        "same": x,
        "valid": tuple(max(n, k) - min(n, k) + 1 for n, k in zip(x, w, strict=True)),
    }[mode]
    starts = tuple((whole - size) // 2 for whole, size in zip(map(_full, x, w), sizes, strict=True))
    return sizes, {
        at: tuple(full[tuple(i + start for i, start in zip(at, starts, strict=True))]) for at in indices(sizes)
    }


def _full(n: int, k: int) -> int:
    return n + k - 1


def _convolve(attributes: Any, given: Mapping[str, Array]) -> Defined:
    return _signal(given, attributes.mode, reversed_=False)


def _correlate(attributes: Any, given: Mapping[str, Array]) -> Defined:
    return _signal(given, attributes.mode, reversed_=True)


# Element by element -------------------------------------------------------------------------------------------------

# (factor, power, divisor) of every monomial of the piece of a function that holds at x; at a kink the piece says
# which derivative counts.
Monomial = tuple[Fraction, int, Fraction]
Piece = Callable[[Fraction, Any], tuple[Monomial, ...]]
_ITSELF: Final = ((ONE, 1, ONE),)
_SIX: Final = Fraction(6)


def _constant(value: Fraction) -> tuple[Monomial, ...]:
    return ((value, 0, ONE),)


def _relu(x: Fraction, attributes: Any) -> tuple[Monomial, ...]:
    return _ITSELF if x > 0 else ()


def _relu6(x: Fraction, attributes: Any) -> tuple[Monomial, ...]:
    return _constant(_SIX) if x >= 6 else _relu(x, attributes)


def _leaky(x: Fraction, attributes: Any) -> tuple[Monomial, ...]:
    return _ITSELF if x > 0 else ((Fraction(attributes.slope), 1, ONE),)


def _hard_sigmoid(x: Fraction, attributes: Any) -> tuple[Monomial, ...]:
    if x >= 3:
        return _constant(ONE)
    return ((ONE, 1, _SIX), (Fraction(3), 0, _SIX)) if x > -3 else ()


def _hard_swish(x: Fraction, attributes: Any) -> tuple[Monomial, ...]:
    if x >= 3:
        return _ITSELF
    return ((ONE, 2, _SIX), (Fraction(3), 1, _SIX)) if x > -3 else ()


def _hard_tanh(x: Fraction, attributes: Any) -> tuple[Monomial, ...]:
    low, high = Fraction(attributes.low), Fraction(attributes.high)
    return _ITSELF if low < x < high else _constant(low if x <= low else high)


def _polynomial(x: Fraction, attributes: Any) -> tuple[Monomial, ...]:
    highest = len(attributes.coefficients) - 1
    return tuple((Fraction(c), highest - i, ONE) for i, c in enumerate(attributes.coefficients))


def _element_wise(piece: Piece) -> Definition:
    def definition(attributes: Any, given: Mapping[str, Array]) -> Defined:
        x = given["x"]
        return x.shape, {
            at: tuple(
                Product((("x", at),) * power, factor, divisor) for factor, power, divisor in piece(number, attributes)
            )
            for at, number in x.numbers.items()
        }

    return definition


def _prelu(attributes: Any, given: Mapping[str, Array]) -> Defined:
    x = given["x"]
    return x.shape, {
        at: (Product((("x", at),) if number > 0 else (("a", at[-1:]), ("x", at))),)
        for at, number in x.numbers.items()
    }


def _dropout(attributes: Any, given: Mapping[str, Array]) -> Defined:
    x, mask = given["x"], given["mask"]
    keep = Fraction(attributes.keep)
    return x.shape, {at: (Product((("x", at),), divisor=keep),) if mask[at] else () for at in indices(x.shape)}


def _sgd(attributes: Any, given: Mapping[str, Array]) -> Defined:
    shape = given["parameter"].shape
    rate = Fraction(attributes.learning_rate)
    return shape, {at: (Product((("parameter", at),)), Product((("gradient", at),), -rate)) for at in indices(shape)}


DEFINITIONS: Final[Mapping[str, Definition]] = MappingProxyType(
    {
        **{f"conv{rank}d": _convolution for rank in (1, 2, 3)},
        **{f"conv{rank}d_transpose": _transposed for rank in (1, 2, 3)},
        **{f"max_pool{rank}d": _max_pool for rank in (1, 2, 3)},
        **{f"average_pool{rank}d": _average_pool for rank in (1, 2, 3)},
        "global_average_pool2d": _global_average,
        "global_max_pool2d": _global_maximum,
        "mean": _mean,
        "pad": _pad,
        "concat": _concat,
        "flatten": _flatten,
        "depth_to_space": _depth_to_space,
        "space_to_depth": _space_to_depth,
        "extract_patches": _extract_patches,
        "fold": _fold,
        "adaptive_average_pool2d": _adaptive_average_pool,
        "adaptive_max_pool2d": _adaptive_max_pool,
        "fractional_max_pool2d": _fractional_max_pool,
        "lp_pool2d": _lp_pool,
        "max_unpool2d": _put_back,
        **{f"conv{rank}d_weight_gradient": _weight_gradient for rank in (2, 3)},
        "max_pool2d_gradient": _put_back,
        **{f"resize{rank}d": _resize for rank in (1, 2, 3)},
        "dense": _dense,
        "bias_add": _bias_add,
        "matmul": _matmul,
        "add": _add,
        "multiply": _multiply,
        "convolve": _convolve,
        "correlate": _correlate,
        "relu": _element_wise(_relu),
        "relu6": _element_wise(_relu6),
        "leaky_relu": _element_wise(_leaky),
        "hard_sigmoid": _element_wise(_hard_sigmoid),
        "hard_swish": _element_wise(_hard_swish),
        "hard_tanh": _element_wise(_hard_tanh),
        "polynomial": _element_wise(_polynomial),
        "prelu": _prelu,
        "dropout": _dropout,
        "sgd": _sgd,
    }
)
"""Operators whose values and gradients are rational in their operands, by name; see `is_defined`."""

_TRANSCENDENTAL: Final = "exponentials or logarithms"
_ROOTS: Final = "the root of a variance divides"
IRRATIONAL: Final[Mapping[str, str]] = MappingProxyType(
    {
        **dict.fromkeys(("sigmoid", "tanh", "softmax", "log_softmax", "elu", "selu"), _TRANSCENDENTAL),
        **dict.fromkeys(("gelu", "silu", "mish", "softplus", "log_sigmoid"), _TRANSCENDENTAL),
        "softmax_cross_entropy": _TRANSCENDENTAL,
        "softmax_cross_entropy_dense": _TRANSCENDENTAL,
        "binary_cross_entropy": _TRANSCENDENTAL,
        "kl_divergence": _TRANSCENDENTAL,
        "mean_squared_error": "a difference is squared, so that it is no sum of products of distinct operands",
        **dict.fromkeys(("batch_norm", "batch_norm_training", "layer_norm", "group_norm", "instance_norm"), _ROOTS),
        "adam": "the root of a mean of squares divides",
        "adamw": "the root of a mean of squares divides",
        "rmsprop": "the root of a mean of squares divides",
        "adagrad": "the root of a sum of squares divides",
        **{f"max_pool{rank}d_with_indices": "its second output counts places" for rank in (1, 2, 3)},
        "sgd_momentum": "it has two outputs, where a definition has one",
        "initialize": "a sample has no definition",
        "random_dropout": "a sample has no definition",
        "glorot_uniform": "the root of a sum of sizes is a factor",
        "softsign": "what is added divides, so that it is no sum of products",
        "local_response_norm": "a power of what is added divides",
        "chain": "made of operators that are held to their definitions one by one",
    }
)
"""Every other operator, and why it is no sum of products of its operands."""


def is_defined(job: Job) -> bool:
    """Whether a job's answer is rational and finite.

    The root of a power pool is not, unlike its sums; nor is the maximum of a window that holds padding alone, as a
    dilated one may.
    """
    if job.operator == "lp_pool2d":
        return bool(job.attributes.p == 1)
    if DEFINITIONS.get(job.operator) is _max_pool:
        a = job.attributes
        axes = _axes(job.operands["x"].shape[1:-1], a.window, a, ceil=a.ceil_mode)
        return all(any(map(axis.inside, window)) for axis in axes for window in axis.windows)
    return job.operator in DEFINITIONS
