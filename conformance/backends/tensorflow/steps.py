"""TensorFlow's dropout and updates: the kernels of its optimizers, on variables.

Asked for its own, TensorFlow answers with an optimizer of Keras.
"""

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from conformance.backends.base import CallLog, Native, Natives, Recorded, without_native
from conformance.case.families.steps import Adagrad, Adam, AdamW, Dropout, Momentum, RmsProp, Sgd
from conformance.case.job import is_native


class TensorFlowSteps:
    """A part of the adapter, which brings the framework's modules."""

    log: CallLog
    tf: Recorded
    _tf: Any
    own: bool
    compose: Callable[[str], None]

    def dropout(self, attributes: Dropout, x: Native, mask: Native) -> Native:
        return self.tf.divide(self.tf.multiply(x, self.tf.cast(mask, x.dtype)), attributes.keep)

    def sgd(self, attributes: Sgd, parameter: Native, gradient: Native) -> Natives:
        if self.own:
            return self._keras_update("SGD", {"learning_rate": attributes.learning_rate}, parameter, gradient)
        tf = self._tf
        variable = tf.Variable(parameter)
        rate = tf.constant(attributes.learning_rate, parameter.dtype)
        tf.raw_ops.ResourceApplyGradientDescent(var=variable.handle, alpha=rate, delta=gradient)
        result = variable.read_value()
        self.log.write("variable = tf.Variable({})", parameter)
        self.log.write(
            "tf.raw_ops.ResourceApplyGradientDescent(var=variable.handle, alpha=tf.constant({}, {}), delta={})",
            attributes.learning_rate,
            parameter.dtype,
            gradient,
        )
        self.log.name(result, "variable.read_value()")
        return {"parameter": result}

    def adam(self, attributes: Adam, parameter: Native, gradient: Native, m: Native, v: Native) -> Natives:
        if self.own:
            return self._keras_adam("Adam", attributes, {}, parameter, gradient, m, v)
        # TensorFlow adds epsilon before the bias correction; the other form is the same with epsilon corrected too.
        tf = self._tf
        beta1_power, beta2_power = attributes.beta1**attributes.step, attributes.beta2**attributes.step
        correction = 1.0 if attributes.epsilon_hat else math.sqrt(1 - beta2_power)
        variables = {"var": tf.Variable(parameter), "m": tf.Variable(m), "v": tf.Variable(v)}
        settings = {
            "beta1_power": beta1_power,
            "beta2_power": beta2_power,
            "lr": attributes.learning_rate,
            "beta1": attributes.beta1,
            "beta2": attributes.beta2,
            "epsilon": attributes.epsilon * correction,
        }
        tf.raw_ops.ResourceApplyAdam(
            **{name: variable.handle for name, variable in variables.items()},
            **{name: tf.constant(value, parameter.dtype) for name, value in settings.items()},
            grad=gradient,
        )
        results = tuple(variable.read_value() for variable in variables.values())
        self.log.write("variables = [tf.Variable({}), tf.Variable({}), tf.Variable({})]", parameter, m, v)
        given = [f"{name}=variables[{place}].handle" for place, name in enumerate(variables)]
        given += [f"{name}=tf.constant({value!r}, {parameter.dtype!r})" for name, value in settings.items()]
        self.log.write(f"tf.raw_ops.ResourceApplyAdam({', '.join(given)}, grad={{}})", gradient)
        for place, result in enumerate(results):
            self.log.name(result, f"variables[{place}].read_value()")
        return dict(zip(("parameter", "m", "v"), results, strict=True))

    def _keras_adam(
        self, name: str, a: Adam, more: Mapping[str, Any], parameter: Native, gradient: Native, m: Native, v: Native
    ) -> Natives:
        if not is_native(a.epsilon_hat) and not a.epsilon_hat:
            self.compose("Keras adds epsilon before the bias correction")
        settings = {
            "learning_rate": a.learning_rate,
            "beta_1": a.beta1,
            "beta_2": a.beta2,
            "epsilon": a.epsilon,
            **more,
        }
        slots = {"m": ("_momentums", m), "v": ("_velocities", v)}
        return self._keras_update(name, settings, parameter, gradient, slots, step=a.step)

    def _keras_update(
        self,
        name: str,
        settings: Mapping[str, Any],
        parameter: Native,
        gradient: Native,
        slots: Mapping[str, tuple[str, Native | None]] = MappingProxyType({}),
        *,
        step: int = 1,
    ) -> Natives:
        """One update by `tf.keras.optimizers`, the only ones that have defaults.

        Args:
            name: the optimizer's class.
            settings: its arguments; those that are left to the framework are left out.
            parameter: the variable's value.
            gradient: the variable's.
            slots: by output, the optimizer's list of slots, and what stands in its only one; None leaves it as the
                optimizer makes it.
            step: counted from 1.
        """
        tf, given = self._tf, without_native(settings)
        variable = tf.Variable(parameter)
        optimizer = getattr(tf.keras.optimizers, name)(**given)
        optimizer.build([variable])
        self.log.write("variable = tf.Variable({})", parameter)
        arguments = ", ".join(f"{key}={value!r}" for key, value in given.items())
        self.log.write(f"optimizer = tf.keras.optimizers.{name}({arguments})")
        self.log.write("optimizer.build([variable])")
        found = {key: getattr(optimizer, place)[0] for key, (place, _) in slots.items()}
        for key, (place, value) in slots.items():
            if value is not None:
                found[key].assign(value)
                self.log.write(f"optimizer.{place}[0].assign({{}})", value)
        optimizer.iterations.assign(step - 1)
        self.log.write(f"optimizer.iterations.assign({step - 1})")
        optimizer.apply([gradient], [variable])
        self.log.write("optimizer.apply([{}], [variable])", gradient)
        results = {"parameter": variable.read_value()}
        self.log.name(results["parameter"], "variable.read_value()")
        for key, (place, _) in slots.items():
            results[key] = tf.convert_to_tensor(found[key])
            self.log.name(results[key], f"tf.convert_to_tensor(optimizer.{place}[0])")
        return results

    def adamw(self, attributes: AdamW, parameter: Native, gradient: Native, m: Native, v: Native) -> Natives:
        if self.own:
            more = {"weight_decay": attributes.weight_decay}
            return self._keras_adam("AdamW", attributes, more, parameter, gradient, m, v)
        # Keras' recipe: the decay, times the learning rate, is subtracted before the update.
        decay = self.tf.multiply(parameter, attributes.weight_decay * attributes.learning_rate)
        return self.adam(attributes, self.tf.subtract(parameter, decay), gradient, m, v)

    def _applied(
        self,
        kernel: str,
        variables: Mapping[str, Native],
        settings: Mapping[str, float],
        gradient: Native,
        flags: Mapping[str, bool],
    ) -> dict[str, Native]:
        """One of the optimizers' kernels, on variables: what they hold afterwards."""
        tf = self._tf
        made = {name: tf.Variable(value) for name, value in variables.items()}
        dtype = gradient.dtype
        getattr(tf.raw_ops, kernel)(
            **{name: variable.handle for name, variable in made.items()},
            **{name: tf.constant(value, dtype) for name, value in settings.items()},
            grad=gradient,
            **flags,
        )
        self.log.write(f"variables = [{', '.join(['tf.Variable({})'] * len(made))}]", *variables.values())
        given = [f"{name}=variables[{place}].handle" for place, name in enumerate(made)]
        given += [f"{name}=tf.constant({value!r}, {dtype!r})" for name, value in settings.items()]
        told = "".join(f", {name}={value}" for name, value in flags.items())
        self.log.write(f"tf.raw_ops.{kernel}({', '.join(given)}, grad={{}}{told})", gradient)
        results = {name: variable.read_value() for name, variable in made.items()}
        for place, result in enumerate(results.values()):
            self.log.name(result, f"variables[{place}].read_value()")
        return results

    def sgd_momentum(self, attributes: Momentum, parameter: Native, gradient: Native, velocity: Native) -> Natives:
        a = attributes
        if self.own:
            return self._keras_momentum(a, parameter, gradient, velocity)
        if a.weight_decay:
            gradient = self.tf.add(gradient, self.tf.multiply(parameter, a.weight_decay))
        kernel = "ResourceApplyKerasMomentum" if a.velocity_of == "steps" else "ResourceApplyMomentum"
        if a.dampening or a.first:
            self.compose("TensorFlow's momentum has neither dampening nor a first step of its own")
            made = gradient
            if not a.first:
                kept = self.tf.multiply(velocity, a.momentum)
                made = self.tf.add(kept, self.tf.multiply(gradient, 1 - a.dampening))
            step = self.tf.add(gradient, self.tf.multiply(made, a.momentum)) if a.nesterov else made
            moved = self.tf.subtract(parameter, self.tf.multiply(step, a.learning_rate))
            return {"parameter": moved, "velocity": self.tf.identity(made)}
        results = self._applied(
            kernel,
            {"var": parameter, "accum": velocity},
            {"lr": a.learning_rate, "momentum": a.momentum},
            gradient,
            {"use_nesterov": a.nesterov},
        )
        return {"parameter": results["var"], "velocity": results["accum"]}

    def _keras_momentum(self, a: Momentum, parameter: Native, gradient: Native, velocity: Native) -> Natives:
        if a.dampening or a.first or (not is_native(a.velocity_of) and a.velocity_of == "gradients"):
            self.compose("Keras keeps a velocity of steps, without dampening and a first step of its own")
        settings = {
            "learning_rate": a.learning_rate,
            "momentum": a.momentum,
            "nesterov": a.nesterov,
            "weight_decay": a.weight_decay,
        }
        return self._keras_update("SGD", settings, parameter, gradient, {"velocity": ("momentums", velocity)})

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
        if self.own:
            return self._keras_rmsprop(a, parameter, gradient, v, mean, velocity)
        if not a.epsilon_inside or (velocity is not None and a.velocity_of == "gradients"):
            return self._rmsprop(a, parameter, gradient, v, mean, velocity)
        # TensorFlow's kernel always has a velocity, of steps.
        slots = {"var": parameter, "ms": v, "mom": self.tf.zeros_like(v) if velocity is None else velocity}
        kernel = "ResourceApplyRMSProp"
        if mean is not None:
            kernel = "ResourceApplyCenteredRMSProp"
            slots = {"var": parameter, "mg": mean, "ms": v, "mom": slots["mom"]}
        settings = {"lr": a.learning_rate, "rho": a.rho, "momentum": a.momentum, "epsilon": a.epsilon}
        results = self._applied(kernel, slots, settings, gradient, {})
        kept = {"parameter": results["var"], "v": results["ms"]}
        if mean is not None:
            kept["mean"] = results["mg"]
        if velocity is not None:
            kept["velocity"] = results["mom"]
        return kept

    def _keras_rmsprop(
        self,
        a: RmsProp,
        parameter: Native,
        gradient: Native,
        v: Native,
        mean: Native | None,
        velocity: Native | None,
    ) -> Natives:
        if not is_native(a.epsilon_inside) and not a.epsilon_inside:
            self.compose("Keras adds epsilon inside the root")
        if velocity is not None and not is_native(a.velocity_of) and a.velocity_of == "gradients":
            self.compose("Keras keeps a velocity of steps")
        settings = {
            "learning_rate": a.learning_rate,
            "rho": a.rho,
            "momentum": a.momentum,
            "epsilon": a.epsilon,
            "centered": mean is not None,
        }
        slots = {"v": ("_velocities", v), "mean": ("_average_gradients", mean), "velocity": ("_momentums", velocity)}
        present = {name: (place, value) for name, (place, value) in slots.items() if value is not None}
        return self._keras_update("RMSprop", settings, parameter, gradient, present)

    def _rmsprop(
        self,
        a: RmsProp,
        parameter: Native,
        gradient: Native,
        v: Native,
        mean: Native | None,
        velocity: Native | None,
    ) -> Natives:
        """What TensorFlow's kernels have not: a recipe."""
        self.compose("TensorFlow's RMSprop adds epsilon inside the root, and keeps a velocity of steps")
        tf = self.tf

        def kept(old: Native, new: Native) -> Native:
            return tf.add(tf.multiply(old, a.rho), tf.multiply(new, 1 - a.rho))

        made = {"v": kept(v, tf.square(gradient))}
        square = made["v"]
        if mean is not None:
            made["mean"] = kept(mean, gradient)
            square = tf.subtract(square, tf.square(made["mean"]))
        inside = a.epsilon_inside
        divisor = tf.sqrt(tf.add(square, a.epsilon)) if inside else tf.add(tf.sqrt(square), a.epsilon)
        step = tf.divide(gradient, divisor)
        if velocity is not None:
            if a.velocity_of == "steps":
                step = tf.multiply(step, a.learning_rate)
            step = made["velocity"] = tf.add(tf.multiply(velocity, a.momentum), step)
        if velocity is None or a.velocity_of == "gradients":
            step = tf.multiply(step, a.learning_rate)
        return {"parameter": tf.subtract(parameter, step), **made}

    def adagrad(self, attributes: Adagrad, parameter: Native, gradient: Native, v: Native | None = None) -> Natives:
        a, tf = attributes, self.tf
        if self.own:
            return self._keras_adagrad(a, parameter, gradient, v)
        v = tf.constant(a.initial, parameter.dtype, parameter.shape) if v is None else v
        if not a.epsilon_inside:
            slots, settings = {"var": parameter, "accum": v}, {"lr": a.learning_rate, "epsilon": a.epsilon}
            results = self._applied("ResourceApplyAdagradV2", slots, settings, gradient, {})
            return {"parameter": results["var"], "v": results["accum"]}
        self.compose("TensorFlow's kernel adds epsilon outside the root")
        square = tf.add(v, tf.square(gradient))
        step = tf.divide(gradient, tf.sqrt(tf.add(square, a.epsilon)))
        return {"parameter": tf.subtract(parameter, tf.multiply(step, a.learning_rate)), "v": square}

    def _keras_adagrad(self, a: Adagrad, parameter: Native, gradient: Native, v: Native | None) -> Natives:
        if not is_native(a.epsilon_inside) and not a.epsilon_inside:
            self.compose("Keras adds epsilon inside the root")
        settings = {"learning_rate": a.learning_rate, "initial_accumulator_value": a.initial, "epsilon": a.epsilon}
        return self._keras_update("Adagrad", settings, parameter, gradient, {"v": ("_accumulators", v)})
