"""JAX's networks: pure functions over a tree of parameters, every layer jitted, `jax.vjp` through all of them.

Each layer is a function of its own under `jax.jit`, so that what it gives is what the next one takes. Jitted as a
whole, XLA computes a layer's elements once for whoever looks at them and again within the next layer, where they may
round otherwise; and 180 layers in one program take it longest to compile.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from conformance.backends.base import CallLog, Native, Natives, Program

# A training of so many layers is one program, as its users write it. Beyond, XLA takes a minute to compile it, and
# what it tells of a layer need not be what the next one took.
WHOLE: Final = 64


class JaxNetworks:
    """A part of the adapter, which brings the framework and its words for every operator."""

    _jax: Any
    _lines: tuple[str, ...]
    log: CallLog
    record: Callable[[Mapping[str, Native]], None]

    def __init__(self, device: str, modes: tuple[str, ...]) -> None:
        super().__init__(device, modes)  # type: ignore[call-arg]
        self._layers: dict[tuple[str, Any], Callable[..., Native]] = {}
        self._apart = False

    @contextmanager
    def jitting_layers(self, apart: bool) -> Iterator[None]:
        """Within it, every layer of a network is jitted by itself, if that is asked."""
        self._apart = apart
        try:
            yield
        finally:
            self._apart = False

    def method(self, operator: str) -> Callable[..., Native]:
        """The adapter's method for an operator; of a network, as a jitted layer."""
        found: Callable[..., Native] = super().method(operator)  # type: ignore[misc]
        if not self._apart:
            return found

        def layer(attributes: Any, **operands: Native) -> Native:
            key = (operator, attributes)
            if key not in self._layers:
                self._layers[key] = self._jax.jit(lambda values: self._traced(found, attributes, values))
            return self._layers[key](operands)

        return layer

    def _traced(self, method: Callable[..., Native], attributes: Any, values: Natives) -> Native:
        kept, self._apart = self.log, False
        self.record({})
        try:
            return method(attributes, **values)
        finally:
            self.log, self._apart = kept, True  # lets the traced values go

    def _network(
        self, program: Program, operands: Natives, sources: tuple[str, ...], cotangents: Natives
    ) -> tuple[Natives, Natives]:
        """Runs a network and pulls its cotangents back."""
        jax = self._jax
        shapes = self._written(program, operands)
        # A layer's output is differentiated through a probe added to it: -0.0, which changes no number.
        probes = {name: jax.numpy.full_like(shapes[name], -0.0) for name in sources if name not in operands}

        def run(differentiated: Natives) -> tuple[Natives, Natives]:
            values = {name: differentiated.get(name, value) for name, value in operands.items()}
            with self.jitting_layers(True):
                outputs = program.run(
                    self,  # type: ignore[arg-type]
                    values,
                    lambda name, y: y + differentiated[name] if name in probes else y,
                )
            return {name: outputs[name] for name in cotangents}, outputs

        def ordered(outputs: Natives) -> Natives:
            return {name: outputs[name] for name in shapes}  # JAX sorts names

        if not sources:
            return jax.block_until_ready(run({})[1]), {}
        differentiated = {name: operands[name] if name in operands else probes[name] for name in sources}
        heads, pull, outputs = jax.vjp(run, differentiated, has_aux=True)
        if any(heads[name].shape != value.shape for name, value in cotangents.items()):
            return ordered(outputs), {}
        outputs, gradients = jax.block_until_ready((outputs, pull(cotangents)[0]))
        return ordered(outputs), gradients

    def _written(self, program: Program, operands: Natives) -> Natives:
        """The native calls, traced and not run, as lines; gives the outputs' shapes, in order."""
        order: list[str] = []

        def run(values: Natives) -> Natives:
            self.record(values)
            outputs = program.run(self, values, lambda _, y: y)  # type: ignore[arg-type]
            self._lines = self.log.lines(outputs)
            self.log = CallLog()  # lets the traced values go
            order[:] = outputs
            return outputs

        shapes: Natives = self._jax.eval_shape(run, operands)
        return {name: shapes[name] for name in order}
