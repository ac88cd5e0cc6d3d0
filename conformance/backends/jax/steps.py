"""JAX's dropout and updates: the optimizers among its own examples, or their recipes."""

import math
from collections.abc import Callable, Mapping
from typing import Any

from conformance.backends.base import CallLog, Native, Natives, Recorded, translated, without_native
from conformance.case.families.steps import Adagrad, Adam, AdamW, Dropout, Momentum, RmsProp, Sgd
from conformance.case.job import is_native
from conformance.errors import NotTranslatable


class JaxSteps:
    """A part of the adapter, which brings the framework's modules."""

    log: CallLog
    jnp: Recorded
    nn: Recorded
    lax: Recorded
    _jax: Any
    compose: Callable[[str], None]

    def dropout(self, attributes: Dropout, x: Native, mask: Native) -> Native:
        return self.jnp.where(mask, self.jnp.divide(x, attributes.keep), 0.0)

    def sgd(self, attributes: Sgd, parameter: Native, gradient: Native) -> Natives:
        if is_native(attributes.learning_rate):
            raise NotTranslatable("no default: JAX's sgd needs its step size")
        settings = {"step_size": attributes.learning_rate}
        (result,) = self._step("sgd", settings, 0, gradient, (parameter,))
        return {"parameter": result}

    def adam(self, attributes: Adam, parameter: Native, gradient: Native, m: Native, v: Native) -> Natives:
        # JAX adds epsilon after the bias correction; the other form is the same with epsilon corrected likewise.
        hat = not is_native(attributes.epsilon_hat) and attributes.epsilon_hat
        if hat:
            self.compose("JAX adds epsilon after the bias correction")
        if is_native(attributes.learning_rate):
            raise NotTranslatable("no default: JAX's adam needs its step size")
        correction = math.sqrt(1 - attributes.beta2**attributes.step) if hat else 1.0
        settings = {
            "step_size": attributes.learning_rate,
            "b1": attributes.beta1,
            "b2": attributes.beta2,
            "eps": translated(attributes.epsilon, lambda epsilon: epsilon / correction),
        }
        results = self._step("adam", settings, attributes.step - 1, gradient, (parameter, m, v))
        return dict(zip(("parameter", "m", "v"), results, strict=True))

    def _step(
        self, name: str, settings: Mapping[str, float], step: int, gradient: Native, state: tuple[Native, ...]
    ) -> tuple[Native, ...]:
        """One update of `jax.example_libraries.optimizers`, which counts steps from 0."""
        library, settings = self._jax.example_libraries.optimizers, without_native(settings)
        _, update, _ = getattr(library, name)(**settings)
        packed = library.pack_optimizer_state(library.JoinPoint(state if len(state) > 1 else state[0]))
        results = library.unpack_optimizer_state(update(step, gradient, packed)).subtree
        results = results if len(state) > 1 else (results,)
        given = ", ".join(f"{key}={value!r}" for key, value in settings.items())
        self.log.write(f"_, update, _ = optimizers.{name}({given})")
        self.log.write(
            "state = optimizers.pack_optimizer_state(optimizers.JoinPoint({}))",
            state if len(state) > 1 else state[0],
        )
        self.log.write("result = optimizers.unpack_optimizer_state(update({}, {}, state)).subtree", step, gradient)
        for place, result in enumerate(results):
            self.log.name(result, f"result[{place}]" if len(state) > 1 else "result")
        return tuple(results)

    def adamw(self, attributes: AdamW, parameter: Native, gradient: Native, m: Native, v: Native) -> Natives:
        # Optax's recipe: the decayed parameter joins the update, and both are multiplied by the learning rate.
        self.compose("JAX has no AdamW")
        decay = self.jnp.multiply(parameter, attributes.weight_decay * attributes.learning_rate)
        return self.adam(attributes, self.jnp.subtract(parameter, decay), gradient, m, v)

    def sgd_momentum(self, attributes: Momentum, parameter: Native, gradient: Native, velocity: Native) -> Natives:
        a, jnp = attributes, self.jnp
        if a.weight_decay:
            self.compose("JAX's momentum has no weight decay")
            gradient = jnp.add(gradient, jnp.multiply(parameter, a.weight_decay))
        if (is_native(a.velocity_of) or a.velocity_of == "gradients") and not a.first and not a.dampening:
            settings = {"step_size": a.learning_rate, "mass": a.momentum}
            name = "nesterov" if a.nesterov else "momentum"
            moved, made = self._step(name, settings, 0, gradient, (parameter, velocity))
            return {"parameter": moved, "velocity": made}
        self.compose("JAX's momentum keeps a velocity of gradients, without dampening")
        if a.velocity_of == "steps":
            change = jnp.multiply(gradient, a.learning_rate)
            made = jnp.subtract(jnp.multiply(velocity, a.momentum), change)
            step = jnp.subtract(jnp.multiply(made, a.momentum), change) if a.nesterov else made
            return {"parameter": jnp.add(parameter, step), "velocity": made}
        made = gradient
        if not a.first:
            made = jnp.add(jnp.multiply(velocity, a.momentum), jnp.multiply(gradient, 1 - a.dampening))
        step = jnp.add(gradient, jnp.multiply(made, a.momentum)) if a.nesterov else made
        return {"parameter": jnp.subtract(parameter, jnp.multiply(step, a.learning_rate)), "velocity": made}

    def rmsprop(
        self,
        attributes: RmsProp,
        parameter: Native,
        gradient: Native,
        v: Native,
        mean: Native | None = None,
        velocity: Native | None = None,
    ) -> Natives:
        a, jnp = attributes, self.jnp
        inside = is_native(a.epsilon_inside) or a.epsilon_inside
        of_steps = velocity is None or is_native(a.velocity_of) or a.velocity_of == "steps"
        if inside and mean is None and of_steps:
            if is_native(a.learning_rate):
                raise NotTranslatable("no default: JAX's rmsprop needs its step size")
            settings = {"step_size": a.learning_rate, "gamma": a.rho, "eps": a.epsilon}
            if velocity is None:
                moved, square = self._step("rmsprop", settings, 0, gradient, (parameter, v))
                return {"parameter": moved, "v": square}
            settings["momentum"] = a.momentum
            moved, square, made_velocity = self._step(
                "rmsprop_momentum", settings, 0, gradient, (parameter, v, velocity)
            )
            return {"parameter": moved, "v": square, "velocity": made_velocity}

        self.compose("JAX's rmsprop adds epsilon inside the root, and keeps a velocity of steps")

        def kept(old: Native, new: Native) -> Native:
            return jnp.add(jnp.multiply(old, a.rho), jnp.multiply(new, 1 - a.rho))

        made = {"v": kept(v, jnp.square(gradient))}
        square = made["v"]
        if mean is not None:
            made["mean"] = kept(mean, gradient)
            square = jnp.subtract(square, jnp.square(made["mean"]))
        divisor = jnp.sqrt(jnp.add(square, a.epsilon)) if inside else jnp.add(jnp.sqrt(square), a.epsilon)
        step = jnp.divide(gradient, divisor)
        if velocity is not None:
            if a.velocity_of == "steps":
                step = jnp.multiply(step, a.learning_rate)
            step = made["velocity"] = jnp.add(jnp.multiply(velocity, a.momentum), step)
        if velocity is None or a.velocity_of == "gradients":
            step = jnp.multiply(step, a.learning_rate)
        return {"parameter": jnp.subtract(parameter, step), **made}

    def adagrad(self, attributes: Adagrad, parameter: Native, gradient: Native, v: Native | None = None) -> Natives:
        a, jnp = attributes, self.jnp
        if is_native(a.learning_rate):
            raise NotTranslatable("no default: JAX's adagrad needs its step size")
        settings = {"step_size": a.learning_rate, "momentum": 0.0}
        without_epsilon = is_native(a.epsilon) or a.epsilon == 0
        if not without_epsilon:
            self.compose("JAX's adagrad has no epsilon")
        if v is not None:
            state = (parameter, v, jnp.zeros_like(parameter))
        elif is_native(a.initial) or a.initial == 0:
            state = self._started("adagrad", settings, parameter)
        else:
            self.compose("JAX's adagrad starts from 0")
            state = (parameter, jnp.full_like(parameter, a.initial), jnp.zeros_like(parameter))
        if without_epsilon:
            moved, square, _ = self._step("adagrad", settings, 0, gradient, state)
            return {"parameter": moved, "v": square}
        square = jnp.add(state[1], jnp.square(gradient))
        inside = not is_native(a.epsilon_inside) and a.epsilon_inside
        divisor = jnp.sqrt(jnp.add(square, a.epsilon)) if inside else jnp.add(jnp.sqrt(square), a.epsilon)
        step = jnp.divide(gradient, divisor)
        return {"parameter": jnp.subtract(parameter, jnp.multiply(step, a.learning_rate)), "v": square}

    def _started(self, name: str, settings: Mapping[str, float], parameter: Native) -> tuple[Native, ...]:
        """What an optimizer of `jax.example_libraries.optimizers` keeps before its first step."""
        library = self._jax.example_libraries.optimizers
        init, _, _ = getattr(library, name)(**settings)
        state: tuple[Native, ...] = library.unpack_optimizer_state(init(parameter)).subtree
        given = ", ".join(f"{key}={value!r}" for key, value in settings.items())
        self.log.write(f"init, _, _ = optimizers.{name}({given})")
        self.log.write("first = optimizers.unpack_optimizer_state(init({})).subtree", parameter)
        for place, kept in enumerate(state[1:], 1):
            self.log.name(kept, f"first[{place}]")
        return state
