"""PyTorch's networks in training, as its users write them: modules, autograd, `torch.optim`.

Compiled, the network with its gradients is one whole graph, and the optimizer's step another one behind PyTorch's
own wrapper of it, as its guides have it; what would run eagerly without a word raises. Judged and free steps are one
code.
"""

import math
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

import torch

from conformance.backends import mixing
from conformance.backends.base import Native, Natives, Trainer, blank_step
from conformance.backends.torch.modules import Network, channels_first, channels_last, from_torch, to_torch
from conformance.case.families.steps import Adam
from conformance.case.job import BuildNetwork, Stepped, Tensor, TrainingState, TrainStep
from conformance.case.operators import INPUT, Chain, inference_chain
from conformance.errors import NotTranslatable

if TYPE_CHECKING:
    from conformance.backends.torch.backend import TorchBackend


# What an optimizer keeps of a parameter, as the house calls it and as PyTorch does.
SLOTS: Final[Mapping[str, str]] = {"m": "exp_avg", "v": "exp_avg_sq"}


class TorchTrainer(Trainer):
    """A module and its optimizer."""

    def __init__(self, backend: "TorchBackend", build: BuildNetwork) -> None:
        self._backend = backend
        self._chain: Chain = build.network
        self._inference = inference_chain(self._chain)
        shapes = {name: tensor.shape for name, tensor in build.parameters.items()}
        self._network = Network(self._chain, {**build.shapes, **shapes}).to(backend.device)
        loaded = {name: self._network.load(name, backend.put(tensor)) for name, tensor in build.parameters.items()}
        self._parameters = {name: own for name, own in loaded.items() if isinstance(own, torch.nn.Parameter)}
        self._optimizer, self._correct = _optimizer(build, list(self._parameters.values()), compiled=backend.compiles)
        self._steps = 0
        self._forward: Callable[..., Natives] = self._network
        self._update: Callable[[], Any] = self._optimizer.step
        self._probes: Natives = {}
        if backend.compiles:
            torch.compiler.reset()  # it keeps few programs of one function
            self._forward = torch.compile(self._network, fullgraph=True, dynamic=False)
            # The wrapper breaks the graph on purpose, before the update; a limit that is hit would be silence.
            torch._dynamo.config.fail_on_recompile_limit_hit = True
            self._update = torch.compile(self._optimizer.step, dynamic=False)
            self._probes = self._traced(build)

    def text(self) -> str:
        lines = [f"network = {self._network}", f"optimizer = {self._optimizer}"]
        if mixing.NAME in self._backend.modes:
            lines.append("with torch.autocast(device, dtype=torch.bfloat16): loss = network(x)")
        if self._probes:
            lines += [
                "network = torch.compile(network, fullgraph=True, dynamic=False)",
                "optimizer.step = torch.compile(optimizer.step, dynamic=False)",
            ]
        return "\n".join(lines)

    def step(self, step: TrainStep) -> Stepped:
        given = {name: channels_first(self._backend.put(tensor)) for name, tensor in step.operands.items()}
        x = given.pop(INPUT)
        before = self._state() if step.capture else {}
        self._steps += 1
        started = time.perf_counter()
        self._optimizer.zero_grad()
        outputs = self._run(x, given)
        loss = outputs[self._chain.layers[-1].name]
        if step.capture and not self._probes:
            for output in outputs.values():
                if output.requires_grad:  # what is made of the images alone is not differentiated
                    output.retain_grad()
        loss.backward()
        self._correct(self._steps)
        self._update()
        seconds = time.perf_counter() - started
        if not step.capture:
            return Stepped(loss=loss.item(), seconds=seconds)
        get = self._backend.get
        kept = {name: output.grad for name, output in (self._probes or outputs).items() if output is not loss}
        gradients = {name: get(channels_last(grad)) for name, grad in kept.items() if grad is not None}
        for name, parameter in self._parameters.items():
            if parameter.grad is not None:
                gradients[name] = get(from_torch(name, parameter.grad))
        return Stepped(
            loss=loss.item(),
            outputs={name: get(channels_last(output)) for name, output in outputs.items()} | self._statistics(),
            gradients=gradients,
            before=before,
            after=self._state(),
            seconds=seconds,
        )

    def _run(self, x: Native, given: Natives) -> Natives:
        """The outputs of all layers."""
        with self._backend.mixes():
            if not self._probes:
                return self._forward(x, given)
            for probe in self._probes.values():
                probe.grad = None
            return self._forward(x, given, probes=self._probes)

    def _traced(self, build: BuildNetwork) -> Natives:
        """What the layers of a compiled network are differentiated through: it is one node, so -0.0 is added.

        Their shapes come from an eager run on zeros, whose traces in the statistics are wiped out again.
        """
        given = {name: channels_first(self._backend.put(tensor)) for name, tensor in blank_step(build).items()}
        kept = {name: tensor.clone() for name, tensor in self._network.named_buffers()}
        with torch.no_grad(), self._backend.mixes():
            outputs = self._network(given.pop(INPUT), given)
        for name, tensor in self._network.named_buffers():
            tensor.copy_(kept[name])
        del outputs[self._chain.layers[-1].name]
        return {name: torch.full_like(y, -0.0, requires_grad=True) for name, y in outputs.items()}

    def predict(self, x: Tensor) -> Tensor:
        learning = [module for module in self._network.modules() if module.training]
        self._network.eval()
        with torch.no_grad(), self._backend.mixes():
            outputs = self._network(channels_first(self._backend.put(x)), {}, self._inference)
        for module in learning:
            module.training = True
        return self._backend.get(outputs[self._inference.layers[-1].name])

    def state(self) -> TrainingState:
        return TrainingState(step=self._steps, tensors=self._state())

    def restore(self, state: TrainingState) -> None:
        self._steps = state.step
        for name, tensor in state.tensors.items():
            if name.count("/") == 1:
                self._network.load(name, self._backend.put(tensor))
        if not isinstance(self._optimizer, torch.optim.Adam):
            return
        for name, parameter in self._parameters.items():
            slots = {
                key: to_torch(name.rpartition("/")[2], self._backend.put(state.tensors[f"{name}/{slot}"]))
                for slot, key in SLOTS.items()
            }
            held = {key: torch.empty_like(parameter).copy_(value) for key, value in slots.items()}
            self._optimizer.state[parameter] = {"step": torch.tensor(float(state.step)), **held}

    def _statistics(self) -> dict[str, Tensor]:
        """What the layers keep for the next step."""
        layers = self._chain.layers
        return {
            name: self._backend.get(value) for layer in layers for name, value in self._network.state(layer).items()
        }

    def _state(self) -> dict[str, Tensor]:
        """Parameters, slots and statistics; PyTorch makes the slots, zeros, at the first step."""
        get = self._backend.get
        found: dict[str, Tensor] = {}
        for name, parameter in self._parameters.items():
            found[name] = get(from_torch(name, parameter))
            if isinstance(self._optimizer, torch.optim.Adam):
                state = self._optimizer.state.get(parameter, {})
                for slot, key in SLOTS.items():
                    value = state[key] if key in state else torch.zeros_like(parameter)
                    found[f"{name}/{slot}"] = get(from_torch(name, value))
        return found | self._statistics()


def _optimizer(build: BuildNetwork, parameters: list[Any], *, compiled: bool) -> tuple[Any, Any]:
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
                epsilon = settings.epsilon / math.sqrt(1 - settings.beta2**step)
                # A number would be part of the compiled code, which each step compiled anew.
                group["eps"] = torch.tensor(epsilon) if compiled else epsilon

    return optimizer, correct
