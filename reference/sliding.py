"""The three bilinear maps of a sliding window, between a large array, a small one and a kernel.

With one `Window` a spatial axis, tap t of output o looks at position `p = o * stride + t * dilation - low`, and for
every group

    gather       small[n, o, b]  =  sum over t, a      of  large[n, p, a] * kernel[t, a, b]
    scatter      large[n, p, a]  =  sum over o, t, b   of  small[n, o, b] * kernel[t, a, b]
    correlate    kernel[t, a, b] =  sum over n, o      of  large[n, p, a] * small[n, o, b]

where positions outside the large array take part in no sum. They are a convolution and its two gradients; with the
large and the small array exchanged, a transposed convolution and its two gradients (Dumoulin & Visin, A guide to
convolution arithmetic for deep learning, 2016, chapter 4).

Shapes: large (batch, *sizes, groups * a), small (batch, *outputs, groups * b), kernel (*taps, a, groups * b); all are
float64.

Each map has a fast form, which embeds the data in a grid of zeros and lets a few matrix products do the work, and a
plain form, one slice a tap, which touches no padding. A zero of the grid times an infinity would be NaN where the
definition has no term at all, so whatever is not finite throughout is computed in the plain form. It shows in the sum
of the operands' elements, or of the result's, whichever is cheaper to form.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import product as cartesian
from math import isfinite, prod

import numpy as np

from conformance.reference.magnitude import Array, Magnitude, Precision, Sizes, absolute_sums, sizes
from conformance.reference.padding import Window

# Elements of the column matrix that are gathered at a time (1 MiB of float64): it should still lie in the
# second-level cache when the matrix product reads it. Between 1/4 and 4 MiB the time of a 56x56x64 convolution
# changes by a tenth.
BLOCK = 1 << 17

# Below so many channels a column matrix is written with its rows along the image instead of along the channels: the
# copy moves longer runs. One channel of 28x28 takes 2.1 ms instead of 4.7 ms.
FEW_CHANNELS = 8

# Multiplications above which a strided scatter forms the products before it moves them; below, zeros between the
# strides waste less time than the additions' calls take.
MANY_PRODUCTS = 1 << 20

# A scatter also forms the products first where it leaves so many times fewer channels: there is less to move after
# than before. For 56x56, from 64 channels to 16 both take 18 ms; to 64, 70 against 46 ms.
FEWER = 4


# A correlate's terms are counted one by one where there are so many, and less than one in so many differs from zero.
# Below, the bound is narrow anyway: in float32 gamma(4096) is 2^-12.
MANY_TERMS = 4096
MOSTLY_ZEROS = 4
# Float32 counts no further.
COUNTED = 1 << 24


@np.errstate(all="ignore")
def gather(
    large: Array,
    kernel: Array,
    over: Sequence[Window],
    *,
    groups: int,
    bias: Array | None = None,
    precision: Precision = np.float64,
) -> Array:
    """Returns the small array, (batch, *outputs, groups * b), plus the bias, (groups * b,)."""
    if not large.size or not (isfinite(large.sum()) and isfinite(kernel.sum())):
        small = _gather_plainly(large, kernel, over, groups, precision)
        return small if bias is None else small + bias
    grid = _embedded(large, [(window.low, window.reach, 1) for window in over], precision)
    return _slide(grid, kernel, [(window.outputs, window.stride, window.dilation) for window in over], groups, bias)


@np.errstate(all="ignore")
def scatter(
    small: Array,
    kernel: Array,
    over: Sequence[Window],
    *,
    groups: int,
    bias: Array | None = None,
    precision: Precision = np.float64,
) -> Array:
    """Returns the large array, (batch, *sizes, groups * a), plus the bias, (groups * a,)."""
    large = _scatter_fast(small, kernel, over, groups, precision)
    if not isfinite(large.sum()):
        large = _scatter_plainly(small, kernel, over, groups, precision)
    if bias is not None:
        large += bias
    return large


@np.errstate(all="ignore")
def correlate(
    large: Array, small: Array, over: Sequence[Window], *, groups: int, precision: Precision = np.float64
) -> Array:
    """Returns the kernel, (*taps, a, groups * b)."""
    channels = large.shape[-1] // groups
    if not large.size or channels == 1 < groups:
        return _correlate_plainly(large, small, over, groups)
    grid = _embedded(large, [(window.low, window.reach, 1) for window in over], precision)
    steps = [(window.outputs, window.stride, window.dilation) for window in over]
    taps = [window.kernel for window in over]
    per_group = small.shape[-1] // groups
    total: Array | float = 0.0
    for where, view in _blocks(_view(grid, steps, taps), len(over), small.shape[-1]):
        part = small[where]
        if groups > 1:
            columns = _grouped_columns(view, len(over), groups).transpose(0, 2, 1)
            total = total + columns @ part.reshape(-1, groups, per_group).transpose(1, 0, 2)
        else:
            total = total + _columns(view, len(over)).T @ part.reshape(-1, per_group)
    if groups > 1:
        total = np.asarray(total).reshape(groups, prod(taps), channels, per_group).transpose(1, 2, 0, 3)
    kernel = np.asarray(total).reshape(*taps, channels, groups * per_group)
    return kernel if isfinite(kernel.sum()) else _correlate_plainly(large, small, over, groups)


def gather_magnitude(
    large: Array | Sizes, kernel: Array | Sizes, over: Sequence[Window], *, groups: int, bias: Array | None = None
) -> Magnitude:
    """Returns the magnitude of a gather: a term for each tap inside the large array and each channel of the group."""
    batch, (channels, outputs) = len(sizes(large).array), sizes(kernel).array.shape[-2:]
    terms = positions([window.taps_inside() for window in over]) * channels + (bias is not None)
    most = float(terms.max(initial=0.0))
    count = batch * prod(window.outputs for window in over) * outputs
    gathered = partial(gather, over=over, groups=groups)
    return _sum_of(terms, absolute_sums(gathered, most, large, kernel, count=count, bias=bias))


def scatter_magnitude(
    small: Array | Sizes, kernel: Array | Sizes, over: Sequence[Window], *, groups: int, bias: Array | None = None
) -> Magnitude:
    """Returns the magnitude of a scatter: a term for each tap that lands there and each channel of the group."""
    batch, (channels, outputs) = len(sizes(small).array), sizes(kernel).array.shape[-2:]
    terms = positions([window.outputs_seeing() for window in over]) * (outputs // groups) + (bias is not None)
    most = float(terms.max(initial=0.0))
    count = batch * prod(window.size for window in over) * channels * groups
    scattered = partial(scatter, over=over, groups=groups)
    return _sum_of(terms, absolute_sums(scattered, most, small, kernel, count=count, bias=bias))


def correlate_magnitude(
    large: Array | Sizes, small: Array | Sizes, over: Sequence[Window], *, groups: int
) -> Magnitude:
    """Returns the magnitude of a correlate: a term for each example and each output whose tap falls inside.

    Terms that are zero are added without rounding, in any order. Behind a ReLU and a maximum most of them are, so
    that the bound without them is several times narrower; they are left out where that matters.
    """
    correlated = partial(correlate, over=over, groups=groups)
    one, other = sizes(large).array, sizes(small).array
    summed = len(one) * prod(window.outputs for window in over)
    absolute = absolute_sums(correlated, float(summed), large, small)
    if MANY_TERMS < summed < COUNTED and MOSTLY_ZEROS * _nonzero(one) * _nonzero(other) < one.size * other.size:
        terms = correlated((one != 0).astype(np.float32), (other != 0).astype(np.float32), precision=np.float32)
    else:
        terms = positions([window.outputs_inside() for window in over])[..., None] * len(one)
    return _sum_of(terms, absolute)


def _nonzero(array: Array) -> int:
    # Of booleans, which are counted ten times as fast.
    return int(np.count_nonzero(array != 0))


def positions(along: Sequence[Array]) -> Array:
    """Returns the outer product of one vector a spatial axis, of shape (*spatial, 1)."""
    product = along[0]
    for vector in along[1:]:
        product = product[..., None] * vector
    return product[..., None]


def _sum_of(terms: Array, absolute: Array) -> Magnitude:
    """Returns the magnitude of a sum of products: each term is rounded, added and possibly flushed once."""
    terms = np.broadcast_to(terms, absolute.shape)
    return Magnitude(terms=terms, absolute=absolute, underflow=terms)


def taps(over: Sequence[Window]) -> Iterator[tuple[tuple[int, ...], tuple[slice, ...], tuple[slice, ...]]]:
    """Yields each tap's index, in row-major order, with the outputs and the input positions it connects."""
    tables = [[(tap, *window.seen_by(tap)) for tap in range(window.kernel)] for window in over]
    for chosen in cartesian(*tables):
        index, outputs, inputs = zip(*chosen, strict=True)
        yield index, (slice(None), *outputs), (slice(None), *inputs)


def _embedded(data: Array, axes: Sequence[tuple[int, int, int]], precision: Precision) -> Array:
    """Returns a contiguous grid of zeros with element e of each (low, reach, step) axis at `low + e * step`.

    Elements that would lie outside are left out.
    """
    # Data in another layout or precision is copied, too: `_view` takes the memory as it is.
    if (
        data.flags.c_contiguous
        and data.dtype == precision
        and all(
            low == 0 and step == 1 and reach == size
            for (low, reach, step), size in zip(axes, data.shape[1:], strict=False)
        )
    ):
        return data
    grid = np.zeros((data.shape[0], *(reach for _, reach, _ in axes), data.shape[-1]), precision)
    target, source = [slice(None)], [slice(None)]
    for (low, reach, step), size in zip(axes, data.shape[1:], strict=False):
        first = max(0, -(low // step))
        last = min(size - 1, (reach - 1 - low) // step)
        if last < first:
            return grid
        target.append(slice(low + first * step, low + last * step + 1, step))
        source.append(slice(first, last + 1))
    grid[tuple(target)] = data[tuple(source)]
    return grid


def _slide(
    grid: Array, kernel: Array, steps: Sequence[tuple[int, int, int]], groups: int, bias: Array | None
) -> Array:
    """Returns the products of all windows with the kernel, plus the bias.

    The grid begins at the first tap; each of its axes has (outputs, stride, dilation).
    """
    rank = len(steps)
    channels, outputs = kernel.shape[-2:]
    per_group = outputs // groups
    small = np.empty((grid.shape[0], *(count for count, _, _ in steps), outputs), grid.dtype)
    if bias is not None:
        row = np.empty((small.shape[-2], outputs), grid.dtype)
        row[:] = bias
    if groups > 1:
        split = kernel.reshape(-1, channels, groups, per_group)
        matrix: Array = split.transpose(2, 0, 1, 3).reshape(groups, -1, per_group)
    else:
        matrix = kernel.reshape(-1, outputs)
    for where, view in _blocks(_view(grid, steps, kernel.shape[:rank]), rank, outputs):
        part = small[where]
        if groups == 1:
            np.matmul(_columns(view, rank), matrix, out=part.reshape(-1, outputs))
        elif channels == 1:
            part[...] = _depthwise(view, kernel, rank, groups).reshape(part.shape)
        else:
            product = _grouped_columns(view, rank, groups) @ matrix
            part[...] = product.transpose(1, 0, 2).reshape(part.shape)
        if bias is not None:
            # Here, while the block is still in the cache, and a whole row of the image at a time.
            lines = part.reshape(*part.shape[:-2], -1)
            lines += row[: part.shape[-2]].ravel()
    return small


def _view(grid: Array, steps: Sequence[tuple[int, int, int]], kernel: Sequence[int]) -> Array:
    """Returns all windows without a copy, (batch, *outputs, *taps, channels)."""
    spatial = grid.strides[1:-1]
    shape = (grid.shape[0], *(count for count, _, _ in steps), *kernel, grid.shape[-1])
    strides = (
        grid.strides[0],
        *(stride * bytes_ for (_, stride, _), bytes_ in zip(steps, spatial, strict=True)),
        *(dilation * bytes_ for (_, _, dilation), bytes_ in zip(steps, spatial, strict=True)),
        grid.strides[-1],
    )
    # The constructor takes a tenth of the time of as_strided, and refuses strides that leave the grid.
    return np.ndarray(shape, grid.dtype, grid, 0, strides)


def _blocks(view: Array, rank: int, channels: int) -> Iterator[tuple[tuple[slice, ...], Array]]:
    """Yields the windows in blocks, of some examples or some rows of one, with the index of each block's outputs.

    A block counts the windows' elements and those of the small array's channels that belong to them.
    """
    batch, rows = view.shape[:2]
    row = prod(view.shape[2 : rank + 1]) * (prod(view.shape[rank + 1 :]) + channels)
    examples = BLOCK // (rows * row)
    if examples >= batch:
        yield (slice(None),), view
    elif examples:
        for start in range(0, batch, examples):
            block = slice(start, start + examples)
            yield (block,), view[block]
    else:
        height = max(1, BLOCK // row)
        for example in range(batch):
            for start in range(0, rows, height):
                where = (slice(example, example + 1), slice(start, start + height))
                yield where, view[where]


def _columns(view: Array, rank: int) -> Array:
    """Returns the windows as a matrix, one window a row, (batch * outputs, taps * channels)."""
    count = prod(view.shape[: rank + 1])
    if view.shape[-1] >= FEW_CHANNELS:
        return view.reshape(count, -1)
    axes = (*range(rank + 1, 2 * rank + 2), *range(rank + 1))
    return view.transpose(axes).reshape(-1, count).T


def _grouped_columns(view: Array, rank: int, groups: int) -> Array:
    """Returns the windows as one matrix a group, (groups, batch * outputs, taps * channels of a group)."""
    split = _split(view, groups)
    last = split.ndim - 1
    axes = (last - 1, *range(last - 1), last)
    return split.transpose(axes).reshape(groups, prod(view.shape[: rank + 1]), -1)


def _depthwise(view: Array, kernel: Array, rank: int, groups: int) -> Array:
    """Returns the windows' products with a kernel that has one channel a group, (batch, *outputs, channels)."""
    outer, inner, channel, last = range(rank + 1), range(rank + 1, 2 * rank + 1), 2 * rank + 1, 2 * rank + 2
    if kernel.shape[-1] == groups:
        flat = kernel.reshape(*kernel.shape[:rank], groups)
        return np.asarray(np.einsum(view, [*outer, *inner, channel], flat, [*inner, channel], [*outer, channel]))
    split = kernel.reshape(*kernel.shape[:rank], groups, -1)
    return np.asarray(
        np.einsum(view, [*outer, *inner, channel], split, [*inner, channel, last], [*outer, channel, last])
    )


def _exchanged(kernel: Array, groups: int) -> Array:
    """Returns the kernel with the channels of large and small exchanged within each group, (*taps, b, groups * a)."""
    if groups == 1:
        return kernel.swapaxes(-1, -2)
    taps, (channels, outputs) = kernel.shape[:-2], kernel.shape[-2:]
    grouped = kernel.reshape(*taps, channels, groups, outputs // groups)
    return grouped.swapaxes(-1, -3).reshape(*taps, outputs // groups, groups * channels)


def _split(data: Array, groups: int) -> Array:
    """Returns the data with its channels as (groups, channels of a group)."""
    return data.reshape(*data.shape[:-1], groups, data.shape[-1] // groups)


def _gather_plainly(large: Array, kernel: Array, over: Sequence[Window], groups: int, precision: Precision) -> Array:
    small = np.zeros((large.shape[0], *(window.outputs for window in over), kernel.shape[-1]), precision)
    for index, outputs, inputs in taps(over):
        small[outputs] += _times(large[inputs], kernel[index], groups)
    return small


def _scatter_fast(small: Array, kernel: Array, over: Sequence[Window], groups: int, precision: Precision) -> Array:
    if not small.size:
        return _scatter_plainly(small, kernel, over, groups, precision)
    channels, outputs = kernel.shape[-2], kernel.shape[-1] // groups
    if small.shape[0] * prod(window.outputs for window in over) * kernel.size > MANY_PRODUCTS:
        strided = any(window.stride > 1 for window in over)
        if groups == 1 and (strided or FEWER * channels <= outputs):
            return _scatter_at_once(small, kernel, over, precision)
        if strided and channels == outputs == 1:
            return _scatter_plainly(small, kernel, over, groups, precision)
    # Output o goes to o * stride, zeros between; position p then sees tap t at p + low - t * dilation: a gather with
    # the taps reversed.
    spans = [(window.kernel - 1) * window.dilation for window in over]
    zipped = list(zip(over, spans, strict=True))
    grid = _embedded(
        small, [(span - window.low, span + window.size, window.stride) for window, span in zipped], precision
    )
    reversed_taps = _exchanged(kernel, groups)[(slice(None, None, -1),) * len(over)]
    return _slide(grid, reversed_taps, [(window.size, 1, window.dilation) for window in over], groups, None)


def _scatter_plainly(small: Array, kernel: Array, over: Sequence[Window], groups: int, precision: Precision) -> Array:
    large = np.zeros((small.shape[0], *(window.size for window in over), kernel.shape[-2] * groups), precision)
    exchanged = _exchanged(kernel, groups)
    for index, outputs, inputs in taps(over):
        large[inputs] += _times(small[outputs], exchanged[index], groups)
    return large


def _scatter_at_once(small: Array, kernel: Array, over: Sequence[Window], precision: Precision) -> Array:
    """Returns the scatter of one group: one matrix product for all taps of some examples, then one addition a tap."""
    channels, outputs = kernel.shape[-2:]
    large = np.zeros((small.shape[0], *(window.size for window in over), channels), precision)
    positions = prod(small.shape[1:-1])
    examples = max(1, BLOCK // (positions * kernel.size // outputs))
    matrix = kernel.reshape(-1, outputs)
    connected = list(taps(over))
    for start in range(0, small.shape[0], examples):
        part, target = small[start : start + examples], large[start : start + examples]
        if channels >= FEW_CHANNELS:
            shares = (part.reshape(-1, outputs) @ matrix.T).reshape(*part.shape[:-1], *kernel.shape[:-1])
            for index, where, inputs in connected:
                at: tuple[slice | int, ...] = (*where, *index)
                target[inputs] += shares[at]
        else:
            # As in `_columns`: long rows along the image, one a tap and channel.
            shares = (matrix @ part.reshape(-1, outputs).T).reshape(*kernel.shape[:-1], *part.shape[:-1])
            for index, where, inputs in connected:
                for channel in range(channels):
                    at = (*index, channel, *where)
                    target[..., channel][inputs] += shares[at]
    return large


def _correlate_plainly(large: Array, small: Array, over: Sequence[Window], groups: int) -> Array:
    channels, outputs = large.shape[-1] // groups, small.shape[-1] // groups
    kernel = np.zeros((*(window.kernel for window in over), channels, groups, outputs))
    for index, where, inputs in taps(over):
        left, right = large[inputs].reshape(-1, groups, channels), small[where].reshape(-1, groups, outputs)
        if groups == 1:
            kernel[index][:, 0] = left[:, 0].T @ right[:, 0]
        else:
            kernel[index] = np.einsum("mga,mgb->agb", left, right)
    return kernel.reshape(*kernel.shape[:-2], groups * outputs)


def _times(data: Array, matrix: Array, groups: int) -> Array:
    """Returns the product of each position's channels with the matrix, (a, groups * b), group by group."""
    if groups == 1:
        return data @ matrix
    per_group = matrix.reshape(matrix.shape[0], groups, -1)
    if matrix.shape[0] == 1:
        product = data[..., None] * per_group[0]
    else:
        product = np.einsum("...ga,agb->...gb", _split(data, groups), per_group)
    return np.asarray(product).reshape(*data.shape[:-1], matrix.shape[-1])
