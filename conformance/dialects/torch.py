"""PyTorch's layers: `torch.nn` on channels-first data.

Every pad, crop and option is the one that a careful porter would write; what has no layer is said to have none.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from types import MappingProxyType
from typing import Any, Final

from conformance.case.families.convolution import settled
from conformance.case.families.pooling import MaxPool
from conformance.case.geometry import (
    Pads,
    extent,
    nearest_places,
    resolve_pads,
    transposed_crop,
    window_count,
)
from conformance.case.model import Shape
from conformance.dialects import arrays, backward, draws, dropout, losses, patches, signals, updates, windows
from conformance.dialects.model import Question, Unwritten, Weight, Written
from conformance.dialects.moves import Transpose, back, channels_first, kernel_first, moved
from conformance.dialects.source import called, each, rest
from conformance.dialects.statements import torch_script
from conformance.errors import ImpossibleShape

_ELEMENTWISE: Final[Mapping[str, str]] = {
    "relu": "ReLU",
    "sigmoid": "Sigmoid",
    "tanh": "Tanh",
    "relu6": "ReLU6",
    "selu": "SELU",
    "silu": "SiLU",
    "mish": "Mish",
    "softplus": "Softplus",
    "softsign": "Softsign",
    "log_sigmoid": "LogSigmoid",
    "hard_sigmoid": "Hardsigmoid",
    "hard_swish": "Hardswish",
}
_PAD_LAYERS: Final = MappingProxyType({"reflect": "ReflectionPad", "edge": "ReplicationPad", "wrap": "CircularPad"})


def write(question: Question) -> Written | Unwritten:
    """The layers of `torch.nn` that answer a question, or why there are none."""
    operator = question.operator
    if operator in _ELEMENTWISE:
        return Written(lines=(f"nn.{_ELEMENTWISE[operator]}()",))
    if operator not in _WRITERS:
        return Unwritten(why=f"torch.nn has no layer that stands for {operator} here")
    return _WRITERS[operator](question)


def _last_first(places: Sequence[tuple[int, int]]) -> tuple[int, ...]:
    """Pairs as torch's pads count them: of the last axis first."""
    return tuple(n for pair in reversed(places) for n in pair)


def _padded(pads: Sequence[tuple[int, int]], value: float = 0.0) -> list[str]:
    """A layer that pads, or with negative numbers crops; none where nothing changes."""
    if not any(map(any, pads)):
        return []
    flat = each(_last_first(pads))
    if value:
        return [called(f"nn.ConstantPad{len(pads)}d", flat, value)]
    return [called(f"nn.ZeroPad{len(pads)}d", flat)]


def _bias(question: Question) -> tuple[object, object]:
    return "b" in question.shapes, True


def _kernel_weights(question: Question, line: int) -> tuple[Weight, ...]:
    """Kernel and bias of the layer on a line."""
    kernel = Weight(operand="w", name="weight", line=line, moves=kernel_first(question.contract.rank))
    return (kernel, *([Weight(operand="b", name="bias", line=line)] if "b" in question.shapes else []))


def _conv(question: Question) -> Written:
    a, w = question.attributes, question.shapes["w"]
    rank, sizes = len(a.stride), question.shapes["x"][1:-1]
    pads = resolve_pads(a.padding, sizes, w[:rank], a.stride, a.dilation)
    before: list[str] = []
    padding: object = each([low for low, _ in pads])
    remark = ""
    if a.padding == "same" and set(a.stride) == {1}:
        padding = "same"
    elif any(low != high for low, high in pads):
        before, padding = _padded(pads), 0
        remark = "torch's convolutions pad both ends alike, so the pads are a layer of their own"
        if a.padding == "same":
            remark = "padding='same' is refused for strides other than 1, and both ends are padded alike"
    layer = called(
        f"nn.Conv{rank}d",
        question.shapes["x"][-1],
        w[-1],
        each(w[:rank]),
        stride=(each(a.stride), 1),
        padding=(padding, 0),
        dilation=(each(a.dilation), 1),
        groups=(a.groups, 1),
        bias=_bias(question),
    )
    return Written(lines=(*before, layer), weights=_kernel_weights(question, len(before)), remark=remark)


def _conv_transpose(question: Question) -> Written | Unwritten:
    a, w = question.attributes, question.shapes["w"]
    rank, sizes = len(a.stride), question.shapes["x"][1:-1]
    if a.pad_mode != "zeros":
        return Unwritten(why="torch's transposed convolutions have no circular pads")
    a = settled(a, sizes, w[:rank])
    starts, outputs = transposed_crop(a.padding, sizes, w[:rank], a.stride, a.dilation, a.output_padding)
    padding, more, crop = [], [], []
    for n, k, s, d, start, size in zip(sizes, w[:rank], a.stride, a.dilation, starts, outputs, strict=True):
        canvas = (n - 1) * s + extent(k, d)
        # torch keeps canvas - 2 padding + output_padding elements, from padding on.
        longer = size - canvas + 2 * start
        if 0 <= longer < max(s, d):
            padding.append(start)
            more.append(longer)
            crop.append((0, 0))
            continue
        after = canvas - start - size
        padding.append(min(start, max(after, 0)))
        more.append(max(-after, 0))
        low = start - padding[-1]
        crop.append((-low, -(canvas - 2 * padding[-1] + more[-1] - low - size)))
    layer = called(
        f"nn.ConvTranspose{rank}d",
        question.shapes["x"][-1],
        w[-2] * a.groups,
        each(w[:rank]),
        stride=(each(a.stride), 1),
        padding=(each(padding), 0),
        output_padding=(each(more), 0),
        groups=(a.groups, 1),
        bias=_bias(question),
        dilation=(each(a.dilation), 1),
    )
    cropped = _padded(crop)
    remark = "torch's transposed convolutions crop both ends alike; negative pads crop the rest" if cropped else ""
    return Written(lines=(layer, *cropped), weights=_kernel_weights(question, 0), remark=remark)


def _fitting(
    question: Question, pads: Pads, dilation: Shape, *, ceil: bool
) -> tuple[tuple[int, ...], tuple[tuple[int, int], ...]] | None:
    """Equal pads under which torch's windows hold the wanted ones, and the crop that leaves those; None without."""
    a, sizes = question.attributes, question.shapes["x"][1:-1]
    wanted = question.output[1:-1]
    paddings, crops = [], []
    for axis, (low, _) in enumerate(pads):
        k, s, d = a.window[axis], a.stride[axis], dilation[axis]
        for skipped in range(k):
            padding = low + skipped * s
            if padding > k // 2:
                return None
            try:
                (count,) = window_count((sizes[axis],), ((padding, padding),), (k,), (s,), (d,), ceil_mode=ceil)
            except ImpossibleShape:
                continue
            if count >= wanted[axis] + skipped:
                paddings.append(padding)
                crops.append((-skipped, wanted[axis] + skipped - count))
                break
        else:
            return None
    return tuple(paddings), tuple(crops)


def _pool(question: Question) -> Written | Unwritten:
    a, sizes = question.attributes, question.shapes["x"][1:-1]
    rank = len(a.window)
    maximum = question.operator.startswith("max")
    dilation = a.dilation if maximum else (1,) * rank
    counted = not maximum and a.count_padding
    pads = resolve_pads(a.padding, sizes, a.window, a.stride, dilation)

    def layer(padding: Sequence[int], *, ceil: bool, count: bool) -> str:
        more: dict[str, tuple[object, object]] = {"count_include_pad": (count, True)}
        if maximum:
            more = {"dilation": (each(dilation), 1)}
        return called(
            f"nn.{'Max' if maximum else 'Avg'}Pool{rank}d",
            each(a.window),
            stride=(each(a.stride), each(a.window)),
            padding=(each(padding), 0),
            **more,
            ceil_mode=(ceil, False),
        )

    lows = tuple(low for low, _ in pads)
    if rank == 3 and not maximum and any(k > n for k, n in zip(a.window, sizes, strict=True)):
        return Unwritten(why="nn.AvgPool3d refuses windows that are larger than the input without its pads")
    if all(low == high and low <= k // 2 for (low, high), k in zip(pads, a.window, strict=True)):
        # Where there are no pads, nothing of them is counted.
        return Written(lines=(layer(lows, ceil=a.ceil_mode, count=counted or not any(lows)),))
    if counted:
        if a.ceil_mode:
            return Unwritten(why="torch's average pools count what lies in equal pads, with ceil_mode no others")
        remark = "pads that count are a layer of their own, where they differ"
        return Written(lines=(*_padded(pads), layer((0,) * rank, ceil=False, count=True)), remark=remark)
    found = [(fitting, ceil) for ceil in (False, True) if (fitting := _fitting(question, pads, dilation, ceil=ceil))]
    for (padding, crop), ceil in sorted(found, key=lambda one: bool(_padded(one[0][1]))):
        how = "ceil_mode takes the last window" if ceil else "equal pads take all windows"
        cropped = _padded(crop)
        remark = f"torch's pools pad both ends alike; {how}" + (
            ", negative pads drop what is too many" * bool(cropped)
        )
        count = maximum or not any(padding)
        return Written(lines=(layer(padding, ceil=ceil, count=count), *cropped), remark=remark)
    if maximum and not a.ceil_mode:
        remark = "torch's pools pad both ends alike, so what never wins is padded before"
        return Written(lines=(*_padded(pads, -math.inf), layer((0,) * rank, ceil=False, count=True)), remark=remark)
    return Unwritten(why="torch's pools pad both ends alike, and no equal pads hold these windows")


def _adaptive(question: Question) -> Written:
    kind = "Avg" if "average" in question.operator else "Max"
    return Written(lines=(called(f"nn.Adaptive{kind}Pool2d", each(question.attributes.size)),))


def _indexed_pool(question: Question) -> Written | Unwritten:
    a = question.attributes
    if a.indexed != "plane":
        return Unwritten(why="torch's indices count the rows and columns of one channel (plane)")
    plain = MaxPool(**{field.name: getattr(a, field.name) for field in fields(MaxPool)})
    said = _pool(replace(question, operator=question.operator.removesuffix("_with_indices"), attributes=plain))
    if isinstance(said, Unwritten):
        return said
    if len(said.lines) > 1:
        return Unwritten(why="torch counts indices in equal pads of both ends alone")
    layer = f"{said.lines[0].removesuffix(')')}, return_indices=True)"
    return Written(lines=(f"y, indices = {layer}(x)",), statements=True)


def _global_pool(question: Question) -> Written:
    kind = "Avg" if "average" in question.operator else "Max"
    return Written(lines=(f"nn.Adaptive{kind}Pool2d(1)", "nn.Flatten()"), remark="torch keeps the axes, with size 1")


def _affine(question: Question, *, moves: tuple[Any, ...] = ()) -> tuple[Weight, ...] | None:
    """Scale and offset; torch has both or none, so None for one of them."""
    there = [name for name in ("scale", "offset") if name in question.shapes]
    if len(there) == 1:
        return None
    return tuple(
        Weight(operand=name, name={"scale": "weight", "offset": "bias"}[name], moves=moves) for name in there
    )


_ONE_OF_TWO: Final = Unwritten(why="torch's normalisations have scale and offset, or neither")


def _batch_norm(question: Question) -> Written | Unwritten:
    x, weights = question.shapes["x"], _affine(question)
    if weights is None:
        return _ONE_OF_TWO
    rank = max(len(x) - 2, 1)
    if rank > 3:
        return Unwritten(why=f"torch.nn has no BatchNorm for {rank} spatial axes")
    training = question.operator == "batch_norm_training"
    if training and not question.attributes.bessel:
        return Unwritten(why="torch's running variance takes the batch's with the divisor n - 1 (bessel)")
    layer = called(
        f"nn.BatchNorm{rank}d",
        x[-1],
        eps=(question.attributes.epsilon, 1e-5),
        momentum=(rest(question.attributes.momentum) if training else 0.1, 0.1),
        affine=(bool(weights), True),
    )
    running = (Weight(operand="mean", name="running_mean"), Weight(operand="variance", name="running_var"))
    remark = "in eval mode, with the running statistics"
    if training:
        remark = "in train mode; torch's momentum is the share of the batch's statistics, 1 - momentum here"
    return Written(lines=(layer,), weights=(*weights, *running), remark=remark)


def _instance_norm(question: Question) -> Written | Unwritten:
    x, weights = question.shapes["x"], _affine(question)
    if weights is None:
        return _ONE_OF_TWO
    if len(x) > 5:
        return Unwritten(why=f"torch.nn has no InstanceNorm for {len(x) - 2} spatial axes")
    layer = called(
        f"nn.InstanceNorm{len(x) - 2}d",
        x[-1],
        eps=(question.attributes.epsilon, 1e-5),
        affine=(bool(weights), False),
    )
    return Written(lines=(layer,), weights=weights)


def _group_norm(question: Question) -> Written | Unwritten:
    weights = _affine(question)
    if weights is None:
        return _ONE_OF_TWO
    a = question.attributes
    layer = called(
        "nn.GroupNorm", a.groups, question.shapes["x"][-1], eps=(a.epsilon, 1e-5), affine=(bool(weights), True)
    )
    return Written(lines=(layer,), weights=weights)


def _layer_norm(question: Question) -> Written | Unwritten:
    x, a = question.shapes["x"], question.attributes
    axes = tuple(axis % len(x) for axis in a.axes)
    first = [0, len(x) - 1, *range(1, len(x) - 1)]  # the house's axes in torch's order
    trailing = first[len(x) - len(axes) :]
    if sorted(trailing) != list(axes):
        return Unwritten(
            why=f"nn.LayerNorm takes the last axes of channels-first data, not the axes {axes} of channels-last data"
        )
    weights = _affine(question, moves=(Transpose(tuple(axes.index(axis) for axis in trailing)),))
    if weights is None:
        if "offset" in question.shapes:
            return _ONE_OF_TWO
        weights = (Weight(operand="scale", name="weight"),)
    layer = called(
        "nn.LayerNorm",
        each(tuple(x[axis] for axis in trailing)) if len(trailing) == 1 else tuple(x[axis] for axis in trailing),
        eps=(a.epsilon, 1e-5),
        elementwise_affine=(bool(weights), True),
        bias=(len(weights) != 1, True),
    )
    return Written(lines=(layer,), weights=weights)


def _dense(question: Question) -> Written | Unwritten:
    x, w = question.shapes["x"], question.shapes["w"]
    if len(x) > 2:
        return Unwritten(why="nn.Linear takes the last axis, which holds no channels where data is channels-first")
    weights = [Weight(operand="w", name="weight", moves=(Transpose((1, 0)),))]
    weights += [Weight(operand="b", name="bias")] if "b" in question.shapes else []
    return Written(lines=(called("nn.Linear", *w, bias=_bias(question)),), weights=tuple(weights))


def _flatten(question: Question) -> Written | Unwritten:
    x = question.shapes["x"]
    if len(x) > 2 and x[-1] > 1 and math.prod(x[1:-1]) > 1:
        return Unwritten(
            why="nn.Flatten() lays channels first, so the same numbers come in another order; "
            "permute before it, x.permute(0, 2, 3, 1), or reorder the rows of the next layer's kernel"
        )
    return Written(lines=("nn.Flatten()",))


def _softmax(question: Question) -> Written:
    axes = len(question.shapes["x"])
    house = question.attributes.axis % axes
    dim = [0, axes - 1, *range(1, axes - 1)].index(house)
    kind = "LogSoftmax" if question.operator == "log_softmax" else "Softmax"
    return Written(lines=(f"nn.{kind}(dim={dim})",))


def _leaky_relu(question: Question) -> Written:
    return Written(lines=(called("nn.LeakyReLU", question.attributes.slope),))


def _elu(question: Question) -> Written:
    return Written(lines=(called("nn.ELU", alpha=(question.attributes.alpha, 1.0)),))


def _gelu(question: Question) -> Written:
    return Written(lines=(called("nn.GELU", approximate=(question.attributes.approximate, "none")),))


def _hard_tanh(question: Question) -> Written:
    a = question.attributes
    return Written(lines=(called("nn.Hardtanh", min_val=(a.low, -1.0), max_val=(a.high, 1.0)),))


def _prelu(question: Question) -> Written:
    return Written(
        lines=(called("nn.PReLU", question.shapes["x"][-1]),), weights=(Weight(operand="a", name="weight"),)
    )


def _pad(question: Question) -> Written | Unwritten:
    a = question.attributes
    rank = len(a.padding) - 2
    if any(map(any, (a.padding[0], a.padding[-1]))) or rank not in (1, 2, 3):
        return Unwritten(why="torch's layers pad one to three spatial axes")
    spatial = a.padding[1:-1]
    if a.mode == "constant":
        return Written(lines=tuple(_padded(spatial, a.value)) or ("nn.Identity()",))
    if a.mode not in _PAD_LAYERS:
        return Unwritten(why=f"torch.nn has no pads of mode {a.mode}")
    return Written(lines=(called(f"nn.{_PAD_LAYERS[a.mode]}{rank}d", each(_last_first(spatial))),))


# Modes by the number of spatial axes; images alone are resized cubically.
_WEIGHTED: Final[Mapping[str, tuple[str, str, str]]] = {
    "linear": ("linear", "bilinear", "trilinear"),
    "cubic": ("", "bicubic", ""),
}


def _resize(question: Question) -> Written | Unwritten:
    a, sizes = question.attributes, question.shapes["x"][1:-1]
    size = each(a.size)
    if a.method == "nearest":
        taken = [
            [nearest_places(n, m, coordinates, rounding) for n, m in zip(sizes, a.size, strict=True)]
            for coordinates, rounding in (
                (a.coordinates, a.rounding),
                ("asymmetric", "floor"),
                ("half_pixel", "half_up"),
            )
        ]
        for mode, places in zip(("nearest", "nearest-exact"), taken[1:], strict=True):
            if places == taken[0]:
                return Written(lines=(called("nn.Upsample", size=(size, None), mode=(mode, "")),))
        return Unwritten(why="nn.Upsample takes other nearest elements, in either of its modes")
    if a.antialias or a.method == "area":
        return Unwritten(
            why="nn.Upsample takes the elements around a coordinate, F.interpolate alone all that is covered"
        )
    mode = _WEIGHTED[a.method][len(sizes) - 1]
    if not mode:
        return Unwritten(why="nn.Upsample is cubic for images alone")
    if a.coordinates == "asymmetric" or (a.method == "cubic" and (a.coefficient, a.edge) != (-0.75, "clamp")):
        return Unwritten(why=f"nn.Upsample has no {mode} with these coordinates, coefficient and edge")
    aligned = (a.coordinates == "align_corners", False)
    return Written(lines=(called("nn.Upsample", size=(size, None), mode=(mode, ""), align_corners=aligned),))


def _blocks(question: Question) -> Written | Unwritten:
    block, up = question.attributes.block, question.operator == "depth_to_space"
    channels = (question.shapes["x"] if not up else question.output)[-1]
    if question.attributes.order == "dcr" and channels > 1:
        layer = f"nn.Pixel{'Shuffle' if up else 'Unshuffle'}({{block}})({'x'})"
        return arrays.blocks("torch", layer, "crd")(question)
    return Written(lines=(f"nn.Pixel{'Shuffle' if up else 'Unshuffle'}({block})",))


def _crop(question: Question) -> Written:
    cropping = question.attributes.cropping
    lines = _padded(tuple((-low, -high) for low, high in cropping))
    return Written(lines=tuple(lines) or ("nn.Identity()",), remark="negative pads crop")


def _spread(question: Question) -> Written:
    sizes = question.attributes.sizes
    flat = [] if len(question.first) == 3 else ["nn.Flatten(2)"]
    return Written(lines=(*flat, *([f"nn.Unflatten(2, {sizes})"] if len(sizes) > 1 else [])))


_WRITERS: Final[Mapping[str, Callable[[Question], Written | Unwritten]]] = {
    **{f"conv{rank}d": _conv for rank in (1, 2, 3)},
    **{f"conv{rank}d_transpose": _conv_transpose for rank in (1, 2, 3)},
    **{f"{kind}_pool{rank}d": _pool for kind in ("max", "average") for rank in (1, 2, 3)},
    "adaptive_average_pool2d": _adaptive,
    "adaptive_max_pool2d": _adaptive,
    "global_average_pool2d": _global_pool,
    "global_max_pool2d": _global_pool,
    "batch_norm": _batch_norm,
    "batch_norm_training": _batch_norm,
    **{f"max_pool{rank}d_with_indices": _indexed_pool for rank in (1, 2, 3)},
    "instance_norm": _instance_norm,
    "group_norm": _group_norm,
    "layer_norm": _layer_norm,
    "dense": _dense,
    "flatten": _flatten,
    "softmax": _softmax,
    "log_softmax": _softmax,
    "leaky_relu": _leaky_relu,
    "elu": _elu,
    "gelu": _gelu,
    "hard_tanh": _hard_tanh,
    "prelu": _prelu,
    "pad": _pad,
    **{f"resize{rank}d": _resize for rank in (1, 2, 3)},
    "depth_to_space": _blocks,
    "space_to_depth": _blocks,
    "crop": _crop,
    "spread": _spread,
    "flatten_channels_first": lambda question: Written(lines=("nn.Flatten()",)),
    "identity": lambda question: Written(lines=("nn.Identity()",)),
    **losses.TORCH,
    **dropout.TORCH,
    **arrays.TORCH,
    **windows.TORCH,
    **patches.TORCH,
    **signals.TORCH,
    **backward.TORCH,
    **updates.TORCH,
    **draws.TORCH,
}

PRELUDE: Final = ("import torch", "from torch import nn", "torch.set_num_threads(1)")


def script(written: Written, question: Question) -> tuple[str, ...]:
    """The body of a function that asks `given`, NumPy arrays in the house's order, and makes `found` of the same.

    Gradients are there where the output has its cotangent's shape.
    """
    if written.statements:
        return torch_script(written, question)
    x, output = len(question.shapes["x"]), len(question.output)
    first = moved('given["x"]', channels_first(x))
    pulled = moved('given["cotangent"]', channels_first(output))
    mode = "train" if question.contract.state else "eval"
    lines = [
        f"x = torch.from_numpy({first}.copy()).requires_grad_()",
        f"layers = nn.Sequential({', '.join(written.lines)}).{mode}()",
        "with torch.no_grad():",
        *(f"    {_parameter(weight)}.copy_(torch.from_numpy({_given(weight)}.copy()))" for weight in written.weights),
        "    pass",
        "y = layers(x)",
        f'found = {{"output": {_to_last("y.detach().numpy()", "y")}}}',
        *(
            f'found["{weight.operand}"] = {_parameter(weight)}.numpy()'
            for weight in written.weights
            if weight.operand in question.contract.state
        ),
        f"pulled = torch.from_numpy({pulled}.copy())",
        "if y.shape == pulled.shape:",
        "    y.backward(pulled)",
        f'    found["gradient x"] = {_to_last("x.grad.numpy()", "x")}',
    ]
    for weight in written.weights:
        if question.contract.operand(weight.operand).differentiable:
            gradient = moved(f"{_parameter(weight)}.grad.numpy()", back(weight.moves))
            lines.append(f'    found["gradient {weight.operand}"] = {gradient}')
    return tuple(lines)


def _parameter(weight: Weight) -> str:
    return f"layers[{weight.line}].{weight.name}"


def _given(weight: Weight) -> str:
    return moved(f'given["{weight.operand}"]', weight.moves)


def _to_last(text: str, tensor: str) -> str:
    return f"np.moveaxis({text}, 1, -1) if {tensor}.ndim > 2 else {text}"
