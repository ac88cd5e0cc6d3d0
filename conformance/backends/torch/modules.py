"""Networks as PyTorch's users write them: a module of `torch.nn` for every layer, within its block by its name."""

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import nn

from conformance.backends.base import Native, Natives
from conformance.case.families.activations import LeakyRelu, Softmax
from conformance.case.families.arrays import Concat, Pad
from conformance.case.families.convolution import Convolution
from conformance.case.families.losses import CrossEntropy
from conformance.case.families.normalization import LocalResponseNorm
from conformance.case.families.pooling import AveragePool, MaxPool
from conformance.case.families.steps import Dropout
from conformance.case.geometry import resolve_pads
from conformance.case.model import Shape
from conformance.case.operators import INPUT, OPERATORS, Chain, Layer, named_outputs, own_of
from conformance.errors import ImpossibleShape, NotTranslatable

# What a layer's own operands are called in its module; every other one is handed over with each call.
LEARNED: Final[Mapping[str, str]] = {"w": "weight", "b": "bias", "scale": "weight", "offset": "bias"}
KEPT: Final[Mapping[str, str]] = {"mean": "running_mean", "variance": "running_var"}


class PadBySize(nn.Module):  # type: ignore[misc]
    """Pads by the size of what comes, where a layer's own padding cannot say it."""

    def __init__(
        self, padding: Any, window: tuple[int, ...], stride: tuple[int, ...], dilation: tuple[int, ...], value: float
    ) -> None:
        super().__init__()
        self.padding, self.window, self.stride, self.dilation, self.value = padding, window, stride, dilation, value

    def forward(self, x: Native) -> Native:
        pads = resolve_pads(self.padding, tuple(x.shape[2:]), self.window, self.stride, self.dilation)
        flat = tuple(n for pair in reversed(pads) for n in pair)
        return F.pad(x, flat, value=self.value) if any(flat) else x

    def extra_repr(self) -> str:
        return f"{self.padding!r}, window={self.window}, stride={self.stride}, value={self.value}"


class FlattenChannelsLast(nn.Module):  # type: ignore[misc]
    """Flattens in channels-last order, so that the next layer's weights keep their meaning."""

    def forward(self, x: Native) -> Native:
        return torch.flatten(torch.movedim(x, 1, -1), 1)


class GivenDropout(nn.Module):  # type: ignore[misc]
    """Dropout whose mask is given."""

    def __init__(self, keep: float) -> None:
        super().__init__()
        self.keep = keep

    def forward(self, x: Native, mask: Native) -> Native:
        return x * mask / self.keep

    def extra_repr(self) -> str:
        return f"keep={self.keep}"


class Add(nn.Module):  # type: ignore[misc]
    """A residual sum."""

    def forward(self, x: Native, y: Native) -> Native:
        return x + y


class Multiply(nn.Module):  # type: ignore[misc]
    """A product, with a number or element by element."""

    def forward(self, x: Native, y: Native) -> Native:
        return x * y


class Concatenate(nn.Module):  # type: ignore[misc]
    """One array behind the other along an axis, as PyTorch counts axes."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, x: Native, y: Native) -> Native:
        return torch.cat((x, y), self.dim)

    def extra_repr(self) -> str:
        return f"dim={self.dim}"


class Network(nn.Module):  # type: ignore[misc]
    """The layers, each taking what others give."""

    def __init__(self, chain: Chain, shapes: Mapping[str, Shape]) -> None:
        """Makes the modules.

        Args:
            chain: the layers.
            shapes: of the input and of every operand, by `layer/operand`.

        Raises:
            NotTranslatable: if no module says a layer.
        """
        super().__init__()
        self.chain = chain
        outputs = {INPUT: shapes[INPUT]}
        for layer, takes in chain.wired():
            operator, own = OPERATORS[layer.operator], own_of(layer, shapes)
            given = outputs[next(iter(takes.values()))]
            try:
                taken = {name: outputs[source] for name, source in takes.items()}
                outputs[layer.name] = operator.shapes(layer.attributes, {**taken, **own})["output"]
            except ImpossibleShape:
                outputs[layer.name] = given  # PyTorch's to refuse, when the module is called
            place: nn.Module = self
            *blocks, name = layer.name.split(".")
            for block in blocks:
                if block not in dict(place.named_children()):
                    place.add_module(block, nn.Module())
                place = place.get_submodule(block)
            place.add_module(name, _module(layer, own, given))

    def module(self, layer: str) -> Any:
        """The module that holds a layer's weights."""
        return _learned(self.get_submodule(layer))

    def load(self, name: str, value: Native) -> Native:
        """Gives a layer its `layer/operand`; the module's own parameter, or the buffer that it keeps."""
        layer, _, operand = name.partition("/")
        module = self.module(layer)
        if operand in KEPT:
            setattr(module, KEPT[operand], value)
            return value
        parameter = getattr(module, LEARNED[operand])
        parameter.data = to_torch(operand, value).contiguous()
        return parameter

    def forward(
        self,
        x: Native,
        given: Mapping[str, Native],
        chain: Chain | None = None,
        probes: Mapping[str, Native] = MappingProxyType({}),
    ) -> Natives:
        """The outputs of all layers.

        Args:
            x: the input.
            given: masks, labels and factors.
            chain: other layers of the network than its own.
            probes: by layer, what is added to its output on the way.
        """
        outputs: Natives = {INPUT: x}
        for layer, takes in (chain or self.chain).wired():
            handed = [own for name, own in own_of(layer, given).items() if name not in LEARNED and name not in KEPT]
            module = self.get_submodule(layer.name)
            outputs[layer.name] = module(*(outputs[source] for source in takes.values()), *handed)
            if layer.name in probes:
                outputs[layer.name] = outputs[layer.name] + probes[layer.name]
        del outputs[INPUT]
        return outputs

    def state(self, layer: Layer) -> Natives:
        """What a layer keeps for the next call, as the chain calls it."""
        module = self.module(layer.name)
        return named_outputs(
            layer, {name: getattr(module, KEPT[name]).clone() for name in OPERATORS[layer.operator].state}
        )


def channels_first(x: Native) -> Native:
    """As PyTorch lays images; rows of numbers stay."""
    return torch.movedim(x, -1, 1).contiguous() if x.ndim > 2 else x


def channels_last(y: Native) -> Native:
    """As we lay images; rows of numbers stay."""
    return torch.movedim(y, 1, -1) if y.ndim > 2 else y


def to_torch(operand: str, value: Native) -> Native:
    """A kernel (*spatial, in, out) as PyTorch's (out, in, *spatial), a dense weight (in, out) as its (out, in)."""
    rank = value.ndim - 2
    return torch.permute(value, (rank + 1, rank, *range(rank))) if operand == "w" else value


def from_torch(name: str, value: Native) -> Native:
    """PyTorch's weight `layer/w` back as we lay it; what is no kernel stays."""
    return torch.permute(value, (*range(2, value.ndim), 1, 0)) if name.endswith("/w") else value


def _learned(module: Any) -> Any:
    """The module that holds the weights: the last one where padding comes first."""
    return module[-1] if isinstance(module, nn.Sequential) else module


def _module(layer: Layer, own: Mapping[str, Shape], given: Shape) -> Any:
    """A layer as a module of `torch.nn`, for what it is given first.

    Raises:
        NotTranslatable: if none says it.
    """
    a, operator = layer.attributes, layer.operator
    match operator:
        case "conv1d" | "conv2d" | "conv3d":
            return _conv(int(operator[4]), a, own)
        case "max_pool1d" | "max_pool2d" | "max_pool3d":
            return _max_pool(int(operator[8]), a)
        case "average_pool1d" | "average_pool2d" | "average_pool3d":
            return _average_pool(int(operator[12]), a)
        case "flatten":
            return FlattenChannelsLast()
        case "dense":
            return nn.Linear(own["w"][0], own["w"][1], bias="b" in own)
        case "relu":
            return nn.ReLU()
        case "leaky_relu":
            leaky: LeakyRelu = a
            return nn.LeakyReLU(leaky.slope)
        case "softmax":
            softmax: Softmax = a
            return nn.Softmax(_axis(softmax.axis, given))
        case "batch_norm" | "batch_norm_training":
            return _batch_norm(a, own, given, learns=operator != "batch_norm")
        case "local_response_norm":
            return _response_norm(a)
        case "pad":
            return _pad(a, given)
        case "global_average_pool2d":
            return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        case "concat":
            concat: Concat = a
            return Concatenate(_axis(concat.axis, given))
        case "add":
            return Add()
        case "multiply":
            return Multiply()
        case "sigmoid":
            return nn.Sigmoid()
        case "tanh":
            return nn.Tanh()
        case "dropout":
            dropout: Dropout = a
            return GivenDropout(dropout.keep)
        case "softmax_cross_entropy":
            loss: CrossEntropy = a
            return nn.CrossEntropyLoss(reduction=loss.reduction)
    raise NotTranslatable(f"torch has no module for {operator}")


def _axis(axis: int, given: Shape) -> int:
    """An axis counted with the channels last, as PyTorch counts it."""
    axis %= len(given)
    if len(given) == 2 or axis == 0:
        return axis
    return 1 if axis == len(given) - 1 else axis + 1


def _batch_norm(a: Any, own: Mapping[str, Shape], given: Shape, *, learns: bool) -> Any:
    if ("scale" in own) != ("offset" in own):
        raise NotTranslatable("torch's batch normalisation has scale and offset together or neither")
    kind = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d, 5: nn.BatchNorm3d}[len(given)]
    if not learns:
        return kind(given[-1], eps=a.epsilon, affine="scale" in own).eval()
    if not a.bessel:
        raise NotTranslatable("torch's running variance always divides by n - 1")
    # torch's momentum is the share that comes.
    return kind(given[-1], eps=a.epsilon, momentum=1 - a.momentum, affine="scale" in own)


def _response_norm(a: LocalResponseNorm) -> Any:
    if a.extra == "high" and a.size % 2 == 0:
        raise NotTranslatable("the longer half of torch's even windows lies before the channel")
    # torch multiplies the mean by alpha, zeros beyond the ends included.
    return nn.LocalResponseNorm(a.size, a.alpha * (a.size if a.alpha_of == "sum" else 1), a.beta, a.bias)


def _pad(a: Pad, given: Shape) -> Any:
    first, *spatial, last = a.padding
    if a.mode != "constant" or first != (0, 0) or last != (0, 0):
        raise NotTranslatable("a torch module pads spatial axes alone, here with a constant")
    return getattr(nn, f"ConstantPad{len(given) - 2}d")(tuple(n for pair in reversed(spatial) for n in pair), a.value)


def _even(padding: Any) -> tuple[int, ...] | None:
    """What a module's own padding can say whatever the size: none, or the same at both ends."""
    if padding == "valid":
        return (0,)
    if isinstance(padding, tuple) and all(low == high for low, high in padding):
        return tuple(low for low, _ in padding)
    return None


def _conv(rank: int, a: Convolution, own: Mapping[str, tuple[int, ...]]) -> Any:
    w = own["w"]
    kind = getattr(nn, f"Conv{rank}d")
    padding: Any = _even(a.padding)
    if padding is None and a.padding == "same" and set(a.stride) == {1}:
        padding = "same"  # torch has it for stride 1 alone
    conv = kind(
        w[-2] * a.groups,
        w[-1],
        w[:rank],
        stride=a.stride,
        padding=0 if padding in (None, (0,)) else padding,
        dilation=a.dilation,
        groups=a.groups,
        bias="b" in own,
    )
    return (
        conv
        if padding is not None
        else nn.Sequential(PadBySize(a.padding, w[:rank], a.stride, a.dilation, 0.0), conv)
    )


def _max_pool(rank: int, a: MaxPool) -> Any:
    kind = getattr(nn, f"MaxPool{rank}d")
    padding = _even(a.padding)
    if padding is not None:
        return kind(
            a.window, a.stride, padding=padding * (rank // len(padding)), dilation=a.dilation, ceil_mode=a.ceil_mode
        )
    if a.ceil_mode and a.padding != "same":
        raise NotTranslatable("torch has no ceil_mode with unequal pads")
    pad = PadBySize(a.padding, a.window, a.stride, a.dilation, -math.inf)
    return nn.Sequential(pad, kind(a.window, a.stride, dilation=a.dilation))


def _average_pool(rank: int, a: AveragePool) -> Any:
    kind = getattr(nn, f"AvgPool{rank}d")
    padding = _even(a.padding)
    if padding is not None:
        return kind(
            a.window,
            a.stride,
            padding=padding * (rank // len(padding)),
            ceil_mode=a.ceil_mode,
            count_include_pad=a.count_padding,
        )
    if not a.count_padding or a.ceil_mode:
        raise NotTranslatable("torch has no average over unequal pads that leaves the padding out")
    return nn.Sequential(PadBySize(a.padding, a.window, a.stride, (1,) * rank, 0.0), kind(a.window, a.stride))
