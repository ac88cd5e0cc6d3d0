"""Dropout: with a mask that is given, and as the layer that draws its own, in training alone."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from conformance.dialects.model import Question, Unwritten, Weight, Writer, Written
from conformance.dialects.source import called, rest


def _masked(line: str, layer: str) -> Writer:
    """A recipe for a mask that is given, and the framework's layer that draws one."""

    def write(question: Question) -> Written | Unwritten:
        keep = question.attributes.keep
        own = layer.format(rest(keep))
        remark = f"{own} draws the mask itself: its rate is the share that is dropped, 1 - keep"
        return Written(
            lines=(f"y = {line.format(keep)}",),
            weights=(Weight(operand="mask", name="mask"),),
            remark=remark,
            statements=True,
        )

    return write


def _told(question: Question) -> str:
    keep = rest(question.attributes.rate)
    return (
        f"the rate is the share that is dropped in training, and the rest is divided by {keep}, TensorFlow 1's "
        "keep_prob; it was run as at inference, where it is the identity"
    )


def _layer(element: str, channel: str) -> Writer:
    """A layer of the rate alone; of whole channels it is named for its spatial axes."""

    def write(question: Question) -> Written | Unwritten:
        rank = len(question.first) - 2
        if question.attributes.channels and rank not in (1, 2, 3):
            return Unwritten(why=f"no layer drops channels of {rank} spatial axes")
        name = channel.format(rank) if question.attributes.channels else element
        return Written(lines=(called(name, question.attributes.rate),), remark=_told(question))

    return write


def _drawn_shape(question: Question) -> str:
    ones = ", ".join("1" for _ in question.first[1:-1])
    return f"(x.shape[0], {ones}, x.shape[-1])"


def _tf_drawn(question: Question) -> Written:
    shape = f", noise_shape={_drawn_shape(question)}" if question.attributes.channels else ""
    line = f"y = tf.nn.dropout(x, rate={question.attributes.rate!r}{shape}) if training else x"
    return Written(lines=(line,), remark=_told(question))


def _jax_drawn(question: Question) -> Written:
    shape = _drawn_shape(question) if question.attributes.channels else "x.shape"
    keep = rest(question.attributes.rate)
    line = f"y = jnp.where(jax.random.bernoulli(key, {keep}, {shape}), x / {keep}, 0.0) if training else x"
    return Written(lines=(line,), remark=f"JAX has no layer of it; {_told(question)}")


TORCH: Final[Mapping[str, Writer]] = MappingProxyType(
    {"dropout": _masked("x * mask / {0!r}", "nn.Dropout({})"), "drop": _layer("nn.Dropout", "nn.Dropout{}d")}
)
KERAS: Final[Mapping[str, Writer]] = MappingProxyType(
    {
        "dropout": _masked("x * ops.cast(mask, x.dtype) / {0!r}", "layers.Dropout({})"),
        "drop": _layer("layers.Dropout", "layers.SpatialDropout{}D"),
    }
)
TENSORFLOW: Final[Mapping[str, Writer]] = MappingProxyType(
    {
        "dropout": _masked("tf.where(mask, x / {0!r}, 0.0)", "tf.nn.dropout(x, rate={})"),
        "drop": _tf_drawn,
    }
)
JAX: Final[Mapping[str, Writer]] = MappingProxyType(
    {
        "dropout": _masked("jnp.where(mask, x / {0!r}, 0.0)", "flax.linen.Dropout({})"),
        "drop": _jax_drawn,
    }
)
