"""Keras's initialisers and dropout, from generators that the seed starts."""

from typing import Any, Final

from conformance.backends.base import Native, Natives
from conformance.backends.keras.idiom import KerasIdiom
from conformance.case.families.sampling import Initialize, RandomDropout
from conformance.case.job import is_native

# Keras's classes are called after scheme and law; "normal" is cut off, which is seen where its own word is asked.
_SCHEMES: Final = {"glorot": "Glorot", "he": "He", "lecun": "Lecun"}
_FANS: Final = {"glorot": (1.0, "fan_avg"), "he": (2.0, "fan_in"), "lecun": (1.0, "fan_in")}


class KerasSampling(KerasIdiom):
    """A part of the adapter."""

    def initialize(self, attributes: Initialize, w: Native) -> Natives:
        a = attributes
        if is_native(a.scheme):
            return self._of_layer(a, w)
        # An initialiser with a number for a seed draws the same numbers at every call; one with a generator goes on.
        seed = self.random.SeedGenerator(a.seed)
        name, options = self._law(a)
        initializer = getattr(self.initializers, name)(**options, seed=seed)
        shape = tuple(w.shape)
        # A kernel of one channel for each group is (taps, channels, out of each) where it is Keras's own.
        depthwise = self.own and a.groups > 1 and shape[-2] == 1
        asked = (*shape[:-2], a.groups, shape[-1] // a.groups) if depthwise else shape
        made = {}
        for output in ("output", "again"):
            made[output] = self.called(initializer, asked, dtype=self.dtype_of(w))
            if depthwise:
                made[output] = self.ops.reshape(made[output], shape)
        return made

    def _law(self, a: Initialize) -> tuple[str, dict[str, Any]]:
        """The initialiser's class and its arguments."""
        if a.scheme == "constant":
            laws: dict[str, tuple[str, dict[str, Any]]] = {
                "uniform": ("RandomUniform", {"minval": -a.scale, "maxval": a.scale}),
                "normal": ("RandomNormal", {"stddev": a.scale}),
                "truncated_normal": ("TruncatedNormal", {"stddev": a.scale}),
            }
            return laws[a.distribution]
        if a.distribution == "normal" and not self.own:
            scale, mode = _FANS[a.scheme]
            return "VarianceScaling", {"scale": scale, "mode": mode, "distribution": "untruncated_normal"}
        return _SCHEMES[a.scheme] + ("Uniform" if a.distribution == "uniform" else "Normal"), {}

    def _of_layer(self, a: Initialize, w: Native) -> Natives:
        """The kernels of two layers that are made with nothing but their sizes."""
        rank, shape = len(w.shape) - 2, tuple(w.shape)
        self.keras.utils.set_random_seed(a.seed)
        self.log.write(f"keras.utils.set_random_seed({a.seed})")
        built = (1, *shape[:-2], shape[-2] * a.groups)
        made = {}
        for name in ("output", "again"):
            layer = getattr(self.layers, f"Conv{rank}D")(
                shape[-1], shape[:-2], groups=a.groups, dtype=self.dtype_of(w)
            )
            layer.build(built)
            self.log.write(f"{{}}.build({built!r})", layer)
            kernel = layer.kernel.value
            self.log.name(kernel, f"{self.log.called(layer)}.kernel.value")
            made[name] = self.ops.copy(kernel)
        return made

    def random_dropout(self, attributes: RandomDropout, x: Native) -> Natives:
        layer = self.layers.Dropout(attributes.rate, seed=attributes.seed, dtype=self.dtype_of(x))
        return {name: self.called(layer, x, training=True) for name in ("output", "again")}
