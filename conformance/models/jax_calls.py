"""What primitives of JAX's are, in the house's words: one function each, by the name of the primitive.

Channels are last. What is laid out or configured in a way that no function here reads is nobody's: it is listed, not
guessed.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from conformance.case.families.arrays import Concat, Mean, Pad
from conformance.case.families.convolution import Convolution, TransposedConvolution
from conformance.case.families.normalization import BatchNorm, BatchNormTraining, GroupNorm, InstanceNorm, LayerNorm
from conformance.case.families.pooling import AveragePool, MaxPool
from conformance.case.geometry import extent
from conformance.models.jax_graph import Constant, Equation, Graph, Operand, Value
from conformance.models.jax_sums import (
    NOWHERE,
    ONE,
    Factor,
    Product,
    Sum,
    close,
    deviating,
    divided,
    own_places,
    through,
)
from conformance.models.jax_sums import Mean as MeanOf
from conformance.models.moving import Flipped, Move, Moves, Reshaped, Transposed
from conformance.models.recording import CROP, Call, Crop

CHANNELS_FIRST: Final = "flattened channels first"


class Parameters:
    """The parameters of a model among the values of its graph."""

    def __init__(self, graph: Graph, names: Mapping[Value, str]) -> None:
        self._graph = graph
        self.names = names

    def undivided(self, value: Value) -> Value | None:
        """The tensor that a value is with its channels in groups."""
        return divided(self._graph, value)

    def leaf(self, operand: Operand) -> tuple[Operand, Moves]:
        """Where a value comes from, and the moves that lead to it: a parameter, or itself."""
        moves: list[Move] = []
        at = operand
        while isinstance(at, Value) and at not in self.names:
            equation = self._graph.giver.get(at)
            move = _move(equation) if equation is not None else None
            if move is None or equation is None:
                return operand, ()
            moves = [*move, *moves]
            at = equation.inputs[0]
        return (at, tuple(moves)) if isinstance(at, Value) else (operand, ())

    def vector(self, operand: Operand, channels: int) -> tuple[Value, Moves] | None:
        """The parameter that has one number for each of the channels, however many axes stand before them."""
        at = operand
        while isinstance(at, Value) and at not in self.names:
            equation = self._graph.giver.get(at)
            if equation is None or equation.name not in ("broadcast_in_dim", "reshape", "squeeze", "expand_dims"):
                return None
            if at.shape[-1:] != (channels,):
                return None
            at = equation.inputs[0]
        return self.channelled(at, channels) if isinstance(at, Value) else None

    def channelled(self, leaf: Value, channels: int) -> tuple[Value, Moves] | None:
        """A parameter as a vector."""
        if leaf not in self.names or leaf.shape[-1:] != (channels,) or math.prod(leaf.shape) != channels:
            return None
        return leaf, () if len(leaf.shape) == 1 else (Reshaped(leaf.shape, (channels,)),)


def _move(equation: Equation) -> list[Move] | None:
    match equation.name:
        case "rev":
            return [Flipped(tuple(equation.params["dimensions"]))]
        case "transpose":
            return [Transposed(tuple(equation.params["permutation"]))]
        case "reshape" | "squeeze" | "expand_dims":
            return [Reshaped(equation.inputs[0].shape, equation.output.shape)]
        case "copy" | "copy_p":
            return []
    return None


def _operands(parameters: Parameters, x: Operand, w: Operand, moves: Moves) -> tuple[dict[str, Value], Moves] | None:
    leaf, before = parameters.leaf(w)
    if not isinstance(x, Value) or not isinstance(leaf, Value):
        return None
    return {"x": x, "w": leaf}, (*before, *moves)


def _convolution(parameters: Parameters, equation: Equation) -> Call | None:
    params, (x, w) = equation.params, equation.inputs
    rank = len(x.shape) - 2
    dimensions = params["dimension_numbers"]
    last = (0, rank + 1, *range(1, rank + 1))
    if rank not in (1, 2, 3) or dimensions.lhs_spec != last or dimensions.out_spec != last:
        return None
    if params["batch_group_count"] != 1:
        return None
    outside, inside, *spatial = dimensions.rhs_spec
    moves: Moves = (
        () if (*spatial, inside, outside) == tuple(range(rank + 2)) else (Transposed((*spatial, inside, outside)),)
    )
    shape = tuple(w.shape[axis] for axis in (*spatial, inside, outside))
    pads = tuple((int(low), int(high)) for low, high in params["padding"])
    if max(params["lhs_dilation"]) > 1:
        return _transposed(parameters, equation, shape, pads, moves)
    if min(map(min, pads)) < 0:
        return None
    attributes = Convolution(
        stride=tuple(params["window_strides"]),
        dilation=tuple(params["rhs_dilation"]),
        groups=params["feature_group_count"],
        padding=pads if any(map(any, pads)) else "valid",
    )
    found = _operands(parameters, x, w, moves)
    if found is None:
        return None
    operands, lies = found
    return Call(
        operator=f"conv{rank}d", operands=operands, attributes=attributes, kernel=shape[:rank], moves={"w": lies}
    )


def _transposed(
    parameters: Parameters, equation: Equation, shape: tuple[int, ...], pads: Any, moves: Moves
) -> Call | None:
    """A convolution over an input with its strides between: the transposed one, whose kernel is flipped in it."""
    params, (x, w) = equation.params, equation.inputs
    rank, groups = len(x.shape) - 2, params["feature_group_count"]
    stride, dilation = tuple(params["lhs_dilation"]), tuple(params["rhs_dilation"])
    if max(params["window_strides"]) > 1:
        return None
    crops = []
    for axis, (low, _) in enumerate(pads):
        span = extent(shape[axis], dilation[axis])
        canvas = (x.shape[axis + 1] - 1) * stride[axis] + span
        start = span - 1 - low
        crops.append((start, canvas - start - equation.output.shape[axis + 1]))
    more = tuple(max(-high, 0) for _, high in crops)
    if min(low for low, _ in crops) < 0:
        return None
    inside, outside = shape[-2], shape[-1] // groups
    spatial = tuple(range(rank))
    moves = (*moves, Flipped(spatial))
    if groups > 1:
        moves = (*moves, Reshaped(shape, (*shape[:rank], inside, groups, outside)))
        moves = (*moves, Transposed((*spatial, rank + 2, rank + 1, rank)))
        moves = (
            *moves,
            Reshaped((*shape[:rank], outside, groups, inside), (*shape[:rank], outside, groups * inside)),
        )
    else:
        moves = (*moves, Transposed((*spatial, rank + 1, rank)))
    found = _operands(parameters, x, w, moves)
    if found is None:
        return None
    operands, lies = found
    attributes = TransposedConvolution(
        stride=stride,
        dilation=dilation,
        groups=groups,
        padding=tuple((low, max(high, 0)) for low, high in crops),
        output_padding=more,
    )
    return Call(
        operator=f"conv{rank}d_transpose",
        operands=operands,
        attributes=attributes,
        kernel=shape[:rank],
        moves={"w": lies},
    )


def _dense(parameters: Parameters, equation: Equation) -> Call | None:
    (contracted, batched) = equation.params["dimension_numbers"]
    x, w = equation.inputs
    (of_x, of_w) = (tuple(axes) for axes in contracted)
    if any(map(tuple, batched)) or len(w.shape) != 2 or of_x != (len(x.shape) - 1,) or len(of_w) != 1:
        return None
    found = _operands(parameters, x, w, () if of_w == (0,) else (Transposed((1, 0)),))
    if found is None:
        return None
    operands, lies = found
    return Call(operator="dense", operands=operands, moves={"w": lies})


def _windows(equation: Equation) -> tuple[Any, Any, Any, Any] | None:
    """Window, strides, dilation and pads of the spatial axes, where nothing slides over the others."""
    params = equation.params
    window, strides = tuple(params["window_dimensions"]), tuple(params["window_strides"])
    dilation = tuple(params["window_dilation"])
    pads = tuple((int(low), int(high)) for low, high in params["padding"])
    ends = [window[0], window[-1], strides[0], strides[-1]]
    if len(window) not in (3, 4, 5) or set(ends) != {1} or any((*pads[0], *pads[-1])):
        return None
    if set(params["base_dilation"]) != {1} or min(map(min, pads)) < 0:
        return None
    return window[1:-1], strides[1:-1], dilation[1:-1], pads[1:-1]


def _max_pool(parameters: Parameters, equation: Equation) -> Call | None:
    found, (x,) = _windows(equation), equation.inputs
    if found is None or not isinstance(x, Value):
        return None
    window, stride, dilation, pads = found
    # The house's pools have pads of half a window at most on either side, as everybody's but JAX's have.
    if any(2 * max(pair) > extent(k, d) for pair, k, d in zip(pads, window, dilation, strict=True)):
        return None
    attributes = MaxPool(
        window=window, stride=stride, dilation=dilation, padding=pads if any(map(any, pads)) else "valid"
    )
    return Call(operator=f"max_pool{len(window)}d", operands={"x": x}, attributes=attributes)


def average_pool(equation: Equation, divisor: Constant, *, inverse: bool) -> Call | None:
    """Sums of windows, divided by a constant: how many elements a window has, or holds.

    Args:
        equation: the sums'.
        divisor: the constant.
        inverse: the sums are multiplied by it.
    """
    found, (x,) = _windows(equation), equation.inputs
    if found is None or not isinstance(x, Value):
        return None
    window, stride, dilation, pads = found
    if max(dilation) > 1:
        return None
    counts = 1 / np.asarray(divisor.value, np.float64) if inverse else np.asarray(divisor.value, np.float64)
    padded = any(map(any, pads))
    if divisor.number is not None and close(float(counts.flat[0]), math.prod(window)):
        counting = padded
    else:
        inside = _held(x.shape[1:-1], window, stride, pads)[None, ..., None]
        # Whole numbers, or what rounding their reciprocals in float32 left of them.
        if counts.ndim != len(x.shape) or not np.allclose(
            np.broadcast_to(counts, np.broadcast_shapes(counts.shape, inside.shape)), inside, rtol=1e-6
        ):
            return None
        counting = False
    attributes = AveragePool(
        window=window, stride=stride, padding=pads if padded else "valid", count_padding=counting
    )
    return Call(operator=f"average_pool{len(window)}d", operands={"x": x}, attributes=attributes)


def _held(sizes: tuple[int, ...], window: Any, stride: Any, pads: Any) -> Any:
    """How many elements of the image every window holds."""
    held = np.ones(())
    for n, k, s, (low, high) in zip(sizes, window, stride, pads, strict=True):
        starts = np.arange((n + low + high - k) // s + 1) * s - low
        own = np.minimum(starts + k, n) - np.maximum(starts, 0)
        held = held[..., None] * own
    return held


def _reduce_max(parameters: Parameters, equation: Equation) -> Call | None:
    (x,) = equation.inputs
    if len(x.shape) != 4 or tuple(equation.params["axes"]) != (1, 2) or not isinstance(x, Value):
        return None
    return Call(operator="global_max_pool2d", operands={"x": x})


def _concat(parameters: Parameters, equation: Equation) -> Call | None:
    if len(equation.inputs) != 2:
        return None
    x, y = equation.inputs
    if not isinstance(x, Value) or not isinstance(y, Value) or x is y:
        return None
    attributes = Concat(axis=equation.params["dimension"])
    return Call(operator="concat", operands={"x": x, "y": y}, attributes=attributes)


def _pad(parameters: Parameters, equation: Equation) -> Call | None:
    x, value = equation.inputs
    config = [tuple(map(int, axis)) for axis in equation.params["padding_config"]]
    number = value.number if isinstance(value, Constant) else None
    if number is None or not isinstance(x, Value) or any(low < 0 or high < 0 or inner for low, high, inner in config):
        return None
    attributes = Pad(padding=tuple((low, high) for low, high, _ in config), value=number)
    return Call(operator="pad", operands={"x": x}, attributes=attributes)


def _slice(parameters: Parameters, equation: Equation) -> Call | None:
    (x,), params = equation.inputs, equation.params
    starts, ends = tuple(params["start_indices"]), tuple(params["limit_indices"])
    cut = tuple((start, n - end) for start, end, n in zip(starts, ends, x.shape, strict=True))
    whole = any((*cut[0], *cut[-1])) or (params["strides"] is not None and max(params["strides"]) > 1)
    if whole or len(cut) not in (3, 4, 5) or not isinstance(x, Value):
        return None
    return Call(operator=CROP, operands={"x": x}, attributes=Crop(pads=cut[1:-1]))


PRIMITIVES: Final[Mapping[str, Callable[[Parameters, Equation], Call | None]]] = {
    "conv_general_dilated": _convolution,
    "dot_general": _dense,
    "reduce_window_max": _max_pool,
    "reduce_max": _reduce_max,
    "concatenate": _concat,
    "pad": _pad,
    "slice": _slice,
}


def flattened(graph: Graph, equation: Equation) -> Call | None:
    """(batch, ...) becomes (batch, everything else); with the channels laid first if they were brought there."""
    (x,) = equation.inputs
    if not isinstance(x, Value) or len(x.shape) < 3 or equation.output.shape != (x.shape[0], math.prod(x.shape[1:])):
        return None
    before = graph.giver.get(x)
    first = (0, len(x.shape) - 1, *range(1, len(x.shape) - 1))
    if before is not None and before.name == "transpose" and tuple(before.params["permutation"]) == first:
        own = before.inputs[0]
        return Call(operator="flatten", operands={"x": own}, reading=CHANNELS_FIRST) if graph.read_once(x) else None
    return Call(operator="flatten", operands={"x": x})


# Sums ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Standard:
    """A sum as k (x - m) + o, where k is 1 / sqrt(v + epsilon), perhaps times a scale.

    Attributes:
        x: what is normalised.
        axes: over which it is, where the statistics are its own; else none.
        groups: of the channels, of which each has its own statistics; the axes count them, before what is in each.
        mean, variance, scale, offset: factors, where they are parameters.
    """

    x: Value
    epsilon: float
    axes: tuple[int, ...] = ()
    groups: int = 0
    mean: Factor | None = None
    variance: Factor | None = None
    scale: Factor | None = None
    offset: Factor | None = None


@dataclass(frozen=True, slots=True)
class Running:
    """What becomes of a running statistic, a parameter, in a step of training."""

    leaf: Value
    after: Sum


def normalized(parameters: Parameters, found: Sum, output: Value, running: Sequence[Running] = ()) -> Call | None:
    """A sum that is a normalisation, by given statistics or by its own; none if it is anything else."""
    standard = next(
        (
            one
            for product, coefficient in found.terms
            if close(coefficient, 1)
            for one in [_standard(parameters, found, product, output)]
            if one is not None
        ),
        None,
    )
    if standard is None or standard.epsilon <= 0:
        return None
    rank, shape = len(output.shape), output.shape
    if not standard.axes:
        return _with_vectors(parameters, "batch_norm", BatchNorm(epsilon=standard.epsilon), standard, shape[-1])
    varying = {axis for axis in range(rank) if shape[axis] > 1}
    own = set(standard.axes)
    if standard.groups:
        within = {*range(1, rank - 1), rank}
        if own != {axis for axis in within if axis == rank or shape[axis] > 1}:
            return None
        grouped = GroupNorm(groups=standard.groups, epsilon=standard.epsilon)
        return _with_vectors(parameters, "group_norm", grouped, standard, shape[-1])
    if own == varying & set(range(rank - 1)):
        return _of_batch(parameters, standard, running, shape)
    first = min(own)
    if own == varying & set(range(first, rank)):
        attributes = LayerNorm(axes=tuple(range(first, rank)), epsilon=standard.epsilon)
        return _with_blocks(attributes, standard, shape[first:])
    if rank > 2 and own == varying & set(range(1, rank - 1)):
        return _with_vectors(parameters, "instance_norm", InstanceNorm(epsilon=standard.epsilon), standard, shape[-1])
    return None


def _standard(parameters: Parameters, found: Sum, first: Product, output: Value) -> _Standard | None:
    """The sum as what it normalises, if the product is the one with x in it."""
    x = next((factor for factor, power in first if power == 1 and _is_whole(factor, parameters, output)), None)
    if x is None or not isinstance(x.base, Value):
        return None
    gain = first - {(x, 1.0)}
    roots = [factor for factor, power in gain if power == -0.5 and isinstance(factor.base, Sum)]
    scales = [factor for factor, power in gain if power == 1]
    if len(roots) != 1 or len(scales) > 1 or len(gain) != len(roots) + len(scales):
        return None
    rest = {product: coefficient for product, coefficient in found.terms if product != first}
    means = [
        factor
        for product, coefficient in rest.items()
        if gain < product and close(coefficient, -1)
        for factor, power in product - gain
        if power == 1 and len(product) == len(gain) + 1
    ]
    if len(means) != 1:
        return None
    (mean,) = means
    rest.pop(gain | {(mean, 1.0)})
    offsets = [
        next(iter(product)) for product, coefficient in rest.items() if len(product) == 1 and close(coefficient, 1)
    ]
    if len(offsets) != len(rest) or len(offsets) > 1 or any(power != 1 for _, power in offsets):
        return None
    (root,) = roots
    spread = _spread(root)
    if spread is None:
        return None
    variance, epsilon = spread
    common = _Standard(
        x=x.base,
        epsilon=epsilon,
        scale=scales[0] if scales else None,
        offset=offsets[0][0] if offsets else None,
    )
    if isinstance(variance, Factor):
        return replace(common, mean=mean, variance=variance)
    inner, axes = variance
    if mean.base != MeanOf(axes, frozenset({(inner, 1.0)})):
        return None
    if inner.base is x.base:
        return replace(common, axes=axes) if inner == x else None
    if not isinstance(inner.base, Value) or parameters.undivided(inner.base) is not x.base:
        return None
    return replace(common, axes=axes, groups=inner.base.shape[-2])


def _is_whole(factor: Factor, parameters: Parameters, output: Value) -> bool:
    """Whether a factor is a tensor of the output's own shape, and no parameter."""
    base = factor.base
    whole = isinstance(base, Value) and base.shape == output.shape and factor.places == own_places(base.shape)
    return whole and base not in parameters.names


def _spread(root: Factor) -> tuple[Factor | tuple[Factor, tuple[int, ...]], float] | None:
    """Variance and epsilon under a root: a tensor, or the deviation of one."""
    if not isinstance(root.base, Sum):
        return None
    terms = dict(root.base.terms)
    epsilon = float(str(np.float32(terms.pop(ONE, 0.0))))
    if len(terms) == 1:
        ((product, coefficient),) = terms.items()
        ((factor, power),) = product if len(product) == 1 else (((None, 0.0)),)
        if factor is None or power != 1 or not close(coefficient, 1):
            return None
        return Factor(factor.base, through(factor.places, root.places)), epsilon
    deviation = deviating(Sum.of(terms.items()))
    return (deviation, epsilon) if deviation is not None else None


def _of_batch(
    parameters: Parameters, standard: _Standard, running: Sequence[Running], shape: tuple[int, ...]
) -> Call | None:
    """A normalisation by the batch's own statistics, of which a part goes into the running ones."""
    x = Factor(standard.x, own_places(standard.x.shape))
    mean, square = (MeanOf(standard.axes, frozenset({(x, power)})) for power in (1.0, 2.0))
    count = math.prod(shape[axis] for axis in standard.axes)
    means, variances = [], []
    for one in running:
        # What stays, and what comes: of the mean itself, or of the mean square and the squared mean.
        stays = [c for product, c in one.after.terms if {(f.base, p) for f, p in product} == {(one.leaf, 1.0)}]
        comes = {next((f.base, p) for f, p in product): c for product, c in one.after.terms if len(product) == 1}
        if len(stays) != 1:
            continue
        momentum = float(str(np.float32(stays[0])))
        if len(one.after.terms) == 2 and close(comes.get((mean, 1.0), 0.0), 1 - momentum):
            means.append((one.leaf, momentum))
        share = comes.get((square, 1.0), 0.0) / (1 - momentum) if momentum < 1 else 0.0
        if len(one.after.terms) == 3 and close(comes.get((mean, 2.0), 0.0), -comes.get((square, 1.0), 0.0)):
            for bessel, divided in ((False, 1.0), (True, count / (count - 1) if count > 1 else 0.0)):
                if close(share, divided):
                    variances.append((one.leaf, momentum, bessel))
                    break
    if len(means) != 1 or len(variances) != 1 or means[0][1] != variances[0][1]:
        return None
    ((of_mean, momentum),), ((of_variance, _, bessel),) = means, variances
    attributes = BatchNormTraining(epsilon=standard.epsilon, momentum=momentum, bessel=bessel)
    with_statistics = replace(
        standard,
        mean=Factor(of_mean, _last_place(of_mean, shape)),
        variance=Factor(of_variance, _last_place(of_variance, shape)),
    )
    return _with_vectors(parameters, "batch_norm_training", attributes, with_statistics, shape[-1])


def _last_place(leaf: Value, shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(len(shape) - 1 if n > 1 else NOWHERE for n in leaf.shape)


def _with_vectors(
    parameters: Parameters, operator: str, attributes: Any, standard: _Standard, channels: int
) -> Call | None:
    """A normalisation whose parameters have a number a channel."""
    operands: dict[str, Value] = {"x": standard.x}
    moves: dict[str, Moves] = {}
    last = len(standard.x.shape) - 1
    for name in ("mean", "variance", "scale", "offset"):
        factor: Factor | None = getattr(standard, name)
        if factor is None:
            continue
        places = [place for place in factor.places if place != NOWHERE]
        base = factor.base
        vector = parameters.channelled(base, channels) if isinstance(base, Value) else None
        if vector is None or places not in ([last], []):
            return None
        operands[name], moves[name] = vector
    return Call(operator=operator, operands=operands, attributes=attributes, moves=moves)


def _with_blocks(attributes: LayerNorm, standard: _Standard, shape: tuple[int, ...]) -> Call | None:
    """A normalisation whose parameters have the sizes of its axes."""
    operands: dict[str, Value] = {"x": standard.x}
    rank = len(standard.x.shape)
    for name in ("scale", "offset"):
        factor: Factor | None = getattr(standard, name)
        if factor is None:
            continue
        places = tuple(
            axis if n > 1 else NOWHERE for axis, n in zip(range(rank - len(shape), rank), shape, strict=True)
        )
        if not isinstance(factor.base, Value) or factor.base.shape != shape or factor.places != places:
            return None
        operands[name] = factor.base
    return Call(operator="layer_norm", operands=operands, attributes=attributes)


def averaged(found: Sum, output: Value) -> Call | None:
    """A sum that is one mean over axes."""
    if len(found.terms) != 1:
        return None
    ((product, coefficient),) = found.terms
    factors = [factor for factor, power in product if power == 1]
    if not close(coefficient, 1) or len(product) != 1 or len(factors) != 1:
        return None
    base = factors[0].base
    if not isinstance(base, MeanOf) or len(base.of) != 1:
        return None
    ((inner, power),) = base.of
    x = inner.base
    if not isinstance(x, Value) or power != 1 or inner.places != own_places(x.shape):
        return None
    keeps = len(output.shape) == len(x.shape)
    kept = tuple(1 if axis in base.axes else n for axis, n in enumerate(x.shape))
    if output.shape != (kept if keeps else tuple(n for axis, n in enumerate(x.shape) if axis not in base.axes)):
        return None
    if len(x.shape) == 4 and base.axes == (1, 2):
        return Call(operator="global_average_pool2d", operands={"x": x}, squeezed=keeps)
    return Call(operator="mean", operands={"x": x}, attributes=Mean(axes=base.axes, keepdims=keeps))
