"""TensorFlow's layers of Keras, which have the defaults that functions of `tf.nn` have not."""

from collections.abc import Mapping, Sequence
from typing import Any

from conformance.backends.base import CallLog, Native, without_native


class TensorFlowLayers:
    """A part of the adapter, which brings the framework."""

    log: CallLog
    _tf: Any

    def _by_layer(
        self,
        name: str,
        settings: Mapping[str, Any],
        x: Native,
        trained: Sequence[Native] = (),
        kept: Sequence[Native] = (),
        *,
        training: bool | None = None,
    ) -> tuple[Native, list[Native]]:
        """What a layer of `tf.keras.layers` makes of x.

        Args:
            name: the layer's class.
            settings: its arguments; those that are left to the framework are left out.
            x: its input.
            trained: its variables that are trained, in the layer's order.
            kept: those that are not.
            training: what the layer is told, where it listens.

        Returns:
            The output, and what became of the variables that are kept.
        """
        given = {**without_native(settings), "dtype": x.dtype.name}
        mode = {} if training is None else {"training": training}
        layer = getattr(self._tf.keras.layers, name)(**given)
        layer.build(tuple(x.shape))
        y, state = layer.stateless_call(list(trained), list(kept), x, **mode)
        arguments = ", ".join(f"{key}={value!r}" for key, value in given.items())
        self.log.write(f"layer = tf.keras.layers.{name}({arguments})")
        self.log.write(f"layer.build({tuple(x.shape)!r})")
        lists = (f"[{', '.join(['{}'] * len(values))}]" for values in (trained, kept))
        told = "".join(f", {key}={value}" for key, value in mode.items())
        self.log.write(f"y, state = layer.stateless_call({', '.join(lists)}, {{}}{told})", *trained, *kept, x)
        self.log.name(y, "y")
        for place, value in enumerate(state):
            self.log.name(value, f"state[{place}]")
        return y, list(state)
