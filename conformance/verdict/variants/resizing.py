"""Other readings of resizing, patches, folds, adaptive and power pools, and unpooling."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from math import prod
from typing import Final

import numpy as np

from conformance.case.geometry import adaptive_spans, nearest_places, resolve_pads, window_count
from conformance.case.job import Job, Tensor
from conformance.formats import FORMATS
from conformance.verdict.model import Expectation, exactly
from conformance.verdict.oracle import Expectations
from conformance.verdict.variants.reading import (
    Array,
    Reading,
    Variant,
    bounded,
    each_gradient,
    moved,
    moved_operand,
    moved_output,
    numbers,
    pads_of,
    replaced,
    reread,
    scaled,
    with_attributes,
    with_operand,
)

Spans = Sequence[tuple[int, int]]
# Of the table from which TensorFlow reads its cubic weights, between two elements (kTableSize of its kernel).
TABLE_STEPS: Final = 1024

# Resizing -----------------------------------------------------------------------------------------------------------


def _spreads(job: Job) -> bool:
    """Whether an output is made of all that it covers, which has no coordinates but half pixels."""
    return bool(job.attributes.antialias or job.attributes.method == "area")


def _other_coordinates(job: Job, given: str, other: str) -> Reading | None:
    a = job.attributes
    if a.coordinates != given or _spreads(job):
        return None
    # Asymmetric coordinates have no weights to renormalize.
    return reread(job, coordinates=other, edge="clamp" if other == "asymmetric" else a.edge)


def _other_rounding(job: Job, given: tuple[str, ...], other: str) -> Reading | None:
    if job.attributes.method != "nearest" or job.attributes.rounding not in given:
        return None
    return reread(job, rounding=other)


def _first_of_block(job: Job) -> Reading | None:
    a = job.attributes
    if (a.method, a.coordinates, a.rounding) != ("nearest", "half_pixel", "half_up"):
        return None
    return reread(job, coordinates="asymmetric", rounding="floor")


def _other_method(job: Job, given: str, other: str) -> Reading | None:
    a = job.attributes
    if a.method != given:
        return None
    edge = a.edge if other == "cubic" or a.antialias else "clamp"
    return Reading(job=with_attributes(job, method=other, edge=edge, antialias=a.antialias and other != "nearest"))


def _other_coefficient(job: Job, coefficient: float) -> Reading | None:
    return reread(job, coefficient=coefficient) if job.attributes.method == "cubic" else None


def _other_edge(job: Job, given: str, other: str) -> Reading | None:
    a = job.attributes
    if a.edge != given or not (a.method == "cubic" or a.antialias) or a.coordinates == "asymmetric":
        return None
    return reread(job, edge=other)


def _gradient_as_nearest(job: Job) -> Reading | None:
    if not job.cotangents or job.attributes.method == "nearest":
        return None
    nearest = with_attributes(job, method="nearest", rounding="half_up", antialias=False)
    return Reading(job=job, pulled={"x": nearest})


def _cubic(distance: Array, a: float) -> Array:
    inner = ((a + 2) * distance - (a + 3)) * distance**2 + 1
    outer = a * (((distance - 5) * distance + 8) * distance - 4)
    return np.asarray(np.where(distance < 1, inner, np.where(distance < 2, outer, 0.0)))


def _weights(job: Job, n: int, m: int, ratio: float, *, steps: int = 0) -> Array:
    """(outputs, elements): what the elements of an axis weigh, by a ratio of its own.

    Coordinates are rounded to so many `steps` an element, where there are any.
    """
    a = job.attributes
    if a.method == "nearest":
        return np.asarray(np.array(nearest_places(n, m, a.coordinates, a.rounding))[:, None] == np.arange(n), float)
    at = (np.arange(m) + 0.5) * ratio - 0.5 if a.coordinates == "half_pixel" else np.arange(m) * ratio
    at = np.rint(at * steps) / steps if steps else at
    width = max(ratio, 1.0) if a.antialias else 1.0
    reach = int(np.ceil((2 if a.method == "cubic" else 1) * width)) + 1
    places = np.floor(at)[:, None].astype(np.int64) + np.arange(-reach, reach + 1)
    distance = np.abs(at[:, None] - places) / width
    weights = np.maximum(1 - distance, 0.0) if a.method == "linear" else _cubic(distance, a.coefficient)
    if a.edge == "renormalize" and (a.antialias or a.method == "cubic"):
        weights = np.where((places >= 0) & (places < n), weights, 0.0)
        weights = weights / weights.sum(axis=1, keepdims=True)
    elif a.antialias:
        weights = weights / weights.sum(axis=1, keepdims=True)
    matrix = np.zeros((m, n))
    np.add.at(matrix, (np.arange(m)[:, None], np.clip(places, 0, n - 1)), weights)
    return matrix


def _ratio(job: Job, n: int, m: int) -> float:
    return (n - 1) / max(m - 1, 1) if job.attributes.coordinates == "align_corners" else n / m


def _pairs(job: Job) -> list[tuple[int, int]]:
    return list(zip(job.operands["x"].shape[1:-1], job.attributes.size, strict=True))


def _through(matrices: Iterable[Array], data: Array) -> Array:
    for axis, matrix in enumerate(matrices, start=1):
        data = np.moveaxis(np.tensordot(matrix, data, axes=(1, axis)), 0, axis)
    return data


def _around(matrix: Array) -> Array:
    """Every weight's size and 1, where there is one or a neighbour has one: what an error of a coordinate reaches."""
    there = np.pad(matrix != 0, ((0, 0), (1, 1)))
    return np.asarray(np.abs(matrix) + (there[:, 2:] | there[:, 1:-1] | there[:, :-2]))


def _weighed(job: Job, *matrices: Array, gradients_alone: bool = False) -> Reading:
    """Own weights, by axis, instead of the job's."""
    # Errors of a coordinate, up to 6 times the image's side, times the kernel's slope of at most 3/2, in every axis;
    # as many roundings as a cubic's weight has (a hundred or so); and those of the sums.
    longest = max(max(matrix.shape) for matrix in matrices)
    terms = (9 * longest + 100) * len(matrices) + prod(matrix.shape[0] for matrix in matrices)

    def change(found: Expectations) -> Expectations:
        outputs, gradients = {}, {}
        if not gradients_alone:
            x = numbers(job.operands["x"])
            absolute = _through(map(_around, matrices), np.abs(x))
            outputs["output"] = bounded(job, _through(matrices, x), terms, absolute)
        if found.gradients:
            cotangent = numbers(job.cotangents["output"])
            absolute = _through([_around(matrix).T for matrix in matrices], np.abs(cotangent))
            gradients["x"] = bounded(job, _through([matrix.T for matrix in matrices], cotangent), terms, absolute)
        return replaced(found, outputs, gradients)

    return Reading(job=job, change=change)


def _ratios_exchanged(job: Job) -> Reading | None:
    pairs = _pairs(job)
    ratios = [_ratio(job, n, m) for n, m in pairs]
    if job.attributes.method == "nearest" or _spreads(job) or ratios == ratios[::-1]:
        return None
    if job.attributes.edge == "renormalize" and job.attributes.method == "cubic":
        return None  # the other ratio may leave the image, where no weight is left
    return _weighed(job, *(_weights(job, n, m, ratio) for (n, m), ratio in zip(pairs, ratios[::-1], strict=True)))


def _smoothed(job: Job) -> Reading | None:
    a = job.attributes
    if a.method not in ("linear", "cubic") or a.antialias or a.coordinates != "half_pixel":
        return None
    if all(m >= n for n, m in _pairs(job)):
        return None
    return Reading(job=with_attributes(job, antialias=True, edge="renormalize"))


def _not_smoothed(job: Job) -> Reading | None:
    return reread(job, antialias=False) if job.attributes.antialias else None


def _other_cover(job: Job, given: str, other: str) -> Reading | None:
    a = job.attributes
    return reread(job, cover=other) if (a.method, a.cover) == ("area", given) else None


def _tabulated(job: Job) -> Reading | None:
    if job.attributes.method != "cubic" or job.attributes.antialias:
        return None
    exact, stepped = (
        [_weights(job, n, m, _ratio(job, n, m), steps=steps) for n, m in _pairs(job)] for steps in (0, TABLE_STEPS)
    )
    if all(np.allclose(one, other, rtol=0, atol=2.0**-40) for one, other in zip(exact, stepped, strict=True)):
        return None  # but for what rounding leaves
    return _weighed(job, *stepped)


def _last_output_alone(job: Job) -> Reading | None:
    """The gradient of the last output that looks at an element, by axis, as outputs are in row-major order."""
    if not job.cotangents or job.attributes.method == "area":
        return None
    matrices = []
    for n, m in _pairs(job):
        weights = _weights(job, n, m, _ratio(job, n, m))
        weights[np.abs(weights) < 2.0**-40] = 0.0  # what rounding leaves of nothing
        seen = weights != 0
        last = m - 1 - np.argmax(seen[::-1], axis=0)
        matrices.append(np.where(seen & (np.arange(m)[:, None] == last), weights, 0.0))
    return _weighed(job, *matrices, gradients_alone=True)


# Patches ------------------------------------------------------------------------------------------------------------


def _other_padding(job: Job, given: str, other: str) -> Reading | None:
    if job.attributes.padding != given:
        return None
    read = with_attributes(job, padding=other)
    return None if pads_of(read) == pads_of(job) else Reading(job=read)


def _pads_swapped(job: Job) -> Reading | None:
    if not isinstance(job.attributes.padding, tuple):
        return None
    return reread(job, padding=tuple((high, low) for low, high in job.attributes.padding))


def _other_order(job: Job) -> Reading:
    order = "channels_first" if job.attributes.order == "channels_last" else "channels_last"
    return Reading(job=with_attributes(job, order=order))


def _column_by_column(job: Job) -> Reading | None:
    """The taps of a patch in column-major order."""
    a, fold = job.attributes, job.operator == "fold"
    if min(a.window) == 1:
        return None
    first = a.order == "channels_first"

    def taps(patches: Array, window: tuple[int, ...]) -> Array:
        channels = patches.shape[-1] // prod(window)
        inside = (channels, *window) if first else (*window, channels)
        split = patches.reshape(*patches.shape[:3], *inside)
        return np.swapaxes(split, *((4, 5) if first else (3, 4))).reshape(patches.shape)

    def move(patches: Array) -> Array:
        return taps(patches, a.window)

    def back(patches: Array) -> Array:
        return taps(patches, a.window[::-1])

    return moved_operand(job, "x", back, move) if fold else moved_output(job, move, back)


def _places(job: Job) -> tuple[Array, tuple[int, int]]:
    """(windows, taps) -> place in the flattened plane, -1 outside it; and the plane's sides."""
    a = job.attributes
    sizes = a.size if job.operator == "fold" else job.operands["x"].shape[1:-1]
    dilation = getattr(a, "dilation", (1, 1))
    pads = resolve_pads(a.padding, sizes, a.window, a.stride, dilation)
    counts = window_count(sizes, pads, a.window, a.stride, dilation)
    rows, columns = (
        np.arange(count)[:, None] * s + np.arange(k) * d - low
        for count, s, k, d, (low, _) in zip(counts, a.stride, a.window, dilation, pads, strict=True)
    )
    rows, columns = rows[:, None, :, None], columns[None, :, None, :]
    inside = (rows >= 0) & (rows < sizes[0]) & (columns >= 0) & (columns < sizes[1])
    places = np.where(inside, rows * sizes[1] + columns, -1)
    return places.reshape(prod(counts), prod(a.window)), (sizes[0], sizes[1])


def _split(job: Job, patches: Array) -> Array:
    """(batch, windows times taps, channels)."""
    elements = prod(job.attributes.window)
    batch, windows, channels = patches.shape[0], prod(patches.shape[1:3]), patches.shape[-1] // elements
    if job.attributes.order == "channels_last":
        return patches.reshape(batch, windows * elements, channels)
    apart = patches.reshape(batch, windows, channels, elements)
    return np.moveaxis(apart, 2, 3).reshape(batch, windows * elements, channels)


def _joined(job: Job, split: Array, shape: tuple[int, ...]) -> Array:
    if job.attributes.order == "channels_last":
        return split.reshape(shape)
    elements = prod(job.attributes.window)
    apart = split.reshape(shape[0], prod(shape[1:3]), elements, shape[-1] // elements)
    return np.moveaxis(apart, 3, 2).reshape(shape)


def _last_at(places: Array, plane: int) -> tuple[Array, Array]:
    """The places that are seen, and which one of all windows and taps, in order, is the last to see each."""
    last = np.full(plane, -1)
    flat = places.ravel()
    np.maximum.at(last, flat[flat >= 0], np.flatnonzero(flat >= 0))
    return np.flatnonzero(last >= 0), last[last >= 0]


def _overlapping(places: Array) -> bool:
    seen = places[places >= 0]
    return len(np.unique(seen)) < seen.size


def _patch_gradient_overwritten(job: Job) -> Reading | None:
    places, sizes = _places(job)
    x = job.operands["x"]
    if not job.cotangents or not _overlapping(places) or not x.data.size:
        return None

    def change(found: Expectations) -> Expectations:
        split = _split(job, numbers(job.cotangents["output"]))
        gradient = np.zeros((split.shape[0], prod(sizes), split.shape[2]))
        seen, last = _last_at(places, prod(sizes))
        gradient[:, seen] = split[:, last]
        return replaced(found, None, {"x": exactly(gradient.reshape(x.shape))})

    return Reading(job=job, change=change)


def _fold_overwritten(job: Job) -> Reading | None:
    places, sizes = _places(job)
    x = job.operands["x"]
    if not _overlapping(places) or not x.data.size:
        return None

    def change(found: Expectations) -> Expectations:
        split = _split(job, numbers(x))
        seen, last = _last_at(places, prod(sizes))
        image = np.zeros((split.shape[0], prod(sizes), split.shape[2]))
        image[:, seen] = split[:, last]
        outputs = {"output": exactly(image.reshape(-1, *sizes, split.shape[2]))}
        if not found.gradients:
            return replaced(found, outputs)
        cotangent = numbers(job.cotangents["output"]).reshape(image.shape)
        gradient = np.zeros(split.shape)
        gradient[:, last] = cotangent[:, seen]
        return replaced(found, outputs, {"x": exactly(_joined(job, gradient, x.shape))})

    return Reading(job=job, change=change)


def _fold_averaged(job: Job) -> Reading | None:
    places, sizes = _places(job)
    x = job.operands["x"]
    if not _overlapping(places) or not x.data.size:
        return None
    counts = np.zeros(prod(sizes))
    np.add.at(counts, places[places >= 0], 1)
    shares = 1 / np.maximum(counts, 1)
    channels = x.shape[-1] // prod(job.attributes.window)
    apart = np.where(places >= 0, shares[places], 0.0).reshape(1, places.size, 1)
    of_patches = _joined(job, np.broadcast_to(apart, (1, places.size, channels)), (1, *x.shape[1:]))

    def change(found: Expectations) -> Expectations:
        outputs = {"output": scaled(found.outputs["output"], shares.reshape(*sizes, 1), job)}
        gradients = {name: scaled(e, of_patches, job) for name, e in found.gradients.items()}
        return replaced(found, outputs, gradients)

    return Reading(job=job, change=change, rounds=True)


def _undilated(job: Job) -> Reading | None:
    return reread(job, dilation=(1, 1))


def _stride_is_the_window(job: Job) -> Reading | None:
    return reread(job, stride=job.attributes.window)


# Adaptive pools -----------------------------------------------------------------------------------------------------


def _floor_ends(n: int, m: int) -> Spans:
    return [(o * n // m, max((o + 1) * n // m, o * n // m + 1)) for o in range(m)]


def _ceiling_begins(n: int, m: int) -> Spans:
    begins = [min(-(-o * n // m), n - 1) for o in range(m)]
    return [(begin, max(-(-(o + 1) * n // m), begin + 1)) for o, begin in enumerate(begins)]


def _equal_windows(n: int, m: int) -> Spans:
    """A stride of floor(n / m), and a window of what is left, for all."""
    stride = n // m
    return [(o * stride, o * stride + n - (m - 1) * stride) for o in range(m)]


def _shared(window: Array) -> Array:
    largest = window == window.max(axis=(1, 2), keepdims=True)
    return np.asarray(largest / np.maximum(largest.sum(axis=(1, 2), keepdims=True), 1))


def _first(window: Array) -> Array:
    flat = window.reshape(window.shape[0], -1, window.shape[-1])
    place = flat.argmax(axis=1)
    return np.asarray(np.arange(flat.shape[1])[None, :, None] == place[:, None], float).reshape(window.shape)


def _even(window: Array) -> Array:
    return np.full(window.shape, 1 / (window.shape[1] * window.shape[2]))


def _respanned(
    job: Job, spans: Callable[[int, int], Spans], share: Callable[[Array], Array] | None = None
) -> Reading | None:
    """Other windows, whose cotangent goes where `share` says: evenly, or to the first maximum."""
    x = job.operands["x"]
    pairs = _pairs(job)
    if not x.data.size or (any(n < m for n, m in pairs) and spans is _equal_windows):
        return None
    rows, columns = (spans(n, m) for n, m in pairs)
    if share is None and all(tuple(spans(n, m)) == adaptive_spans(n, m) for n, m in pairs):
        return None
    largest = job.operator == "adaptive_max_pool2d"
    handed = share or (_first if largest else _even)

    def change(found: Expectations) -> Expectations:
        data = numbers(x)
        value = np.zeros((data.shape[0], *job.attributes.size, data.shape[-1]))
        size, gradient, absolute = np.zeros(value.shape), np.zeros(data.shape), np.zeros(data.shape)
        for i, (top, bottom) in enumerate(rows):
            for j, (left, right) in enumerate(columns):
                window = data[:, top:bottom, left:right]
                value[:, i, j] = window.max(axis=(1, 2)) if largest else window.mean(axis=(1, 2))
                size[:, i, j] = np.abs(window).mean(axis=(1, 2))
                if found.gradients:
                    shares = handed(window) * numbers(job.cotangents["output"])[:, i, j][:, None, None]
                    gradient[:, top:bottom, left:right] += shares
                    absolute[:, top:bottom, left:right] += np.abs(shares)
        # At most all elements are added, and a sum is divided, by rows and columns.
        terms = prod(data.shape[1:3]) + prod(job.attributes.size) + 4
        outputs = {"output": exactly(value) if largest else bounded(job, value, terms, size)}
        return replaced(found, outputs, {"x": bounded(job, gradient, terms, absolute)})

    return Reading(job=job, change=change)


# Power pools --------------------------------------------------------------------------------------------------------


def _other_sign(job: Job, signed: bool) -> Reading | None:
    return reread(job, signed=signed) if job.attributes.p % 2 else None


def _other_power(job: Job, given: int, other: int) -> Reading | None:
    return reread(job, p=other) if job.attributes.p == given else None


def _rootless(job: Job) -> Reading | None:
    """Sums of squares: each norm squared, the gradient 2 x times the windows' cotangents."""
    if job.attributes.p != 2 or not job.operands["x"].data.size:
        return None
    summed = with_attributes(job, p=1, signed=True)
    x = numbers(job.operands["x"])
    format_ = FORMATS[job.format]

    def change(found: Expectations) -> Expectations:
        def squared(e: Expectation) -> Expectation:
            bound = 2 * np.abs(e.value) * e.bound + e.bound**2 + 2 * format_.unit * e.value**2
            return Expectation(value=e.value**2, size=bound, scale=np.maximum(e.scale**2, e.value**2))

        outputs = {name: squared(e) for name, e in found.outputs.items()}
        gradients = {name: scaled(e, 2 * x, job) for name, e in found.gradients.items()}
        return replaced(found, outputs, gradients)

    return Reading(job=job, pulled={"x": summed}, change=change, rounds=True)


def _mean_of_powers(job: Job) -> Reading | None:
    factor = float(prod(job.attributes.window)) ** (-1 / job.attributes.p)
    if factor == 1:
        return None

    def change(found: Expectations) -> Expectations:
        outputs = {name: scaled(e, factor, job) for name, e in found.outputs.items()}
        return each_gradient(replaced(found, outputs), lambda e: scaled(e, factor, job))

    return Reading(job=job, change=change, rounds=True)


# Unpooling ----------------------------------------------------------------------------------------------------------


def _indexed(job: Job, given: str, other: str) -> Reading | None:
    return reread(job, indexed=other) if job.attributes.indexed == given else None


def _moved_indices(job: Job, move: Callable[[Array, tuple[int, int]], Array]) -> Reading | None:
    """Indices of one plane, counted in another way."""
    if job.attributes.indexed != "plane":
        return None
    given = job.operands["indices"]
    indices = moved(given, lambda array: move(array, job.attributes.size))
    return None if np.array_equal(indices.data, given.data) else Reading(job=with_operand(job, "indices", indices))


def _by_column(indices: Array, size: tuple[int, int]) -> Array:
    return np.asarray(indices % size[0] * size[1] + indices // size[0])


def _of_first_channel(job: Job) -> Reading | None:
    """One channel's indices for all."""
    given: Tensor = job.operands["indices"]
    if job.attributes.indexed != "plane" or given.shape[-1] == 1:
        return None
    first = moved(given, lambda array: np.broadcast_to(array[..., :1], array.shape))
    return Reading(job=replace(job, operands={**job.operands, "indices": first}))


_RESIZE: Final = ("resize?d",)
_SEVERAL_AXES: Final = ("resize2d", "resize3d")
_PATCHES: Final = ("extract_patches", "fold")
_WINDOWS: Final = ("extract_patches", "lp_pool2d")
_ADAPTIVE: Final = ("adaptive_*_pool2d",)
_LP: Final = ("lp_pool2d",)
_UNPOOL: Final = ("max_unpool2d", "max_pool2d_gradient")
_RATIO: Final = "a ratio that is not 1, and more than one output"
_CUBIC_EDGE: Final = "a cubic image whose border is looked at"
_OVERLAP: Final = "windows that overlap"
_NAMED: Final[dict[str, str]] = {
    "half_pixel": "half pixels",
    "align_corners": "aligned corners",
    "asymmetric": "asymmetric coordinates",
}
_WHO: Final[dict[str, str]] = {
    "half_pixel": "TensorFlow 2, JAX and PyTorch without align_corners look at the centres of pixels",
    "align_corners": "An option of PyTorch and TensorFlow 1 keeps the first and the last pixel where they are",
    "asymmetric": "TensorFlow 1 and ONNX's Upsample look at the corner of a pixel",
}

VARIANTS: Final = (
    *(
        Variant(
            name=f"{_NAMED[given]} read as {_NAMED[other]}",
            operators=_RESIZE,
            about=f"{_WHO[other]}.",
            seen_by=f"{_NAMED[given]}, {_RATIO}",
            read=partial(_other_coordinates, given=given, other=other),
        )
        for given in _NAMED
        for other in _NAMED
        if given != other
    ),
    Variant(
        name="nearest is the first of a block",
        operators=_RESIZE,
        about="PyTorch's mode nearest takes the floor of o n / m; nearest-exact, TensorFlow 2 and JAX half pixels.",
        seen_by="nearest half pixels and a ratio that is not 1",
        read=_first_of_block,
    ),
    *(
        Variant(
            name=f"nearest rounded {how}",
            operators=_RESIZE,
            about=about,
            seen_by=seen_by,
            read=partial(_other_rounding, given=given, other=other),
        )
        for how, other, given, about, seen_by in (
            (
                "down",
                "floor",
                ("half_up", "half_down", "ceil"),
                "A cast to an integer stands where the coordinate was to be rounded.",
                "nearest with a coordinate above the middle between two elements",
            ),
            (
                "up",
                "ceil",
                ("half_up", "half_down", "floor"),
                "ONNX's ceil takes the element after the coordinate.",
                "nearest with a coordinate below the middle between two elements",
            ),
            (
                "half down",
                "half_down",
                ("half_up",),
                "ONNX's default, round_prefer_floor, gives a tie to the lower element.",
                "nearest with ties, as half pixels have at a ratio of 2",
            ),
            (
                "half up",
                "half_up",
                ("half_down", "floor", "ceil"),
                "A half is added before the floor is taken.",
                "nearest with ties, or with another rounding",
            ),
        )
    ),
    Variant(
        name="linear read as nearest",
        operators=_RESIZE,
        about="The default mode of PyTorch's interpolate and Keras's UpSampling2D is nearest.",
        seen_by="linear, and a coordinate between two elements",
        read=partial(_other_method, given="linear", other="nearest"),
    ),
    Variant(
        name="cubic read as linear",
        operators=_RESIZE,
        about="The default method of tf.image.resize is bilinear.",
        seen_by="cubic, and a coordinate between two elements",
        read=partial(_other_method, given="cubic", other="linear"),
    ),
    Variant(
        name="cubic coefficient -0.75",
        operators=_RESIZE,
        about="PyTorch and OpenCV have -3/4.",
        seen_by="a cubic coefficient of -1/2, and a coordinate between two elements",
        read=partial(_other_coefficient, coefficient=-0.75),
    ),
    Variant(
        name="cubic coefficient -0.5",
        operators=_RESIZE,
        about="TensorFlow 2 and JAX have Keys' own -1/2.",
        seen_by="a cubic coefficient of -3/4, and a coordinate between two elements",
        read=partial(_other_coefficient, coefficient=-0.5),
    ),
    Variant(
        name="edges repeated, not renormalized",
        operators=_RESIZE,
        about="PyTorch gives the weights beyond the edge to the edge.",
        seen_by=f"{_CUBIC_EDGE}, renormalized",
        read=partial(_other_edge, given="renormalize", other="clamp"),
    ),
    Variant(
        name="edges renormalized, not repeated",
        operators=_RESIZE,
        about="TensorFlow 2 and JAX leave out the weights beyond the edge, and scale the others.",
        seen_by=f"{_CUBIC_EDGE}, clamped",
        read=partial(_other_edge, given="clamp", other="renormalize"),
    ),
    Variant(
        name="cubic weights from a table of 1024 steps",
        operators=_RESIZE,
        about="TensorFlow's kernel rounds a coordinate to a multiple of 1/1024 and looks its weights up.",
        seen_by="cubic, and a coordinate that is no multiple of 1/1024",
        read=_tabulated,
    ),
    Variant(
        name="ratios of rows and columns exchanged",
        operators=_SEVERAL_AXES,
        about="Height and width are handed over as (x, y).",
        seen_by="rows and columns of different ratios",
        read=_ratios_exchanged,
    ),
    Variant(
        name="smoothed before it shrinks",
        operators=_RESIZE,
        about="JAX's resize and Pillow's widen the kernel by the ratio unless antialias is off.",
        seen_by="fewer rows or columns than before, half pixels",
        read=_smoothed,
    ),
    Variant(
        name="not smoothed before it shrinks",
        operators=_RESIZE,
        about="PyTorch's and TensorFlow's resizing leaves the kernel as it is unless antialias is on.",
        seen_by="antialias, and fewer elements along an axis than before",
        read=_not_smoothed,
    ),
    Variant(
        name="elements counted as wholes",
        operators=_RESIZE,
        about="PyTorch's mode area is an adaptive mean: an element that is covered in part counts like any other.",
        seen_by="an area by shares, and a ratio that is no integer",
        read=partial(_other_cover, given="share", other="whole"),
    ),
    Variant(
        name="elements counted by shares",
        operators=_RESIZE,
        about="TensorFlow's and JAX's method area weighs an element by how much of it is covered.",
        seen_by="an area of whole elements, and a ratio that is no integer",
        read=partial(_other_cover, given="whole", other="share"),
    ),
    Variant(
        name="gradient as of nearest",
        operators=_RESIZE,
        about="A backward pass of one mode stands where that of another belongs.",
        seen_by="linear or cubic and a coordinate between two elements, where gradients are asked",
        read=_gradient_as_nearest,
        touches="gradients",
    ),
    Variant(
        name="gradient of the last output alone",
        operators=_RESIZE,
        about="A scatter that assigns where it must add keeps what is written last.",
        seen_by="an element that several outputs look at, where gradients are asked",
        read=_last_output_alone,
        touches="gradients",
    ),
    Variant(
        name="patch channels in the other order",
        operators=_PATCHES,
        about="PyTorch's unfold has a channel's pixels side by side, TensorFlow a pixel's channels.",
        seen_by="windows of several pixels, and several channels",
        read=_other_order,
    ),
    Variant(
        name="patches column by column",
        operators=_PATCHES,
        about="A column-major language counts the pixels of a window down its columns.",
        seen_by="windows of several rows and columns",
        read=_column_by_column,
    ),
    Variant(
        name="gradient of overlapping patches overwritten",
        operators=("extract_patches",),
        about="A scatter that assigns where it must add keeps what is written last.",
        seen_by=f"{_OVERLAP}, where gradients are asked",
        read=_patch_gradient_overwritten,
        touches="gradients",
    ),
    Variant(
        name="overlaps overwritten",
        operators=("fold",),
        about="A reconstruction by assignment keeps the last patch of a pixel.",
        seen_by=_OVERLAP,
        read=_fold_overwritten,
    ),
    Variant(
        name="overlaps averaged",
        operators=("fold",),
        about="Stitching tools divide by the number of patches that hold a pixel.",
        seen_by=_OVERLAP,
        read=_fold_averaged,
    ),
    Variant(
        name="windows undilated",
        operators=_PATCHES,
        about="The rate of TensorFlow's extract_patches does not reach the kernel.",
        seen_by="a dilation above 1",
        read=_undilated,
    ),
    Variant(
        name="stride is the window",
        operators=_WINDOWS,
        about="A default stride stands where another one was asked.",
        seen_by="a stride that is not the window",
        read=_stride_is_the_window,
    ),
    Variant(
        name="SAME_LOWER",
        operators=_WINDOWS,
        about="ONNX with auto_pad SAME_LOWER puts SAME's odd pixel at the top and the left.",
        seen_by="SAME with an even window",
        read=partial(_other_padding, given="same", other="same_lower"),
    ),
    Variant(
        name="SAME_UPPER",
        operators=_WINDOWS,
        about="A converter reads SAME_LOWER as plain SAME, the odd pixel at the bottom and the right.",
        seen_by="SAME_LOWER with an even window",
        read=partial(_other_padding, given="same_lower", other="same"),
    ),
    Variant(
        name="pads swapped",
        operators=(*_WINDOWS, "fold"),
        about="The two ends of an axis are exchanged: (high, low) for (low, high).",
        seen_by="explicit pads that differ between the ends",
        read=_pads_swapped,
    ),
    *(
        Variant(
            name=name,
            operators=_ADAPTIVE,
            about=about,
            seen_by="an output that does not divide the image",
            read=partial(_respanned, spans=spans),
        )
        for name, spans, about in (
            (
                "windows end at the floor",
                _floor_ends,
                "Both ends of a window are rounded down, so that none overlap.",
            ),
            ("windows begin at the ceiling", _ceiling_begins, "Both ends are rounded up, so that none overlap."),
            (
                "windows of one size",
                _equal_windows,
                "Exporters write an ordinary pool of stride floor(n / m) and the window that is left.",
            ),
        )
    ),
    Variant(
        name="tie gradient shared",
        operators=("adaptive_max_pool2d",),
        about="A recipe with a maximum over axes shares the cotangent among equal ones, in TensorFlow and JAX.",
        seen_by="ties, with a cotangent for gradients",
        read=partial(_respanned, spans=adaptive_spans, share=_shared),
        touches="gradients",
        shows_on=(3.0, 3.0),
    ),
    Variant(
        name="root left out",
        operators=_LP,
        about="The sum of squares is handed on for the norm.",
        seen_by="p = 2",
        read=_rootless,
    ),
    Variant(
        name="mean of powers",
        operators=_LP,
        about="An average pool computes the sum, and the window's size is not multiplied back.",
        seen_by="a window of several elements",
        read=_mean_of_powers,
    ),
    Variant(
        name="absolute values left out",
        operators=_LP,
        about="PyTorch takes x to the power of p as it is, so that p = 1 is a sum, and p = 3 may have no root.",
        seen_by="p = 1 or 3, unsigned, and numbers below 0",
        read=partial(_other_sign, signed=True),
    ),
    Variant(
        name="absolute values taken",
        operators=_LP,
        about="ONNX's LpPool is a norm for every p.",
        seen_by="p = 1 or 3, signed, and numbers below 0",
        read=partial(_other_sign, signed=False),
    ),
    *(
        Variant(
            name=f"p = {other} for {given}",
            operators=_LP,
            about="The order of the norm gets lost, and a default stands in.",
            seen_by=f"p = {given}",
            read=partial(_other_power, given=given, other=other),
        )
        for given, other in ((1, 2), (2, 1), (3, 2))
    ),
    Variant(
        name="indices of the image read as of a plane",
        operators=_UNPOOL,
        about="TensorFlow's indices count the channels, PyTorch's one plane.",
        seen_by="indices of the image, and several channels",
        read=partial(_indexed, given="image", other="plane"),
    ),
    Variant(
        name="indices of a plane read as of the image",
        operators=_UNPOOL,
        about="PyTorch's indices count one plane, TensorFlow's the channels, too.",
        seen_by="indices of a plane, and several channels",
        read=partial(_indexed, given="plane", other="image"),
    ),
    Variant(
        name="indices column by column",
        operators=_UNPOOL,
        about="A column-major language counts the pixels of a plane down its columns.",
        seen_by="indices of a plane of several rows and columns",
        read=partial(_moved_indices, move=_by_column),
    ),
    Variant(
        name="indices of the first channel for all",
        operators=_UNPOOL,
        about="The places of one channel are broadcast over the others.",
        seen_by="several channels with indices of their own",
        read=_of_first_channel,
    ),
)
