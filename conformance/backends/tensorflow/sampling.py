"""Keras' initialisers and TensorFlow's dropout, from generators that the seed starts."""

from typing import Any

from conformance.backends.base import CallLog, Native, Natives, Recorded
from conformance.case.families.sampling import Initialize, RandomDropout
from conformance.case.job import is_native


class TensorFlowSampling:
    """A part of the adapter, which brings the framework's modules."""

    log: CallLog
    tf: Recorded
    nn: Recorded
    own: bool
    _tf: Any

    def initialize(self, attributes: Initialize, w: Native) -> Natives:
        a, keras = attributes, self._tf.keras
        if is_native(a.scheme):
            return self._of_layer(a, w)
        # An initialiser with a number for a seed draws the same numbers at every call; one with a generator goes on.
        seed = keras.random.SeedGenerator(a.seed)
        self.log.write(f"seed = tf.keras.random.SeedGenerator({a.seed})")
        options: dict[str, Any]
        if a.scheme == "constant":
            name, options = {
                "uniform": ("RandomUniform", {"minval": -a.scale, "maxval": a.scale}),
                "normal": ("RandomNormal", {"stddev": a.scale}),
                "truncated_normal": ("TruncatedNormal", {"stddev": a.scale}),
            }[a.distribution]
        else:
            name = "VarianceScaling"
            scale, mode = {"glorot": (1.0, "fan_avg"), "he": (2.0, "fan_in"), "lecun": (1.0, "fan_in")}[a.scheme]
            # Keras' "normal" is cut off, which is seen where its own word is asked.
            distribution = "untruncated_normal" if a.distribution == "normal" and not self.own else a.distribution
            options = {"scale": scale, "mode": mode, "distribution": distribution}
        initializer = getattr(keras.initializers, name)(**options, seed=seed)
        given = ", ".join(f"{key}={value!r}" for key, value in options.items())
        self.log.write(f"initializer = tf.keras.initializers.{name}({given}, seed=seed)")
        made = {}
        shape = tuple(w.shape)
        # A kernel of one channel for each group is (taps, channels, out of each) where it is TensorFlow's own.
        depthwise = self.own and a.groups > 1 and shape[-2] == 1
        asked = (*shape[:-2], a.groups, shape[-1] // a.groups) if depthwise else shape
        for output in ("output", "again"):
            made[output] = initializer(asked, dtype=w.dtype.name)
            self.log.record("initializer", (asked,), {"dtype": w.dtype.name}, made[output])
            if depthwise:
                made[output] = self.tf.reshape(made[output], shape)
        return made

    def _of_layer(self, a: Initialize, w: Native) -> Natives:
        """The kernels of two layers that are made with nothing but their sizes."""
        rank, shape = len(w.shape) - 2, tuple(w.shape)
        self._tf.keras.utils.set_random_seed(a.seed)
        self.log.write(f"tf.keras.utils.set_random_seed({a.seed})")
        options = {"filters": shape[-1], "kernel_size": shape[:-2], "groups": a.groups, "dtype": w.dtype.name}
        given = ", ".join(f"{key}={value!r}" for key, value in options.items())
        built = (1, *shape[:-2], shape[-2] * a.groups)
        made = {}
        for name in ("output", "again"):
            layer = getattr(self._tf.keras.layers, f"Conv{rank}D")(**options)
            layer.build(built)
            self.log.write(f"layer = tf.keras.layers.Conv{rank}D({given})")
            self.log.write(f"layer.build({built!r})")
            made[name] = self._tf.convert_to_tensor(layer.kernel)
            self.log.write("kernel = tf.convert_to_tensor(layer.kernel)")
            self.log.name(made[name], "kernel")
            made[name] = self.tf.identity(made[name])
        return made

    def random_dropout(self, attributes: RandomDropout, x: Native) -> Natives:
        self._tf.random.set_seed(attributes.seed)
        self.log.write(f"tf.random.set_seed({attributes.seed})")
        return {name: self.nn.dropout(x, rate=attributes.rate) for name in ("output", "again")}
