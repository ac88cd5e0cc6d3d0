"""JAX's dropout and updates: the optimizers among its own examples, or their recipes."""

import math
from collections.abc import Mapping
from typing import Any

from conformance.backends.base import CallLog, Native, Natives, Recorded
from conformance.case.families.steps import Adam, Dropout, Sgd


class JaxSteps:
    """A part of the adapter, which brings the framework's modules."""

    log: CallLog
    jnp: Recorded
    nn: Recorded
    lax: Recorded
    _jax: Any

    def dropout(self, attributes: Dropout, x: Native, mask: Native) -> Native:
        return self.jnp.where(mask, self.jnp.divide(x, attributes.keep), 0.0)

    def sgd(self, attributes: Sgd, parameter: Native, gradient: Native) -> Natives:
        settings = {"step_size": attributes.learning_rate}
        (result,) = self._step("sgd", settings, 0, gradient, (parameter,))
        return {"parameter": result}

    def adam(self, attributes: Adam, parameter: Native, gradient: Native, m: Native, v: Native) -> Natives:
        # JAX adds epsilon after the bias correction; the other form is the same with epsilon corrected likewise.
        correction = math.sqrt(1 - attributes.beta2**attributes.step) if attributes.epsilon_hat else 1.0
        settings = {
            "step_size": attributes.learning_rate,
            "b1": attributes.beta1,
            "b2": attributes.beta2,
            "eps": attributes.epsilon / correction,
        }
        results = self._step("adam", settings, attributes.step - 1, gradient, (parameter, m, v))
        return dict(zip(("parameter", "m", "v"), results, strict=True))

    def _step(
        self, name: str, settings: Mapping[str, float], step: int, gradient: Native, state: tuple[Native, ...]
    ) -> tuple[Native, ...]:
        """One update of `jax.example_libraries.optimizers`, which counts steps from 0."""
        library = self._jax.example_libraries.optimizers
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
