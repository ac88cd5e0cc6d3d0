"""How Keras is spoken to: layers that are made, built, given weights and called, and `keras.ops` for the rest."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from conformance.backends.base import CallLog, Idiom, Native, Natives, Recorded
from conformance.case.geometry import Pads


@dataclass(frozen=True, slots=True)
class Called:
    """What a layer gave, and what its variables that are not trained hold afterwards."""

    output: Native
    state: Natives = field(default_factory=dict)


class KerasIdiom(Idiom, ABC):
    """What all families share; the adapter brings Keras's modules."""

    log: CallLog
    keras: Any
    layers: Recorded
    activations: Recorded
    losses: Recorded
    optimizers: Recorded
    initializers: Recorded
    random: Recorded
    ops: Recorded
    image: Recorded

    @abstractmethod
    def call(self, layer: Native, x: Native, weights: Mapping[str, Native], settings: Mapping[str, Any]) -> Called:
        """Gives weights to a layer that is built, by the names of its variables, and calls it."""

    def dtype_of(self, x: Native) -> str:
        """A tensor's format as Keras names it: every layer is told, or it computes in float32."""
        name: str = self.keras.backend.standardize_dtype(x.dtype)
        return name

    def plain(self, kind: str, x: Native, *args: Any, **settings: Any) -> Native:
        """Makes a layer without weights and calls it."""
        first = x[0] if isinstance(x, (list, tuple)) else x
        layer = getattr(self.layers, kind)(*args, **settings, dtype=self.dtype_of(first))
        return self.called(layer, x)

    def weighted(
        self,
        kind: str,
        x: Native,
        weights: Mapping[str, Native | None],
        *args: Any,
        call: Mapping[str, Any] | None = None,
        **settings: Any,
    ) -> Called:
        """Makes a layer, builds it for `x`, and calls it with weights; those that are None it does not have."""
        layer = getattr(self.layers, kind)(*args, **settings, dtype=self.dtype_of(x))
        layer.build(tuple(x.shape))
        self.log.write(f"{{}}.build({tuple(x.shape)})", layer)
        return self.call(layer, x, {name: value for name, value in weights.items() if value is not None}, call or {})

    def called(self, layer: Native, *given: Native, **settings: Any) -> Native:
        """Calls a layer, or what else Keras makes and calls, and writes it down."""
        y = layer(*given, **settings)
        self.log.record(self.log.called(layer), given, settings, y)
        return y

    def zero_padded(self, x: Native, pads: Pads) -> Native:
        """With zeros around the spatial axes."""
        if not any(map(any, pads)):
            return x
        return self.plain(f"ZeroPadding{len(pads)}D", x, pads if len(pads) > 1 else pads[0])

    def biased(self, y: Native, b: Native | None) -> Native:
        """With one number a channel added where it is not the layer that adds it."""
        return y if b is None else self.ops.add(y, b)

    def thinned(self, y: Native, stride: tuple[int, ...]) -> Native:
        """Every stride-th element along the spatial axes, where Keras has no strides."""
        for axis, s in enumerate(stride, start=1):
            if s > 1:
                y = self.ops.take(y, list(range(0, y.shape[axis], s)), axis=axis)
        return y

    def by_group(self, groups: int, x: Native, w: Native, function: Callable[[Native, Native], Native]) -> Native:
        """Splits data and kernel along their last axes where Keras's function has no groups."""
        if groups == 1:
            return function(x, w)
        pairs = zip(self.ops.split(x, groups, axis=-1), self.ops.split(w, groups, axis=-1), strict=True)
        return self.ops.concatenate([function(*pair) for pair in pairs], axis=-1)


def unless(usual: Any, **settings: Any) -> dict[str, Any]:
    """Keyword arguments but for those that have Keras's usual value in every place, as its users write them."""
    return {
        name: value
        for name, value in settings.items()
        if (set(value) if isinstance(value, tuple) else {value}) != {usual}
    }
