"""JAX's initialisers, and the recipe of its libraries' dropout, from keys that the seed makes."""

from collections.abc import Callable
from typing import Any

from conformance.backends.base import CallLog, Native, Natives, Recorded
from conformance.case.families.sampling import Initialize, RandomDropout
from conformance.case.job import is_native


class JaxSampling:
    """A part of the adapter, which brings the framework's modules."""

    log: CallLog
    jnp: Recorded
    random: Recorded
    own: bool
    compose: Callable[[str], None]
    _jax: Any

    def _keys(self, seed: int) -> tuple[Native, Native]:
        keys = self.random.split(self.random.key(seed))
        made = keys[0], keys[1]
        for place, key in enumerate(made):
            self.log.write(f"key{place} = {{}}[{place}]", keys)
            self.log.name(key, f"key{place}")
        return made

    def initialize(self, attributes: Initialize, w: Native) -> Natives:
        a = attributes
        if is_native(a.scheme):
            self.compose("JAX has no layers")
        made = {}
        for name, key in zip(("output", "again"), self._keys(a.seed), strict=True):
            if a.scheme == "constant":
                made[name] = self._scaled(a, key, w)
                continue
            if self.own and a.distribution == "normal":  # as its users know it: by the scheme's name
                text = f"jax.nn.initializers.{a.scheme}_normal()"
                made[name] = getattr(self._jax.nn.initializers, f"{a.scheme}_normal")()(key, w.shape, w.dtype)
                self.log.record(text, (key, w.shape, w.dtype), {}, made[name])
                continue
            scale, mode = {"glorot": (1.0, "fan_avg"), "he": (2.0, "fan_in"), "lecun": (1.0, "fan_in")}[a.scheme]
            initializer = self._jax.nn.initializers.variance_scaling(scale, mode, a.distribution)
            made[name] = initializer(key, w.shape, w.dtype)
            text = f"jax.nn.initializers.variance_scaling({scale}, {mode!r}, {a.distribution!r})"
            self.log.record(text, (key, w.shape, w.dtype), {}, made[name])
        return made

    def _scaled(self, a: Initialize, key: Native, w: Native) -> Native:
        if a.distribution == "uniform":
            return self.random.uniform(key, w.shape, w.dtype, -a.scale, a.scale)
        if a.distribution == "normal":
            return self.jnp.multiply(self.random.normal(key, w.shape, w.dtype), a.scale)
        return self.jnp.multiply(self.random.truncated_normal(key, -2, 2, w.shape, w.dtype), a.scale)

    def random_dropout(self, attributes: RandomDropout, x: Native) -> Natives:
        self.compose("JAX has no dropout")
        keep = 1 - attributes.rate
        made = {}
        for name, key in zip(("output", "again"), self._keys(attributes.seed), strict=True):
            mask = self.random.bernoulli(key, keep, x.shape)
            made[name] = self.jnp.where(mask, self.jnp.divide(x, keep), 0.0)
        return made
