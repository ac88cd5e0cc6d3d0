"""What a training step needs in Keras beside layers and losses: dropout with a given mask, and its optimizers."""

import math
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any

from conformance.backends.base import Native, Natives, translated
from conformance.backends.keras.idiom import KerasIdiom
from conformance.case.families.steps import Adagrad, Adam, AdamW, Dropout, Momentum, RmsProp, Sgd
from conformance.case.job import is_native


class KerasSteps(KerasIdiom):
    """A part of the adapter."""

    @abstractmethod
    def update(
        self, optimizer: Any, parameter: Native, gradient: Native, step: int, slots: Mapping[str, Native | None]
    ) -> Natives:
        """One step of an optimizer whose slots, by the name of its list of them, hold what is given.

        A slot of None is left as the optimizer makes it, and told like the others.
        """

    @contextmanager
    def floating(self, parameter: Native) -> Iterator[None]:
        """Keras's usual format is the parameter's: an optimizer keeps its rate in that."""
        usual, name = self.keras.config.floatx(), self.dtype_of(parameter)
        if name != usual:
            self.log.write(f'keras.config.set_floatx("{name}")')
        self.keras.config.set_floatx(name)
        try:
            yield
        finally:
            self.keras.config.set_floatx(usual)

    def _updated(
        self,
        kind: str,
        settings: Mapping[str, Any],
        parameter: Native,
        gradient: Native,
        slots: Mapping[str, tuple[str, Native | None]] = MappingProxyType({}),
        *,
        step: int = 1,
    ) -> Natives:
        """One step of an optimizer of Keras.

        Args:
            kind: its class.
            settings: its arguments.
            parameter: the variable's value.
            gradient: the variable's.
            slots: by output, the name of the optimizer's list of slots, and what stands in its only one; None leaves
                it as the optimizer makes it.
            step: counted from 1.
        """
        with self.floating(parameter):
            optimizer = getattr(self.optimizers, kind)(**settings)
            found = self.update(optimizer, parameter, gradient, step, dict(slots.values()))
        return {"parameter": found["parameter"], **{output: found[place] for output, (place, _) in slots.items()}}

    def dropout(self, attributes: Dropout, x: Native, mask: Native) -> Native:
        self.compose("Keras's dropout draws its own mask")
        kept = self.ops.multiply(x, self.ops.cast(mask, self.dtype_of(x)))
        return self.ops.divide(kept, attributes.keep)

    def sgd(self, attributes: Sgd, parameter: Native, gradient: Native) -> Natives:
        return self._updated("SGD", {"learning_rate": attributes.learning_rate}, parameter, gradient)

    def adam(self, attributes: Adam, parameter: Native, gradient: Native, m: Native, v: Native) -> Natives:
        return self._adam("Adam", attributes, {}, parameter, gradient, m, v)

    def adamw(self, attributes: AdamW, parameter: Native, gradient: Native, m: Native, v: Native) -> Natives:
        return self._adam("AdamW", attributes, {"weight_decay": attributes.weight_decay}, parameter, gradient, m, v)

    def _adam(
        self, kind: str, a: Adam, more: Mapping[str, Any], parameter: Native, gradient: Native, m: Native, v: Native
    ) -> Natives:
        # Keras adds epsilon before the bias correction; the other form is the same with epsilon corrected too.
        hat = is_native(a.epsilon_hat) or a.epsilon_hat
        if not hat:
            self.compose("Keras adds epsilon before the bias correction")
        correction = 1.0 if hat else math.sqrt(1 - a.beta2**a.step)
        settings = {
            "learning_rate": a.learning_rate,
            "beta_1": a.beta1,
            "beta_2": a.beta2,
            "epsilon": translated(a.epsilon, lambda epsilon: epsilon * correction),
            **more,
        }
        slots = {"m": ("_momentums", m), "v": ("_velocities", v)}
        return self._updated(kind, settings, parameter, gradient, slots, step=a.step)

    def sgd_momentum(self, attributes: Momentum, parameter: Native, gradient: Native, velocity: Native) -> Natives:
        a = attributes
        if a.weight_decay and not is_native(a.weight_decay):
            if self.own:
                return self._momentum(a, {"weight_decay": a.weight_decay}, parameter, gradient, velocity)
            # Keras's own is taken off the parameter.
            gradient = self.ops.add(gradient, self.ops.multiply(parameter, a.weight_decay))
        if is_native(a.velocity_of) or a.velocity_of == "steps":
            return self._momentum(a, {}, parameter, gradient, velocity)
        self.compose("Keras keeps a velocity of steps, without dampening and a first step of its own")
        made = gradient
        if not a.first:
            kept = self.ops.multiply(velocity, a.momentum)
            made = self.ops.add(kept, self.ops.multiply(gradient, 1 - a.dampening))
        step = self.ops.add(gradient, self.ops.multiply(made, a.momentum)) if a.nesterov else made
        moved = self.ops.subtract(parameter, self.ops.multiply(step, a.learning_rate))
        return {"parameter": moved, "velocity": self.ops.copy(made)}

    def _momentum(
        self, a: Momentum, more: Mapping[str, Any], parameter: Native, gradient: Native, velocity: Native
    ) -> Natives:
        settings = {"learning_rate": a.learning_rate, "momentum": a.momentum, "nesterov": a.nesterov, **more}
        return self._updated("SGD", settings, parameter, gradient, {"velocity": ("momentums", velocity)})

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
        inside = is_native(a.epsilon_inside) or a.epsilon_inside
        of_steps = velocity is None or is_native(a.velocity_of) or a.velocity_of == "steps"
        if not (inside and of_steps):
            return self._rmsprop(a, parameter, gradient, v, mean, velocity)
        settings = {
            "learning_rate": a.learning_rate,
            "rho": a.rho,
            "momentum": a.momentum,
            "epsilon": a.epsilon,
            "centered": mean is not None,
        }
        slots = {"v": ("_velocities", v), "mean": ("_average_gradients", mean), "velocity": ("_momentums", velocity)}
        present = {output: (place, value) for output, (place, value) in slots.items() if value is not None}
        return self._updated("RMSprop", settings, parameter, gradient, present)

    def _rmsprop(
        self,
        a: RmsProp,
        parameter: Native,
        gradient: Native,
        v: Native,
        mean: Native | None,
        velocity: Native | None,
    ) -> Natives:
        """What Keras's RMSprop has not: a recipe."""
        self.compose("Keras's RMSprop adds epsilon inside the root, and keeps a velocity of steps")
        ops = self.ops

        def kept(old: Native, new: Native) -> Native:
            return ops.add(ops.multiply(old, a.rho), ops.multiply(new, 1 - a.rho))

        made = {"v": kept(v, ops.square(gradient))}
        square = made["v"]
        if mean is not None:
            made["mean"] = kept(mean, gradient)
            square = ops.subtract(square, ops.square(made["mean"]))
        inside = a.epsilon_inside
        divisor = ops.sqrt(ops.add(square, a.epsilon)) if inside else ops.add(ops.sqrt(square), a.epsilon)
        step = ops.divide(gradient, divisor)
        if velocity is not None:
            if a.velocity_of == "steps":
                step = ops.multiply(step, a.learning_rate)
            step = made["velocity"] = ops.add(ops.multiply(velocity, a.momentum), step)
        if velocity is None or a.velocity_of == "gradients":
            step = ops.multiply(step, a.learning_rate)
        return {"parameter": ops.subtract(parameter, step), **made}

    def adagrad(self, attributes: Adagrad, parameter: Native, gradient: Native, v: Native | None = None) -> Natives:
        a, ops = attributes, self.ops
        if is_native(a.epsilon_inside) or a.epsilon_inside:
            settings = {
                "learning_rate": a.learning_rate,
                "initial_accumulator_value": a.initial,
                "epsilon": a.epsilon,
            }
            return self._updated("Adagrad", settings, parameter, gradient, {"v": ("_accumulators", v)})
        self.compose("Keras's Adagrad adds epsilon inside the root")
        v = ops.full_like(parameter, a.initial) if v is None else v
        square = ops.add(v, ops.square(gradient))
        step = ops.divide(gradient, ops.add(ops.sqrt(square), a.epsilon))
        return {"parameter": ops.subtract(parameter, ops.multiply(step, a.learning_rate)), "v": square}
