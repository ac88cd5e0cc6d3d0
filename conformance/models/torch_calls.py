"""What calls of PyTorch's are, in the house's words: one function each, with the signature of the call that it reads.

Whatever has no function here, or an argument that changes the meaning, is nobody's: it is listed, not guessed.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from conformance.case.families.activations import Elu, Gelu, HardTanh, LeakyRelu, Softmax
from conformance.case.families.arrays import Blocks, Concat, Mean, Pad
from conformance.case.families.convolution import Convolution, TransposedConvolution
from conformance.case.families.normalization import (
    BatchNorm,
    BatchNormTraining,
    GroupNorm,
    InstanceNorm,
    LayerNorm,
    LocalResponseNorm,
)
from conformance.case.families.pooling import AveragePool, MaxPool
from conformance.case.families.resizing import Resize
from conformance.case.geometry import resolve_pads
from conformance.models.base import per_axis
from conformance.models.recording import Call, Native

# Images of a plane and of a volume have a batch, channels and two or three axes.
IMAGES: Final = (4, 5)
# They give numbers on as they are.
SILENT: Final = ("clone", "contiguous", "detach", "to", "float", "double", "requires_grad_", "type_as", "identity")
# In training they draw; parity is asked without.
DROPOUTS: Final = (
    *("dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_alpha_dropout"),
    "feature_dropout",
)
CHANNELS_FIRST: Final = "flattened channels first"


def _given(**operands: Native) -> dict[str, Native]:
    return {name: tensor for name, tensor in operands.items() if tensor is not None}


def _axis(axis: int, x: Native) -> int:
    """Where an axis of a tensor is once an image's channels are last."""
    axis %= x.ndim
    if x.ndim not in IMAGES or axis == 0:
        return axis
    return x.ndim - 1 if axis == 1 else axis - 1


def _images(x: Native) -> bool:
    return x.ndim in IMAGES


def _pairs(padding: Any, rank: int) -> tuple[tuple[int, int], ...]:
    return tuple((p, p) for p in per_axis(padding, rank))


def _convolution(rank: int) -> Callable[..., Call | None]:
    def read(
        input: Native,  # noqa: A002
        weight: Native,
        bias: Native = None,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
    ) -> Call | None:
        if input.ndim != rank + 2:
            return None
        dilation = per_axis(dilation, rank)
        kernel = tuple(weight.shape[2:])
        pads: Any = padding
        if padding == "same":
            # torch takes a stride of 1 alone.
            pads = resolve_pads("same", tuple(input.shape[2:]), kernel, (1,) * rank, dilation)
        elif padding != "valid":
            pads = _pairs(padding, rank)
        if pads != "valid" and not any(map(any, pads)):
            pads = "valid"
        attributes = Convolution(stride=per_axis(stride, rank), dilation=dilation, groups=groups, padding=pads)
        operands = _given(x=input, w=weight, b=bias)
        return Call(operator=f"conv{rank}d", operands=operands, attributes=attributes, images=True, kernel=kernel)

    return read


def _transposed(rank: int) -> Callable[..., Call | None]:
    def read(
        input: Native,  # noqa: A002
        weight: Native,
        bias: Native = None,
        stride: Any = 1,
        padding: Any = 0,
        output_padding: Any = 0,
        groups: int = 1,
        dilation: Any = 1,
    ) -> Call | None:
        if input.ndim != rank + 2:
            return None
        attributes = TransposedConvolution(
            stride=per_axis(stride, rank),
            dilation=per_axis(dilation, rank),
            groups=groups,
            padding=_pairs(padding, rank),
            output_padding=per_axis(output_padding, rank),
        )
        return Call(
            operator=f"conv{rank}d_transpose",
            operands=_given(x=input, w=weight, b=bias),
            attributes=attributes,
            images=True,
            kernel=tuple(weight.shape[2:]),
        )

    return read


def _linear(input: Native, weight: Native, bias: Native = None) -> Call:  # noqa: A002
    return Call(operator="dense", operands=_given(x=input, w=weight, b=bias))


def _max_pool(rank: int) -> Callable[..., Call | None]:
    def read(
        input: Native,  # noqa: A002
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        dilation: Any = 1,
        ceil_mode: bool = False,
        return_indices: bool = False,
    ) -> Call | None:
        if return_indices or input.ndim != rank + 2:
            return None
        attributes = MaxPool(
            window=per_axis(kernel_size, rank),
            stride=per_axis(stride or kernel_size, rank),
            dilation=per_axis(dilation, rank),
            padding=_pairs(padding, rank) if any(per_axis(padding, rank)) else "valid",
            ceil_mode=ceil_mode,
        )
        return Call(operator=f"max_pool{rank}d", operands={"x": input}, attributes=attributes, images=True)

    return read


def _average_pool(rank: int) -> Callable[..., Call | None]:
    def read(
        input: Native,  # noqa: A002
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> Call | None:
        if divisor_override is not None or input.ndim != rank + 2:
            return None
        padded = any(per_axis(padding, rank))
        attributes = AveragePool(
            window=per_axis(kernel_size, rank),
            stride=per_axis(stride or kernel_size, rank),
            padding=_pairs(padding, rank) if padded else "valid",
            ceil_mode=ceil_mode,
            count_padding=count_include_pad and padded,
        )
        return Call(operator=f"average_pool{rank}d", operands={"x": input}, attributes=attributes, images=True)

    return read


def _to_one_pixel(operator: str) -> Callable[..., Call | None]:
    def read(input: Native, output_size: Any, return_indices: bool = False) -> Call | None:  # noqa: A002
        if input.ndim != 4 or return_indices or per_axis(output_size, 2) != (1, 1):
            return None
        return Call(operator=operator, operands={"x": input}, images=True, squeezed=True)

    return read


def _mean(input: Native, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Call | None:  # noqa: A002
    if dim is None or dtype is not None:
        return None
    axes = sorted({axis % input.ndim for axis in ((dim,) if isinstance(dim, int) else dim)})
    if input.ndim == 4 and axes == [2, 3]:
        return Call(operator="global_average_pool2d", operands={"x": input}, images=True, squeezed=keepdim)
    if input.ndim in IMAGES and not keepdim:
        return None
    attributes = Mean(axes=tuple(sorted(_axis(axis, input) for axis in axes)), keepdims=keepdim)
    return Call(operator="mean", operands={"x": input}, attributes=attributes, images=_images(input))


def _batch_norm(
    input: Native,  # noqa: A002
    running_mean: Native,
    running_var: Native,
    weight: Native = None,
    bias: Native = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Call | None:
    if running_mean is None:
        return None
    operands = _given(x=input, mean=running_mean, variance=running_var, scale=weight, offset=bias)
    images = input.ndim > 2
    if training:
        # torch's momentum is the share that comes, and its running variance has the divisor n - 1.
        own = BatchNormTraining(epsilon=eps, momentum=1 - momentum, bessel=True)
        return Call(operator="batch_norm_training", operands=operands, attributes=own, images=images)
    return Call(operator="batch_norm", operands=operands, attributes=BatchNorm(epsilon=eps), images=images)


def _layer_norm(
    input: Native,  # noqa: A002
    normalized_shape: Sequence[int],
    weight: Native = None,
    bias: Native = None,
    eps: float = 1e-5,
) -> Call:
    axes = tuple(range(input.ndim - len(normalized_shape), input.ndim))
    attributes = LayerNorm(axes=axes, epsilon=eps)
    return Call(operator="layer_norm", operands=_given(x=input, scale=weight, offset=bias), attributes=attributes)


def _group_norm(
    input: Native,  # noqa: A002
    num_groups: int,
    weight: Native = None,
    bias: Native = None,
    eps: float = 1e-5,
) -> Call:
    attributes = GroupNorm(groups=num_groups, epsilon=eps)
    operands = _given(x=input, scale=weight, offset=bias)
    return Call(operator="group_norm", operands=operands, attributes=attributes, images=input.ndim > 2)


def _instance_norm(
    input: Native,  # noqa: A002
    running_mean: Native = None,
    running_var: Native = None,
    weight: Native = None,
    bias: Native = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Call | None:
    if not use_input_stats:
        return None
    operands = _given(x=input, scale=weight, offset=bias)
    return Call(operator="instance_norm", operands=operands, attributes=InstanceNorm(epsilon=eps), images=True)


def _local_response_norm(
    input: Native,  # noqa: A002
    size: int,
    alpha: float = 1e-4,
    beta: float = 0.75,
    k: float = 1.0,
) -> Call:
    attributes = LocalResponseNorm(size=size, alpha=alpha, beta=beta, bias=k, alpha_of="mean")
    return Call(operator="local_response_norm", operands={"x": input}, attributes=attributes, images=True)


def _cat(tensors: Sequence[Native], dim: int = 0) -> Call | None:
    if len(tensors) != 2:
        return None
    x, y = tensors
    attributes = Concat(axis=_axis(dim, x))
    return Call(operator="concat", operands={"x": x, "y": y}, attributes=attributes, images=_images(x))


def _two(operator: str) -> Callable[..., Call | None]:
    def read(input: Native, other: Native, *, alpha: float = 1) -> Call | None:  # noqa: A002
        alike = getattr(other, "shape", None) == input.shape
        if not alike or alpha != 1:
            return None
        return Call(operator=operator, operands={"x": input, "y": other}, images=_images(input))

    return read


def _flatten(input: Native, start_dim: int = 0, end_dim: int = -1) -> Call | None:  # noqa: A002
    if start_dim % input.ndim != 1 or end_dim % input.ndim != input.ndim - 1:
        return None
    return flattened(input) if _pixels(input) else None


def flattened(x: Native) -> Call:
    """(batch, ...) becomes (batch, everything else): of an image, channel by channel."""
    reading = CHANNELS_FIRST if _images(x) else ""
    return Call(operator="flatten", operands={"x": x}, images=_images(x), reading=reading)


def _pixels(x: Native) -> bool:
    """Whether there is anything to flatten, beside axes of size 1."""
    return any(n != 1 for n in x.shape[2:])


def _softmax(operator: str) -> Callable[..., Call | None]:
    def read(input: Native, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None) -> Call | None:  # noqa: A002
        if dim is None or dtype is not None:
            return None
        attributes = Softmax(axis=_axis(dim, input))
        return Call(operator=operator, operands={"x": input}, attributes=attributes, images=_images(input))

    return read


def _activation(operator: str, attributes: Callable[..., Any] | None = None) -> Callable[..., Call]:
    """An element-wise call, whose further arguments are those of `attributes`."""

    def read(input: Native, *args: Any, inplace: bool = False, **kwargs: Any) -> Call:  # noqa: A002
        if attributes is None:
            if args or kwargs:
                raise TypeError("an argument that changes the meaning")
            return Call(operator=operator, operands={"x": input}, images=_images(input))
        made = attributes(*args, **kwargs)
        return Call(operator=operator, operands={"x": input}, attributes=made, images=_images(input))

    return read


def _leaky(negative_slope: float = 0.01) -> LeakyRelu:
    return LeakyRelu(slope=negative_slope)


def _elu(alpha: float = 1.0) -> Elu:
    return Elu(alpha=alpha)


def _gelu(*, approximate: Any = "none") -> Gelu:
    return Gelu(approximate=approximate)


def _hard_tanh(min_val: float = -1.0, max_val: float = 1.0) -> HardTanh:
    return HardTanh(low=min_val, high=max_val)


def _prelu(input: Native, weight: Native) -> Call | None:  # noqa: A002
    if input.ndim < 2 or tuple(weight.shape) != (input.shape[1],):
        return None
    return Call(operator="prelu", operands={"x": input, "a": weight}, images=input.ndim > 2)


def _pad(input: Native, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> Call | None:  # noqa: A002
    modes: Mapping[str, Any] = {"constant": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}
    if input.ndim not in IMAGES or min(pad) < 0 or len(pad) > 2 * (input.ndim - 2):
        return None
    pairs = [(0, 0)] * input.ndim
    for place in range(len(pad) // 2):
        pairs[input.ndim - 1 - place] = (pad[2 * place], pad[2 * place + 1])
    attributes = Pad(padding=(pairs[0], *pairs[2:], pairs[1]), mode=modes[mode], value=float(value or 0.0))
    return Call(operator="pad", operands={"x": input}, attributes=attributes, images=True)


def _interpolate(
    input: Native,  # noqa: A002
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> Call | None:
    weighted = {"bilinear": "linear", "trilinear": "linear"}
    methods: Mapping[str, Any] = {"nearest": "nearest", "nearest-exact": "nearest", **weighted}
    rank = input.ndim - 2
    if input.ndim not in IMAGES or antialias or mode not in methods:
        return None
    if size is None:
        factors = (scale_factor,) * rank if isinstance(scale_factor, (int, float)) else tuple(scale_factor)
        if any(factor != int(factor) for factor in factors):
            return None  # the factor itself, and not the ratio of the sizes, may say where a pixel is looked for
        size = tuple(int(n * factor) for n, factor in zip(input.shape[2:], factors, strict=True))
    made: dict[str, Any] = {"size": per_axis(size, rank), "method": methods[mode]}
    if mode == "nearest":
        made |= {"coordinates": "asymmetric", "rounding": "floor"}
    elif align_corners:
        made["coordinates"] = "align_corners"
    return Call(operator=f"resize{rank}d", operands={"x": input}, attributes=Resize(**made), images=True)


def _pixel_shuffle(input: Native, upscale_factor: int) -> Call:  # noqa: A002
    attributes = Blocks(block=upscale_factor, order="crd")
    return Call(operator="depth_to_space", operands={"x": input}, attributes=attributes, images=True)


CALLS: Final[Mapping[str, Callable[..., Call | None]]] = {
    **{f"conv{rank}d": _convolution(rank) for rank in (1, 2, 3)},
    **{f"conv_transpose{rank}d": _transposed(rank) for rank in (1, 2, 3)},
    **{f"max_pool{rank}d": _max_pool(rank) for rank in (1, 2, 3)},
    **{f"avg_pool{rank}d": _average_pool(rank) for rank in (1, 2, 3)},
    "linear": _linear,
    "adaptive_avg_pool2d": _to_one_pixel("global_average_pool2d"),
    "adaptive_max_pool2d": _to_one_pixel("global_max_pool2d"),
    "mean": _mean,
    "batch_norm": _batch_norm,
    "layer_norm": _layer_norm,
    "group_norm": _group_norm,
    "instance_norm": _instance_norm,
    "local_response_norm": _local_response_norm,
    **dict.fromkeys(("cat", "concat", "concatenate"), _cat),
    **dict.fromkeys(("add", "__iadd__"), _two("add")),
    **dict.fromkeys(("mul", "multiply", "__imul__"), _two("multiply")),
    "flatten": _flatten,
    "softmax": _softmax("softmax"),
    "log_softmax": _softmax("log_softmax"),
    "leaky_relu": _activation("leaky_relu", _leaky),
    "elu": _activation("elu", _elu),
    "gelu": _activation("gelu", _gelu),
    "hardtanh": _activation("hard_tanh", _hard_tanh),
    **{
        name: _activation(operator)
        for name, operator in {
            **{n: n for n in ("relu", "relu6", "sigmoid", "tanh", "selu", "silu", "mish", "softplus", "softsign")},
            "logsigmoid": "log_sigmoid",
            "hardsigmoid": "hard_sigmoid",
            "hardswish": "hard_swish",
        }.items()
    },
    "prelu": _prelu,
    "pad": _pad,
    "interpolate": _interpolate,
    "pixel_shuffle": _pixel_shuffle,
}


def in_place(name: str) -> str:
    """The name of the call that gives a new tensor, for one that overwrites its first argument; else empty."""
    if name in ("__iadd__", "__imul__"):
        return {"__iadd__": "add", "__imul__": "mul"}[name]
    return name.removesuffix("_") if name.endswith("_") and not name.endswith("__") else ""


def read_call(name: str, args: Sequence[Any], kwargs: Mapping[str, Any], output: Native) -> Call | None:
    """What a call is; None where it is nothing of the house's.

    Args:
        name: the function's.
        args: as it was called.
        kwargs: as it was called.
        output: what it gave.
    """
    x: Native = args[0] if args else None
    reshaped = name in ("view", "reshape") and x.ndim > 2
    if reshaped and output.ndim == 2 and output.shape[0] == x.shape[0] and _pixels(x):
        return flattened(x)
    reader = CALLS.get(in_place(name) or name)
    if reader is None:
        return None
    try:
        inspect.signature(reader).bind(*args, **kwargs)
        return reader(*args, **kwargs)
    except (TypeError, KeyError, AttributeError):  # another signature than the one that is read
        return None
