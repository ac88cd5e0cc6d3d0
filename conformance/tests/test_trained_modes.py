"""Steps of trainings in the modes of real frameworks: compiled ones are compiled, and every one is judged.

Selected by framework (`pytest -m torch`) in the environment that has it; nothing here imports the tests' other parts,
so that an installed package is tested.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import pytest

from conformance.case.job import Target
from conformance.case.listing import default_root
from conformance.case.training import Training, load_trainings
from conformance.run.course import Course, ReferenceCourse
from conformance.run.digits import read_digits
from conformance.run.engine import Session
from conformance.run.training import train_learner
from conformance.verdict.deviations import shipped_deviations

# Compilers take their time before the first step.
SECONDS: Final = 600.0
# What the record of a mode's network says of how it is driven; forward, gradients and update.
DRIVEN: Final = {
    "torch+compile": (
        "network = torch.compile(network, fullgraph=True, dynamic=False)",
        "optimizer.step = torch.compile(optimizer.step, dynamic=False)",
    ),
    "torch+mixed": ("with torch.autocast(device, dtype=torch.bfloat16): loss = network(x)",),
    "tf+mixed": (" = tf.cast(", "_w, 'bfloat16')"),
    "jax+mixed": (" = lax.convert_element_type(", "_w, 'bfloat16')"),
    "tf+function": ("step = tf.function(step)", " Conv2D,", " Conv2DBackpropFilter,", " ResourceApply"),
    "tf+xla": ("step = tf.function(step, jit_compile=True)", " Conv2D,", " Conv2DBackpropFilter,", " ResourceApply"),
    "jax": ("step = jax.jit(step)",),
    "jax+eager": ('jax.config.update("jax_disable_jit", True)',),
    **{
        f"keras-{below}+mixed": ('keras.config.set_dtype_policy("mixed_bfloat16")',)
        for below in ("tf", "torch", "jax")
    },
}


def marked(*names: str) -> list[object]:
    """Targets as parameters, each with its framework's mark."""
    return [
        pytest.param(name, marks=getattr(pytest.mark, name.partition("+")[0].partition("-")[0])) for name in names
    ]


# Plain descent; Adam whose epsilon is corrected, and dropout; normalisations that keep statistics.
TRAININGS: Final = (
    "training/one-convolution/sgd-0.01",
    "training/keras-sequential/adam",
    "training/alexnet-variant/adam",
)


@pytest.fixture(scope="module")
def shipped() -> dict[str, Training]:
    return {training.id: training for training in load_trainings((default_root() / "training",))}


@pytest.mark.parametrize("name", marked(*DRIVEN))
def test_steps_in_a_mode_agree_and_say_how_they_are_driven(name: str, shipped: dict[str, Training]) -> None:
    steps_agree(name, [replace(shipped[id_], batch=8, most_steps=3, judged_steps=2) for id_ in TRAININGS])


@pytest.mark.parametrize("name", marked("keras-jax+mixed"))
def test_a_network_that_is_compiled_layer_by_layer_casts_in_every_layer(
    name: str, shipped: dict[str, Training]
) -> None:
    steps_agree(name, [replace(shipped["training/resnet-50/sgd"], most_steps=1, judged_steps=1)])


def steps_agree(name: str, trainings: Sequence[Training]) -> None:
    """Trains, and makes sure that every judged step is as it must be, in the mode that is asked for."""
    session = Session(Target.parse(name))
    assert session.worker is not None
    try:
        for training in trainings:
            digits = read_digits(training.data)
            digits = replace(digits, test_images=digits.test_images[:8], test_labels=digits.test_labels[:8])
            result, record = train_learner(
                Course(replace(training, accuracy=None), digits),
                session.target,
                session.description,
                session.worker,
                ReferenceCourse,
                deviations=shipped_deviations(),
                timeout=SECONDS,
            )
            assert not result.unexpected, (training.id, result.detail)
            assert len(record["losses"]) == training.most_steps
            for line in DRIVEN[name]:
                assert line in record["network_text"], training.id
    finally:
        session.close()
