"""Keras' initialisers and TensorFlow's dropout, from generators that the seed starts."""

from typing import Any

from conformance.backends.base import CallLog, Native, Natives, Recorded
from conformance.case.families.sampling import Initialize, RandomDropout


class TensorFlowSampling:
    """A part of the adapter, which brings the framework's modules."""

    log: CallLog
    nn: Recorded
    _tf: Any

    def initialize(self, attributes: Initialize, w: Native) -> Natives:
        a, keras = attributes, self._tf.keras
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
            # Keras' "normal" is cut off.
            distribution = "untruncated_normal" if a.distribution == "normal" else a.distribution
            options = {"scale": scale, "mode": mode, "distribution": distribution}
        initializer = getattr(keras.initializers, name)(**options, seed=seed)
        given = ", ".join(f"{key}={value!r}" for key, value in options.items())
        self.log.write(f"initializer = tf.keras.initializers.{name}({given}, seed=seed)")
        made = {}
        for output in ("output", "again"):
            made[output] = initializer(tuple(w.shape), dtype=w.dtype.name)
            self.log.record("initializer", (tuple(w.shape),), {"dtype": w.dtype.name}, made[output])
        return made

    def random_dropout(self, attributes: RandomDropout, x: Native) -> Natives:
        self._tf.random.set_seed(attributes.seed)
        self.log.write(f"tf.random.set_seed({attributes.seed})")
        return {name: self.nn.dropout(x, rate=attributes.rate) for name in ("output", "again")}
