"""What draws its own numbers, initialisers and dropout, as statements: the first sets the seed, the others draw."""

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from conformance.case.model import Shape
from conformance.dialects.model import Question, Writer, Written
from conformance.dialects.moves import after, kernel_first
from conformance.dialects.source import called, rest
from conformance.dialects.statements import stated

# What a scheme's variance is over which fan.
_FANS: Final = {"glorot": (1.0, "fan_avg"), "he": (2.0, "fan_in"), "lecun": (1.0, "fan_in")}
# The deviation of a normal law that is cut off at two of its own.
_CUT_OFF: Final = 0.87962566103423978


def _torch_initialize(question: Question) -> Written:
    a, w = question.attributes, question.first
    moves = kernel_first(len(w) - 2) if len(w) > 1 else ()
    shape = after(w, moves)
    line, remark = _torch_filled(a, shape), ""
    if a.distribution == "truncated_normal" and a.scheme != "constant":
        remark = "nn.init cuts off no scheme's normal law; this deviation is of this kernel's fans"
    return stated(
        question, f"torch.manual_seed({a.seed})", f"y = {line}", remark=remark, lies={"output": moves, "w": moves}
    )


def _torch_filled(a: Any, shape: Shape) -> str:
    kernel = f"torch.empty{shape}"
    if a.distribution == "truncated_normal":
        deviation = a.scale
        if a.scheme != "constant":
            into, out = (size * math.prod(shape[2:]) for size in (shape[1], shape[0]))
            fan = {"glorot": (into + out) / 2, "he": into / 2, "lecun": into}[a.scheme]
            deviation = float(f"{math.sqrt(1 / fan) / _CUT_OFF:.8g}")
        return f"nn.init.trunc_normal_({kernel}, std={deviation!r}, a={-2 * deviation!r}, b={2 * deviation!r})"
    uniform = a.distribution == "uniform"
    if a.scheme == "constant":
        if uniform:
            return f"nn.init.uniform_({kernel}, {-a.scale!r}, {a.scale!r})"
        return f"nn.init.normal_({kernel}, std={a.scale!r})"
    if a.scheme == "glorot":
        return f"nn.init.xavier_{'uniform' if uniform else 'normal'}_({kernel})"
    kind = "relu" if a.scheme == "he" else "linear"
    return f'nn.init.kaiming_{"uniform" if uniform else "normal"}_({kernel}, nonlinearity="{kind}")'


def _keras_initialize(keras: str) -> Writer:
    def write(question: Question) -> Written:
        a = question.attributes
        made, remark = _keras_law(a)
        seed = f"{keras or 'keras.'}utils.set_random_seed({a.seed})"
        return stated(question, seed, f"y = {keras}initializers.{made}({question.first})", remark=remark)

    return write


def _keras_law(a: Any) -> tuple[str, str]:
    if a.scheme == "constant":
        name = {"uniform": "RandomUniform", "normal": "RandomNormal", "truncated_normal": "TruncatedNormal"}
        if a.distribution == "uniform":
            return called(name["uniform"], minval=(-a.scale, -0.05), maxval=(a.scale, 0.05)), ""
        return called(name[a.distribution], stddev=(a.scale, 0.05)), ""
    if a.distribution == "normal":
        scale, mode = _FANS[a.scheme]
        law = called(
            "VarianceScaling",
            scale=(scale, 1.0),
            mode=(mode, "fan_in"),
            distribution=("untruncated_normal", "truncated_normal"),
        )
        return law, f"Keras's {a.scheme.capitalize()}Normal is cut off at two deviations"
    return f"{a.scheme.capitalize()}{'Uniform' if a.distribution == 'uniform' else 'Normal'}()", ""


def _keyed(question: Question, line: str, remark: str = "") -> Written:
    seed = f"key = jax.random.key({question.attributes.seed})"
    return stated(question, seed, "key, own = jax.random.split(key)", line, remark=remark)


def _jax_initialize(question: Question) -> Written:
    a, w = question.attributes, question.first
    if a.scheme == "constant":
        drawn = {
            "uniform": f"jax.random.uniform(own, {w}, minval={-a.scale!r}, maxval={a.scale!r})",
            "normal": f"{a.scale!r} * jax.random.normal(own, {w})",
            "truncated_normal": f"{a.scale!r} * jax.random.truncated_normal(own, -2.0, 2.0, {w})",
        }[a.distribution]
        return _keyed(question, f"y = {drawn}")
    if a.distribution == "normal":
        scale, mode = _FANS[a.scheme]
        law = f'variance_scaling({scale}, "{mode}", "normal")'
        remark = f"JAX's {a.scheme}_normal is cut off at two deviations"
    else:
        law, remark = f"{a.scheme}_{'uniform' if a.distribution == 'uniform' else 'normal'}()", ""
    return _keyed(question, f"y = jax.nn.initializers.{law}(own, {w})", remark)


def _dropout(seed: str, line: str) -> Writer:
    def write(question: Question) -> Written:
        a = question.attributes
        return stated(question, f"{seed}({a.seed})", f"y = {line.format(a.rate)}")

    return write


def _jax_dropout(question: Question) -> Written:
    keep = rest(question.attributes.rate)
    line = f"y = jnp.where(jax.random.bernoulli(own, {keep!r}, x.shape), x / {keep!r}, 0.0)"
    return _keyed(question, line, "JAX has no dropout")


TORCH: Final[Mapping[str, Writer]] = MappingProxyType(
    {"initialize": _torch_initialize, "random_dropout": _dropout("torch.manual_seed", "nn.Dropout({})(x)")}
)
KERAS: Final[Mapping[str, Writer]] = MappingProxyType(
    {
        "initialize": _keras_initialize(""),
        "random_dropout": _dropout("keras.utils.set_random_seed", "layers.Dropout({})(x, training=True)"),
    }
)
TENSORFLOW: Final[Mapping[str, Writer]] = MappingProxyType(
    {
        "initialize": _keras_initialize("tf.keras."),
        "random_dropout": _dropout("tf.random.set_seed", "tf.nn.dropout(x, rate={})"),
    }
)
JAX: Final[Mapping[str, Writer]] = MappingProxyType({"initialize": _jax_initialize, "random_dropout": _jax_dropout})
