"""The dialects, by the names that users type."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from conformance.dialects import jax, keras, tensorflow, torch
from conformance.dialects.model import Question, Unwritten, Written


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """How a framework is spoken.

    Attributes:
        name: what users call it, as a target's backend.
        title: what people call it.
        modules: what must be importable for its calls to run.
        layered: its calls are layers, one after the other; else statements.
        channels_first: its data is (batch, channels, *spatial).
        prelude: the imports under which its calls run.
        write: a question as its call.
        script: a call as the body of a function that runs it.
    """

    name: str
    title: str
    modules: tuple[str, ...]
    layered: bool
    channels_first: bool = False
    prelude: tuple[str, ...]
    write: Callable[[Question], Written | Unwritten]
    script: Callable[[Written, Question], tuple[str, ...]]


DIALECTS: Final[Mapping[str, Dialect]] = MappingProxyType(
    {
        dialect.name: dialect
        for dialect in (
            Dialect(
                name="torch",
                title="PyTorch",
                modules=("torch",),
                layered=True,
                channels_first=True,
                prelude=torch.PRELUDE,
                write=torch.write,
                script=torch.script,
            ),
            Dialect(
                name="keras",
                title="Keras",
                modules=("keras", "tensorflow"),
                layered=True,
                prelude=keras.PRELUDE,
                write=keras.write,
                script=keras.script,
            ),
            Dialect(
                name="tf",
                title="TensorFlow",
                modules=("tensorflow",),
                layered=False,
                prelude=tensorflow.PRELUDE,
                write=tensorflow.write,
                script=tensorflow.script,
            ),
            Dialect(
                name="jax",
                title="JAX",
                modules=("jax",),
                layered=False,
                prelude=jax.PRELUDE,
                write=jax.write,
                script=jax.script,
            ),
        )
    }
)
