"""PyTorch's dropout and updates: its own optimizers, given parameter, gradient and slots."""

import math
from collections.abc import Callable, Mapping
from typing import Any

from conformance.backends.base import CallLog, Native, Natives, Recorded, translated, without_native
from conformance.case.families.steps import Adagrad, Adam, AdamW, Dropout, Momentum, RmsProp, Sgd
from conformance.case.job import is_native


class TorchSteps:
    """A part of the adapter, which brings the framework's modules."""

    log: CallLog
    torch: Recorded
    _torch: Any
    compose: Callable[[str], None]

    def dropout(self, attributes: Dropout, x: Native, mask: Native) -> Native:
        return self.torch.div(self.torch.mul(x, mask), attributes.keep)

    def sgd(self, attributes: Sgd, parameter: Native, gradient: Native) -> Natives:
        updated = parameter.clone()
        updated.grad = gradient
        self.log.write("p = {}.clone()", parameter)
        self.log.name(updated, "p")
        self.log.write("p.grad = {}", gradient)
        settings = without_native({"lr": attributes.learning_rate})
        self._torch.optim.SGD([updated], **settings).step()
        self.log.write(f"torch.optim.SGD({_arguments('[p]', settings)}).step()")
        return {"parameter": updated}

    def _stepped(
        self,
        name: str,
        settings: Mapping[str, Any],
        parameter: Native,
        gradient: Native,
        state: Mapping[str, Native],
        step: int = 1,
    ) -> tuple[Native, dict[str, Native]]:
        """One step of an optimizer of `torch.optim` from given slots: the parameter, and what became of them."""
        torch, settings = self._torch, without_native(settings)
        updated = parameter.clone()
        updated.grad = gradient
        optimizer = getattr(torch.optim, name)([updated], **settings)
        given = {key: value.clone() for key, value in state.items()}
        counted = {} if name == "SGD" else {"step": torch.tensor(float(step - 1))}
        if given:
            optimizer.state[updated] = {**counted, **given}
        optimizer.step()
        self.log.write("p = {}.clone()", parameter)
        self.log.name(updated, "p")
        self.log.write("p.grad = {}", gradient)
        self.log.write(f"optimizer = torch.optim.{name}({_arguments('[p]', settings)})")
        if given:
            slots = [f'"step": torch.tensor({float(step - 1)})'] if counted else []
            slots += [f'"{key}": {{}}.clone()' for key in state]
            self.log.write(f"optimizer.state[p] = {{{{{', '.join(slots)}}}}}", *state.values())
        self.log.write("optimizer.step()")
        kept = dict(optimizer.state[updated])
        for key in kept:
            self.log.name(kept[key], f'optimizer.state[p]["{key}"]')
        return updated, kept

    def adam(self, attributes: Adam, parameter: Native, gradient: Native, m: Native, v: Native) -> Natives:
        return self._adam("Adam", attributes, {}, parameter, gradient, m, v)

    def adamw(self, attributes: AdamW, parameter: Native, gradient: Native, m: Native, v: Native) -> Natives:
        decay = {"weight_decay": attributes.weight_decay}
        return self._adam("AdamW", attributes, decay, parameter, gradient, m, v)

    def _adam(
        self, name: str, a: Adam, more: dict[str, float], parameter: Native, gradient: Native, m: Native, v: Native
    ) -> Natives:
        # torch adds epsilon after the bias correction; the other form is the same with epsilon corrected likewise.
        hat = not is_native(a.epsilon_hat) and a.epsilon_hat
        if hat:
            self.compose("torch adds epsilon after the bias correction")
        correction = math.sqrt(1 - a.beta2**a.step) if hat else 1.0
        settings = {
            "lr": a.learning_rate,
            "betas": (a.beta1, a.beta2),
            "eps": translated(a.epsilon, lambda epsilon: epsilon / correction),
            **more,
        }
        state = {"exp_avg": m, "exp_avg_sq": v}
        updated, kept = self._stepped(name, settings, parameter, gradient, state, a.step)
        return {"parameter": updated, "m": kept["exp_avg"], "v": kept["exp_avg_sq"]}

    def sgd_momentum(self, attributes: Momentum, parameter: Native, gradient: Native, velocity: Native) -> Natives:
        a = attributes
        if not is_native(a.velocity_of) and a.velocity_of == "steps":
            return self._of_steps(a, parameter, gradient, velocity)
        settings = {
            "lr": a.learning_rate,
            "momentum": a.momentum,
            "dampening": a.dampening,
            "weight_decay": a.weight_decay,
            "nesterov": a.nesterov,
        }
        # torch has no velocity before its first step.
        state = {} if a.first else {"momentum_buffer": velocity}
        updated, kept = self._stepped("SGD", settings, parameter, gradient, state)
        return {"parameter": updated, "velocity": kept["momentum_buffer"]}

    def _of_steps(self, a: Momentum, parameter: Native, gradient: Native, velocity: Native) -> Natives:
        """What torch's optimizers have not: a recipe."""
        self.compose("torch's SGD keeps a velocity of gradients")
        if a.weight_decay:
            gradient = self.torch.add(gradient, parameter, alpha=a.weight_decay)
        made = self.torch.sub(self.torch.mul(velocity, a.momentum), gradient, alpha=a.learning_rate)
        step = made
        if a.nesterov:
            step = self.torch.sub(self.torch.mul(made, a.momentum), gradient, alpha=a.learning_rate)
        return {"parameter": self.torch.add(parameter, step), "velocity": made}

    def rmsprop(
        self,
        attributes: RmsProp,
        parameter: Native,
        gradient: Native,
        v: Native,
        mean: Native | None = None,
        velocity: Native | None = None,
    ) -> Natives:
        a = attributes
        inside = not is_native(a.epsilon_inside) and a.epsilon_inside
        of_steps = velocity is not None and not is_native(a.velocity_of) and a.velocity_of == "steps"
        if inside or of_steps:
            return self._rmsprop(a, parameter, gradient, v, mean, velocity)
        settings = {
            "lr": a.learning_rate,
            "alpha": a.rho,
            "eps": a.epsilon,
            "momentum": a.momentum,
            "centered": mean is not None,
        }
        slots = {"v": ("square_avg", v), "mean": ("grad_avg", mean), "velocity": ("momentum_buffer", velocity)}
        state = {key: value for key, value in slots.values() if value is not None}
        updated, kept = self._stepped("RMSprop", settings, parameter, gradient, state)
        return {"parameter": updated, **{name: kept[key] for name, (key, _) in slots.items() if key in state}}

    def _rmsprop(
        self,
        a: RmsProp,
        parameter: Native,
        gradient: Native,
        v: Native,
        mean: Native | None,
        velocity: Native | None,
    ) -> Natives:
        """What torch's RMSprop has not: a recipe."""
        self.compose("torch's RMSprop adds epsilon outside the root, and keeps a velocity of gradients")
        made = {"v": self.torch.add(self.torch.mul(v, a.rho), self.torch.square(gradient), alpha=1 - a.rho)}
        square = made["v"]
        if mean is not None:
            made["mean"] = self.torch.add(self.torch.mul(mean, a.rho), gradient, alpha=1 - a.rho)
            square = self.torch.sub(square, self.torch.square(made["mean"]))
        if a.epsilon_inside:
            divisor = self.torch.sqrt(self.torch.add(square, a.epsilon))
        else:
            divisor = self.torch.add(self.torch.sqrt(square), a.epsilon)
        step = self.torch.div(gradient, divisor)
        if velocity is None:
            return {"parameter": self.torch.sub(parameter, step, alpha=a.learning_rate), **made}
        rates = (a.learning_rate, 1.0) if a.velocity_of == "steps" else (1.0, a.learning_rate)
        made["velocity"] = self.torch.add(self.torch.mul(velocity, a.momentum), step, alpha=rates[0])
        return {"parameter": self.torch.sub(parameter, made["velocity"], alpha=rates[1]), **made}

    def adagrad(self, attributes: Adagrad, parameter: Native, gradient: Native, v: Native | None = None) -> Natives:
        a = attributes
        if is_native(a.epsilon_inside) or not a.epsilon_inside:
            settings = {"lr": a.learning_rate, "initial_accumulator_value": a.initial, "eps": a.epsilon}
            state = {} if v is None else {"sum": v}
            updated, kept = self._stepped("Adagrad", settings, parameter, gradient, state)
            return {"parameter": updated, "v": kept["sum"]}
        self.compose("torch's Adagrad adds epsilon outside the root")
        v = self.torch.full_like(parameter, a.initial) if v is None else v
        square = self.torch.add(v, self.torch.square(gradient))
        step = self.torch.div(gradient, self.torch.sqrt(self.torch.add(square, a.epsilon)))
        return {"parameter": self.torch.sub(parameter, step, alpha=a.learning_rate), "v": square}


def _arguments(first: str, settings: Mapping[str, Any]) -> str:
    """Arguments of a call as a script writes them."""
    return ", ".join((first, *(f"{name}={value!r}" for name, value in settings.items())))
