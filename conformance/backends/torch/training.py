"""PyTorch's networks in training, as its users write them: modules, autograd, `torch.optim`."""

import math
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import nn

from conformance.backends.base import Native, Natives, Trainer
from conformance.case.families.convolution import Convolution
from conformance.case.families.losses import CrossEntropy
from conformance.case.families.pooling import AveragePool, MaxPool
from conformance.case.families.steps import Adam, Dropout
from conformance.case.geometry import resolve_pads
from conformance.case.job import BuildNetwork, Stepped, Tensor, TrainStep
from conformance.case.operators import Chain, Layer, inference_chain
from conformance.errors import NotTranslatable

if TYPE_CHECKING:
    from conformance.backends.torch.backend import TorchBackend


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


class Network(nn.Module):  # type: ignore[misc]
    """The layers in sequence."""

    def __init__(self, chain: Chain, modules: Mapping[str, Any]) -> None:
        super().__init__()
        for name, module in modules.items():
            self.add_module(name, module)
        self.chain = chain
        self.inference = inference_chain(chain)

    def forward(self, x: Native, given: Mapping[str, tuple[Native, ...]] | None = None) -> Native:
        """The loss, given masks and labels by layer; without them the logits."""
        for layer in (self.inference if given is None else self.chain).layers:
            x = self.get_submodule(layer.name)(x, *(given or {}).get(layer.name, ()))
        return x


class TorchTrainer(Trainer):
    """A module and its optimizer."""

    def __init__(self, backend: "TorchBackend", build: BuildNetwork) -> None:
        self._backend = backend
        self._chain: Chain = build.network
        modules = {layer.name: _module(layer, build.parameters) for layer in self._chain.layers}
        self._network = Network(self._chain, modules).to(backend.device)
        self._parameters: dict[str, Any] = {}
        for name, tensor in build.parameters.items():
            layer_name, _, operand = name.partition("/")
            own = _learned(self._network.get_submodule(layer_name))
            parameter = own.weight if operand == "w" else own.bias
            parameter.data = _to_torch(operand, backend.put(tensor)).contiguous()
            self._parameters[name] = parameter
        self._optimizer, self._correct = _optimizer(build, list(self._parameters.values()))
        self._steps = 0

    def text(self) -> str:
        return f"{self._network}\n{self._optimizer}"

    def step(self, step: TrainStep) -> Stepped:
        native = {name: self._backend.put(tensor) for name, tensor in step.operands.items()}
        x = _channels_first(native.pop("x"))
        given: dict[str, tuple[Native, ...]] = {}
        for name, value in native.items():
            given[name.partition("/")[0]] = (_channels_first(value),)
        outputs: Natives = {}
        hooks = []
        if step.capture:
            for layer in self._chain.layers:
                hooks.append(
                    self._network.get_submodule(layer.name).register_forward_hook(_keeps(layer.name, outputs))
                )
        before = self._state() if step.capture else {}
        self._steps += 1
        started = time.perf_counter()
        self._optimizer.zero_grad()
        loss = self._network(x, given)
        loss.backward()
        self._correct(self._steps)
        self._optimizer.step()
        seconds = time.perf_counter() - started
        for hook in hooks:
            hook.remove()
        get = self._backend.get
        gradients: dict[str, Tensor] = {}
        if step.capture:
            last = self._chain.layers[-1].name
            kept = {name: output.grad for name, output in outputs.items() if name != last}
            gradients = {name: get(_channels_last(grad)) for name, grad in kept.items() if grad is not None}
            for name, parameter in self._parameters.items():
                if parameter.grad is not None:
                    gradients[name] = get(_from_torch(name, parameter.grad))
        return Stepped(
            loss=loss.item(),
            outputs={name: get(_channels_last(output)) for name, output in outputs.items()},
            gradients=gradients,
            before=before,
            after=self._state() if step.capture else {},
            seconds=seconds,
        )

    def predict(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            return self._backend.get(self._network(_channels_first(self._backend.put(x))))

    def _state(self) -> dict[str, Tensor]:
        """Parameters and slots; PyTorch makes the slots, zeros, at the first step."""
        get = self._backend.get
        found: dict[str, Tensor] = {}
        for name, parameter in self._parameters.items():
            found[name] = get(_from_torch(name, parameter))
            if isinstance(self._optimizer, torch.optim.Adam):
                state = self._optimizer.state.get(parameter, {})
                for slot, key in (("m", "exp_avg"), ("v", "exp_avg_sq")):
                    value = state[key] if key in state else torch.zeros_like(parameter)
                    found[f"{name}/{slot}"] = get(_from_torch(name, value))
        return found


def _keeps(name: str, outputs: Natives) -> Any:
    """A forward hook that keeps a layer's output, and asks autograd to keep its gradient."""

    def hook(_module: Any, _inputs: Any, output: Native) -> None:
        output.retain_grad()
        outputs[name] = output

    return hook


def _channels_first(x: Native) -> Native:
    return torch.movedim(x, -1, 1).contiguous() if x.ndim > 2 else x


def _channels_last(y: Native) -> Native:
    return torch.movedim(y, 1, -1) if y.ndim > 2 else y


def _to_torch(operand: str, value: Native) -> Native:
    """A kernel (*spatial, in, out) as PyTorch's (out, in, *spatial), a dense weight (in, out) as its (out, in)."""
    rank = value.ndim - 2
    return torch.permute(value, (rank + 1, rank, *range(rank))) if operand == "w" else value


def _from_torch(name: str, value: Native) -> Native:
    return torch.permute(value, (*range(2, value.ndim), 1, 0)) if name.endswith("/w") else value


def _learned(module: Any) -> Any:
    """The module that holds the weights: the last one where padding comes first."""
    return module[-1] if isinstance(module, nn.Sequential) else module


def _optimizer(build: BuildNetwork, parameters: list[Any]) -> tuple[Any, Any]:
    """The optimizer, and what has to be set right before each step."""
    a = build.optimizer_attributes
    if build.optimizer == "sgd":
        return torch.optim.SGD(parameters, lr=a.learning_rate), lambda _: None
    if build.optimizer != "adam":
        raise NotTranslatable(f"the torch trainer has no optimizer {build.optimizer!r}")
    settings: Adam = a
    optimizer = torch.optim.Adam(
        parameters, lr=settings.learning_rate, betas=(settings.beta1, settings.beta2), eps=settings.epsilon
    )

    def correct(step: int) -> None:
        # torch adds epsilon after the bias correction; the other form is the same with epsilon corrected likewise.
        if settings.epsilon_hat:
            for group in optimizer.param_groups:
                group["eps"] = settings.epsilon / math.sqrt(1 - settings.beta2**step)

    return optimizer, correct


def _module(layer: Layer, parameters: Mapping[str, Tensor]) -> Any:
    """A layer as a module of `torch.nn`.

    Raises:
        NotTranslatable: if none says it.
    """
    own = {name.partition("/")[2]: t.shape for name, t in parameters.items() if name.startswith(f"{layer.name}/")}
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
    raise NotTranslatable(f"the torch trainer has no module for {operator}")


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
        raise NotTranslatable("the torch trainer has no ceil_mode with unequal pads")
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
        raise NotTranslatable("the torch trainer has no average over unequal pads that leaves the padding out")
    return nn.Sequential(PadBySize(a.padding, a.window, a.stride, (1,) * rank, 0.0), kind(a.window, a.stride))
