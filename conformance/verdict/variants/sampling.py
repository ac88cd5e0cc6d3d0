"""Other readings of what draws its own numbers: another law, or draws that are not independent."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from math import isclose, prod, sqrt
from typing import Final

import numpy as np

from conformance.case.job import Job
from conformance.case.model import Shape
from conformance.formats import Float64
from conformance.verdict.model import Drawn, Sample, Thinned
from conformance.verdict.oracle import Expectations
from conformance.verdict.variants.reading import Reading, Variant, reread, scaled

INITIALIZE: Final = ("initialize",)
DROPOUT: Final = ("random_dropout",)
# The deviation of a normal number that lies within twice its own.
_CUT: Final = 0.87962566103423978

Change = Callable[[Sample], Sample]


def _changed(job: Job, change: Change) -> Reading:
    def each(found: Expectations) -> Expectations:
        return replace(found, samples={name: change(sample) for name, sample in found.samples.items()})

    return Reading(job=job, change=each)


def _stretched(sample: Sample, factor: float) -> Sample:
    """The law of numbers that are multiplied."""
    assert isinstance(sample, Drawn)
    return replace(
        sample,
        end=factor * sample.end,
        square=factor**2 * sample.square,
        fourth=factor**4 * sample.fourth,
        mean=factor * sample.mean,
        below=lambda x: sample.below(x / factor),
        draw=lambda generator: factor * sample.draw(generator),
        about=f"{factor:.6g} times {sample.about}",
    )


# Initialisers -------------------------------------------------------------------------------------------------------


def _fans(shape: Shape) -> tuple[float, float]:
    taps = prod(shape[:-2])
    return taps * shape[-2], taps * shape[-1]


def _variance(scheme: str, fans: tuple[float, float]) -> float:
    into, out = fans
    return {"glorot": 2 / (into + out), "he": 2 / into, "lecun": 1 / into}[scheme]


Fans = Callable[[Job], tuple[float, float]]


def _other_fans(job: Job, fans: Fans) -> Reading | None:
    scheme = job.attributes.scheme
    if scheme == "constant":
        return None
    ratio = _variance(scheme, fans(job)) / _variance(scheme, _fans(job.operands["w"].shape))
    return None if ratio == 1 else _changed(job, lambda sample: _stretched(sample, sqrt(ratio)))


def _without_field(job: Job) -> tuple[float, float]:
    shape = job.operands["w"].shape
    return shape[-2], shape[-1]


def _swapped(job: Job) -> tuple[float, float]:
    into, out = _fans(job.operands["w"].shape)
    return out, into


def _channels_first(job: Job) -> tuple[float, float]:
    shape = job.operands["w"].shape
    taps = prod(shape[2:])
    return shape[1] * taps, shape[0] * taps


def _as_depthwise(job: Job) -> tuple[float, float]:
    """Keras' depthwise kernel is (*taps, channels, multiplier)."""
    shape, groups = job.operands["w"].shape, job.attributes.groups
    if groups == 1 or shape[-2] != 1:
        return _fans(shape)
    taps = prod(shape[:-2])
    return taps * groups, taps * shape[-1] / groups


def _of_a_group(job: Job) -> tuple[float, float]:
    into, out = _fans(job.operands["w"].shape)
    return into, out / job.attributes.groups


def _of_the_layer(job: Job) -> tuple[float, float]:
    into, out = _fans(job.operands["w"].shape)
    return into * job.attributes.groups, out


def _scheme(job: Job, given: str, other: str) -> Reading | None:
    return reread(job, scheme=other) if job.attributes.scheme == given else None


def _distribution(job: Job, given: str, other: str) -> Reading | None:
    return reread(job, distribution=other) if job.attributes.distribution == given else None


def _not_widened(job: Job) -> Reading | None:
    a = job.attributes
    if a.scheme == "constant" or a.distribution != "truncated_normal":
        return None
    return _changed(job, lambda sample: _stretched(sample, _CUT))


def _widened(job: Job) -> Reading | None:
    a = job.attributes
    if a.scheme != "constant" or a.distribution != "truncated_normal":
        return None
    return _changed(job, lambda sample: _stretched(sample, 1 / _CUT))


def _cut_at_two(job: Job) -> Reading | None:
    """Ends at -2 and 2 whatever the deviation: there, nothing is cut off."""
    a = job.attributes
    if a.scheme != "constant" or a.distribution != "truncated_normal" or a.scale > 0.1:
        return None  # 2 is 20 deviations away
    return reread(job, distribution="normal")


def _deviation_for_end(job: Job) -> Reading | None:
    if job.attributes.distribution != "uniform":
        return None
    return _changed(job, lambda sample: _stretched(sample, 1 / sqrt(3)))


def _variance_for_deviation(job: Job) -> Reading | None:
    if job.attributes.distribution == "uniform":
        return None

    def change(sample: Sample) -> Sample:
        assert isinstance(sample, Drawn)
        return _stretched(sample, sqrt(sample.square))

    return _changed(job, change)


def _positive(job: Job) -> Reading | None:
    """Draws in [0, end) that nobody moved: the law is no longer symmetric."""
    if job.attributes.distribution != "uniform":
        return None

    def change(sample: Sample) -> Sample:
        assert isinstance(sample, Drawn)
        if sample.mean or not isclose(3 * sample.square, sample.end**2):
            return sample  # another reading has already made it another law, or moved it
        return replace(
            sample,
            mean=sample.end / 2,
            below=lambda x: np.clip(2 * sample.below(x) - 1, 0.0, 1.0),
            draw=lambda generator: np.abs(sample.draw(generator)),
            about=f"the positive half of {sample.about}",
        )

    return _changed(job, change)


# Draws that are not independent -------------------------------------------------------------------------------------


def _shared(job: Job, axis: int) -> Reading | None:
    """One draw for all places of an axis."""
    shape = next(iter(job.operands.values())).shape
    if len(shape) < 2 or shape[axis] == 1:
        return None

    def change(sample: Sample) -> Sample:
        axes = tuple(sorted({*sample.shared, axis % len(shape)}))
        if isinstance(sample, Drawn):
            return replace(sample, shared=axes, draw=lambda generator: _spread(sample.draw(generator), axis))

        def masked(generator: np.random.Generator) -> Float64:
            kept = _spread(sample.draw(generator) != 0, axis)
            return np.where(kept, sample.kept.value, 0.0)

        return replace(sample, shared=axes, draw=masked)

    return _changed(job, change)


def _spread(drawn: Float64, axis: int) -> Float64:
    return np.broadcast_to(np.take(drawn, [0], axis=axis), drawn.shape).copy()


def _repeated(job: Job) -> Reading:
    """The generator starts anew for every call."""

    def change(found: Expectations) -> Expectations:
        return replace(
            found,
            samples={
                name: replace(sample, repeated=True, draw=partial(_started_anew, sample.draw))
                for name, sample in found.samples.items()
            },
        )

    return Reading(job=job, change=change)


def _started_anew(draw: Callable[[np.random.Generator], Float64], generator: np.random.Generator) -> Float64:
    return draw(np.random.Generator(np.random.Philox(0)))


# Dropout ------------------------------------------------------------------------------------------------------------


def _rate_for_keep(job: Job) -> Reading | None:
    rate = job.attributes.rate
    return None if rate in (0, 0.5) else reread(job, rate=1 - rate)


def _scaled(job: Job, factor: Callable[[float], float]) -> Reading | None:
    keep = 1 - job.attributes.rate
    by = factor(keep)
    if by == 1:
        return None

    def change(sample: Sample) -> Sample:
        assert isinstance(sample, Thinned)
        return replace(sample, kept=scaled(sample.kept, by, job), draw=lambda generator: by * sample.draw(generator))

    return _changed(job, change)


def _nothing_dropped(job: Job) -> Reading | None:
    """Inference: everything passes as it is."""
    return reread(job, rate=0.0)


_UNEQUAL: Final = "fans in and out that differ"

VARIANTS: Final = (
    *(
        Variant(name=name, operators=INITIALIZE, about=about, seen_by=seen_by, read=partial(_other_fans, fans=fans))
        for name, about, seen_by, fans in (
            (
                "fans without the receptive field",
                "The fans of a kernel are taken as its last two sizes.",
                "a kernel of several taps",
                _without_field,
            ),
            ("fan out for fan in", "mode fan_out of ResNets, or a kernel that is transposed.", _UNEQUAL, _swapped),
            (
                "fans read as (out, in, taps)",
                "The kernel's shape is read in PyTorch's order.",
                "a kernel with taps and unequal sizes",
                _channels_first,
            ),
            (
                "depthwise kernel counted as (taps, channels, multiplier)",
                "Keras' depthwise kernels have their channels where others have channels in.",
                "a depthwise kernel",
                _as_depthwise,
            ),
            ("fan out of one group", "Channels out are divided by the groups.", "groups", _of_a_group),
            ("fan in of the whole layer", "Channels in are multiplied by the groups.", "groups", _of_the_layer),
        )
    ),
    *(
        Variant(
            name=f"{other} for {given}",
            operators=INITIALIZE,
            about="Frameworks have other initialisers by default.",
            seen_by=f"the scheme {given} with fans in and out that differ",
            read=partial(_scheme, given=given, other=other),
        )
        for given, other in (
            ("glorot", "lecun"),
            ("glorot", "he"),
            ("he", "lecun"),
            ("lecun", "he"),
            ("he", "glorot"),
        )
    ),
    *(
        Variant(
            name=f"{other.replace('_', ' ')} for {given.replace('_', ' ')}",
            operators=INITIALIZE,
            about=about,
            seen_by=f"the distribution {given}",
            read=partial(_distribution, given=given, other=other),
        )
        for given, other, about in (
            ("normal", "truncated_normal", "Keras' GlorotNormal and HeNormal are cut off; PyTorch's are not."),
            ("truncated_normal", "normal", "PyTorch's normal initialisers are not cut off; Keras' are."),
            ("uniform", "normal", "The same scheme has two laws."),
            ("normal", "uniform", "The same scheme has two laws."),
        )
    ),
    Variant(
        name="cut off and not widened",
        operators=INITIALIZE,
        about="What a truncated normal loses of its deviation, 12 %, is not made up for.",
        seen_by="a truncated normal of a scheme",
        read=_not_widened,
    ),
    Variant(
        name="widened although the scale is given",
        operators=INITIALIZE,
        about="The given deviation is taken for that of what is left.",
        seen_by="a truncated normal of a constant scale",
        read=_widened,
    ),
    Variant(
        name="cut off at 2, not at two deviations",
        operators=INITIALIZE,
        about="PyTorch's trunc_normal_ has absolute ends of -2 and 2 by default.",
        seen_by="a truncated normal of a small constant scale",
        read=_cut_at_two,
    ),
    Variant(
        name="the deviation for the end",
        operators=INITIALIZE,
        about="A uniform law of deviation s ends at sqrt(3) s.",
        seen_by="a uniform law",
        read=_deviation_for_end,
    ),
    Variant(
        name="the variance for the deviation",
        operators=INITIALIZE,
        about="A normal law is asked for by its variance where it takes a deviation.",
        seen_by="a normal law",
        read=_variance_for_deviation,
    ),
    Variant(
        name="positive numbers alone",
        operators=INITIALIZE,
        about="JAX's uniform initialiser draws from 0 up.",
        seen_by="a uniform law",
        read=_positive,
    ),
    *(
        Variant(
            name=f"one draw along axis {axis}",
            operators=(*INITIALIZE, *DROPOUT),
            about="A draw is broadcast: spatial dropout shares its mask along the spatial axes.",
            seen_by=f"several places along axis {axis}",
            read=partial(_shared, axis=axis),
        )
        for axis in (0, -1, 1)
    ),
    Variant(
        name="the same numbers in every call",
        operators=(*INITIALIZE, *DROPOUT),
        about="A number for a seed starts the generator anew, as in Keras' initialisers.",
        seen_by="two draws",
        read=_repeated,
    ),
    Variant(
        name="rate taken for keep",
        operators=DROPOUT,
        about="TensorFlow 1 was given the probability of keeping, TensorFlow 2 that of dropping.",
        seen_by="a rate other than 1/2 and 0",
        read=_rate_for_keep,
    ),
    Variant(
        name="kept elements not scaled",
        operators=DROPOUT,
        about="Dropout as first published scales at inference, not in training.",
        seen_by="a rate above 0",
        read=partial(_scaled, factor=lambda keep: keep),
    ),
    Variant(
        name="kept elements multiplied by keep",
        operators=DROPOUT,
        about="The scale is turned round.",
        seen_by="a rate above 0",
        read=partial(_scaled, factor=lambda keep: keep**2),
    ),
    Variant(
        name="nothing dropped",
        operators=DROPOUT,
        about="The layer is left in its mode for inference.",
        seen_by="a rate above 0",
        read=_nothing_dropped,
    ),
)
