"""How far honest trainings drift apart: what a loss curve's distance from the reference is held against.

A network in training is chaotic. A rounding moves a parameter, a unit behind a kink wakes a step earlier, and after
some dozens of steps two honest courses have losses that differ in their first digit. A fixed tolerance calls that an
error, or an error chaos. So the distance is measured against one that is honest for certain: that of a *stray*, the
reference as a framework in float32 may compute it, or one in mixed precision. Every output and gradient of every
layer has noise of the size that its own bound allows (`free_running`), and every update is longer or shorter, for all
parameters alike, by noise of what the optimizer's bound allows. Powers of beta in float32 do just that: 1 - beta^t
cancels, and every element of an update has its error. (Without noise, float32 is the reference rounded: nearer to it
than sums in any order are.)

*The rule.* D(t) is the largest distance of a curve from the reference's up to step t, Y(t) the stray's, and never
less than what one honest loss may be off, given the reference's own logits. The curve is outside from the first step
at which D(t) > `FACTOR` Y(t + `LEAD`). Largest so far, for curves cross each other, and a distance that is small by
luck says nothing; some steps ahead, for the one meets a kink before the other. It is an estimate: it makes a note,
never a verdict.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from conformance.case.families.steps import Adam
from conformance.case.inputs import draw_words, uniform
from conformance.case.job import Job, Tensor
from conformance.case.training import Training
from conformance.formats import FORMATS, Float64
from conformance.verdict import oracle
from conformance.verdict.free_running import deviation, stray
from conformance.verdict.model import Expectation
from conformance.verdict.oracle import Accumulators

# One stray is one draw. A unit that wakes moves a loss by many times what rounding does, and need not wake in the
# stray: 15 times in the variant of AlexNet, at step 20, in torch and TensorFlow alike. This is twice that.
FACTOR: Final = 32.0
# Honest courses of the MNIST network met their first kink at steps 12 and 20.
LEAD: Final = 8
# Bounds cost three times the reference; by then courses here are some thousandths apart, and an error is seen.
STEPS: Final = 30

_UNIT: Final = FORMATS["float32"].unit


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """How a loss curve lies to the yardstick.

    Attributes:
        outside: the first step outside; None if every one that was measured is inside.
        ratio: the largest D(t) / Y(t + `LEAD`).
        steps: so many were measured.
    """

    outside: int | None
    ratio: float
    steps: int


def measure(
    losses: Sequence[float], reference: Sequence[float], strays: Sequence[float], bounds: Sequence[float]
) -> Drift:
    """Holds a loss curve against the stray's.

    Args:
        losses: of the one that is measured, of every step.
        reference: the reference's.
        strays: the stray's, of the first steps.
        bounds: how far one honest loss may be off.
    """
    steps = min(map(len, (losses, reference, strays, bounds)))
    if not steps:
        return Drift(outside=None, ratio=0.0, steps=0)
    far = farthest(losses[:steps], reference)
    honest = np.maximum(farthest(strays[:steps], reference), np.maximum.accumulate(np.asarray(bounds[:steps])))
    ratio = far / honest[np.minimum(np.arange(steps) + LEAD, steps - 1)]
    outside = np.flatnonzero(ratio > FACTOR)
    return Drift(outside=int(outside[0]) + 1 if outside.size else None, ratio=float(ratio.max()), steps=steps)


def farthest(losses: Sequence[float], others: Sequence[float]) -> Float64:
    """The largest distance of two curves up to each step; a loss that is no number is infinitely far."""
    steps = min(len(losses), len(others))
    distance = np.abs(np.asarray(losses[:steps], np.float64) - np.asarray(others[:steps], np.float64))
    far: Float64 = np.maximum.accumulate(np.where(np.isnan(distance), np.inf, distance))
    return far


def stray_losses(
    training: Training,
    parameters: dict[str, Tensor],
    operands: Callable[[int], dict[str, Tensor]],
    steps: int,
    layer_formats: tuple[tuple[str, str, str], ...] = (),
) -> tuple[float, ...]:
    """The losses of the stray's first steps.

    Args:
        training: what is trained.
        parameters: where everybody starts.
        operands: what everybody is given at a step, which counts from 1.
        steps: of the whole training.
        layer_formats: what layers compute in, and give, in mixed precision; see `Description`.
    """
    loss = training.network.layers[-1].name
    held = {name: _in_float64(tensor) for name, tensor in parameters.items()}
    slots = ("m", "v") if training.optimizer == "adam" else ()
    for name in training.learned:
        held |= {f"{name}/{slot}": Tensor("float64", np.zeros(parameters[name].shape)) for slot in slots}
    losses = []
    for step in range(1, min(steps, STEPS) + 1):
        job = Job(
            case_id=training.id,
            operator="chain",
            attributes=training.network,
            format="float32",
            layout="native",
            data="given",
            operands={name: _in_float64(tensor) for name, tensor in operands(step).items()}
            | {name: held[name] for name in parameters},
            cotangents={loss: Tensor("float64", np.ones(()))},
        )
        found = stray(job, Accumulators(layer_formats=layer_formats), f"{training.seed} stray {step}")
        losses.append(float(found["outputs", loss]))
        lengths = 2 * uniform(draw_words(training.seed.encode(), f"stray update {step}", 1 + len(slots))) - 1
        for name in training.learned:
            given = {"parameter": oracle.to_float64(held[name]), "gradient": found["gradients", name]}
            given |= {slot: oracle.to_float64(held[f"{name}/{slot}"]) for slot in slots}
            for output, value in _updated(training, step, given, lengths).items():
                held[name if output == "parameter" else f"{name}/{output}"] = Tensor("float64", value)
    return tuple(losses)


def _updated(training: Training, step: int, given: dict[str, Float64], lengths: Float64) -> dict[str, Float64]:
    """An update, longer or shorter than it should be: the parameter and its slots."""
    attributes = training.optimizer_attributes
    if isinstance(attributes, Adam):
        attributes = replace(attributes, step=step)
    expected = oracle.expect_operator(
        training.optimizer, attributes, given, {}, "float32", Accumulators(), exact=False
    ).outputs
    made = {}
    for output, length in zip(expected, lengths, strict=True):
        expectation = expected[output]
        # A parameter starts from what it was; a slot, which shrinks at every step, from nothing, and keeps its sign.
        moved = expectation.value - (given["parameter"] if output == "parameter" else 0.0)
        noise = length * _spread(expectation) * np.sign(moved)
        made[output] = expectation.value + np.clip(noise, -np.abs(moved), np.abs(moved))
    return made


def _spread(expectation: Expectation) -> Float64:
    """The end of the interval, around 0, whose uniform numbers deviate as much as an honest update."""
    return deviation(expectation, _UNIT, _UNIT) * math.sqrt(3)


def _in_float64(tensor: Tensor) -> Tensor:
    """The same numbers in float64; labels and masks stay."""
    return Tensor("float64", oracle.to_float64(tensor)) if tensor.format in FORMATS else tensor
