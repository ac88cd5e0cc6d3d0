"""Other readings of optimisers and initialisers."""

from collections.abc import Callable
from functools import partial
from math import prod, sqrt
from typing import Any, Final

import numpy as np

from conformance.case.families.steps import Adagrad, Adam, AdamW
from conformance.case.job import Job
from conformance.case.model import Shape
from conformance.verdict.model import Expectation, exactly
from conformance.verdict.oracle import Expectations
from conformance.verdict.variants.reading import (
    Array,
    Reading,
    Variant,
    bounded,
    each_output,
    moved,
    numbers,
    replaced,
    reread,
    scaled,
    stored,
    with_attributes,
    with_operand,
)

_ADAMS: Final = ("adam", "adamw")
_UPDATES: Final = ("sgd", "sgd_momentum", "rmsprop", "adagrad", *_ADAMS)
# Roundings of a step of Adam beside those of 1 - beta, as the reference counts them, and then some.
_STEP: Final = 32


def _negated_gradient(job: Job) -> Reading:
    """The parameter moves the other way; the slots are as they were."""
    parameter = numbers(job.operands["parameter"])

    def change(found: Expectations) -> Expectations:
        own = found.outputs["parameter"]
        return replaced(
            found, {"parameter": Expectation(value=2 * parameter - own.value, size=own.bound, scale=own.scale)}
        )

    return Reading(job=job, change=change, rounds=True)


def _rate_ignored(job: Job) -> Reading | None:
    return reread(job, learning_rate=1.0)


def _decayed(job: Job) -> Reading:
    """Weight decay of 5e-4 that nobody asked for."""
    p, g = numbers(job.operands["parameter"]), numbers(job.operands["gradient"])
    rate = job.attributes.learning_rate
    value = p - rate * (g + 5e-4 * p)
    return Reading(
        job=job,
        change=lambda found: replaced(
            found, {"parameter": bounded(job, value, 5, np.abs(p) * (1 + rate * 5e-4) + np.abs(rate * g))}
        ),
    )


Update = Callable[[Adam, Array, Array, int], Array]


def _adam(job: Job, update: Update) -> Reading | None:
    """Another update out of the new slots m' and v'; the slots are the reference's."""
    a: Adam = job.attributes
    parameter = numbers(job.operands["parameter"])
    if isinstance(a, AdamW):
        parameter = parameter * (1 - a.learning_rate * a.weight_decay)

    def change(found: Expectations) -> Expectations:
        m, v = found.outputs["m"], found.outputs["v"]
        with np.errstate(all="ignore"):
            step = a.learning_rate * update(a, m.value, v.value, a.step)
            relative = [np.where(e.value != 0, e.bound / np.abs(e.value), 0.0) for e in (m, v)]
            slack = np.abs(step) * sum(relative)
        made = bounded(job, parameter - step, _STEP, np.abs(parameter) + np.abs(step))
        own = Expectation(value=made.value, size=made.bound + np.nan_to_num(slack), scale=made.scale)
        return replaced(found, {"parameter": own})

    return Reading(job=job, change=change, rounds=True)


def _corrections(a: Adam, step: int) -> tuple[float, float]:
    return 1 - a.beta1**step, 1 - a.beta2**step


def _uncorrected(a: Adam, m: Array, v: Array, step: int) -> Array:
    return m / (np.sqrt(v) + a.epsilon)


def _m_alone_corrected(a: Adam, m: Array, v: Array, step: int) -> Array:
    return m / _corrections(a, step)[0] / (np.sqrt(v) + a.epsilon)


def _epsilon_inside(a: Adam, m: Array, v: Array, step: int) -> Array:
    first, second = _corrections(a, step)
    return m / first / np.sqrt(v / second + a.epsilon)


def _no_root(a: Adam, m: Array, v: Array, step: int) -> Array:
    first, second = _corrections(a, step)
    return m / first / (v / second + a.epsilon)


def _sign_alone(a: Adam, m: Array, v: Array, step: int) -> Array:
    return np.sign(m)


def _epsilon_hat(job: Job, given: bool) -> Reading | None:
    return None if job.attributes.epsilon_hat is not given else reread(job, epsilon_hat=not given)


def _epsilon(job: Job, given: float, other: float) -> Reading | None:
    return reread(job, epsilon=other) if job.attributes.epsilon == given else None


def _step_off(job: Job) -> Reading:
    return Reading(job=with_attributes(job, step=job.attributes.step + 1))


def _betas_swapped(job: Job) -> Reading | None:
    return reread(job, beta1=job.attributes.beta2, beta2=job.attributes.beta1)


def _undamped(job: Job) -> Reading | None:
    """The first moment is beta m + gradient, as momentum is written in PyTorch's SGD."""
    a: Adam = job.attributes
    m, g = numbers(job.operands["m"]), numbers(job.operands["gradient"])

    def change(found: Expectations) -> Expectations:
        value = a.beta1 * m + g
        inner = _adam(job, lambda a, _, v, step: _usual(a, value, v, step))
        assert inner is not None
        changed = inner.change(found)
        return replaced(changed, {"m": bounded(job, value, 4, a.beta1 * np.abs(m) + np.abs(g))})

    return Reading(job=job, change=change, rounds=True)


def _usual(a: Adam, m: Array, v: Array, step: int) -> Array:
    first, second = _corrections(a, step)
    if a.epsilon_hat:
        return sqrt(second) / first * m / (np.sqrt(v) + a.epsilon)
    return m / first / (np.sqrt(v / second) + a.epsilon)


def _old_slots(job: Job) -> Reading | None:
    """The slots go back as they came, where any came."""
    slots = {
        name: exactly(numbers(tensor))
        for name, tensor in job.operands.items()
        if name not in ("parameter", "gradient")
    }
    if not slots:
        return None
    return Reading(job=job, change=lambda found: replaced(found, slots))


def _halved_gradient(job: Job) -> Reading:
    """A gradient that is divided once more by a loss scale of 2."""
    return Reading(job=with_operand(job, "gradient", stored(job, 0.5 * numbers(job.operands["gradient"]))))


# Momentum, RMSprop and decay ----------------------------------------------------------------------------------------


def _no_velocity(job: Job) -> Reading | None:
    """Every step starts from no velocity."""
    if "velocity" not in job.operands or getattr(job.attributes, "first", False):
        return None
    return Reading(job=with_operand(job, "velocity", stored(job, np.zeros(job.operands["velocity"].shape))))


def _first_dampened(job: Job) -> Reading | None:
    """A velocity of zeros takes its share of the first gradient, too."""
    if not job.attributes.first or not job.attributes.dampening:
        return None
    zeros = with_operand(job, "velocity", stored(job, np.zeros(job.operands["velocity"].shape)))
    return Reading(job=with_attributes(zeros, first=False))


def _not_first(job: Job) -> Reading | None:
    return reread(job, first=False)


def _averaged_velocity(job: Job) -> Reading | None:
    a = job.attributes
    if a.velocity_of == "steps" or a.nesterov or a.first or a.dampening:
        return None
    return reread(job, dampening=a.momentum)


def _other_form(job: Job) -> Reading | None:
    a = job.attributes
    if "velocity" not in job.operands or getattr(a, "first", False) or getattr(a, "dampening", 0.0):
        return None
    return reread(job, velocity_of="gradients" if a.velocity_of == "steps" else "steps")


def _decoupled(job: Job) -> Reading | None:
    """The decay is taken from the parameter, and passes the velocity by."""
    a = job.attributes
    if not a.weight_decay:
        return None
    lost = a.learning_rate * a.weight_decay * numbers(job.operands["parameter"])

    def change(found: Expectations) -> Expectations:
        own = found.outputs["parameter"]
        more = bounded(job, -lost, 5, np.abs(lost) + np.abs(own.value))
        return replaced(
            found, {"parameter": Expectation(value=own.value - lost, size=own.bound + more.bound, scale=own.scale)}
        )

    return Reading(job=with_attributes(job, weight_decay=0.0), change=change, rounds=True)


def _coupled(job: Job) -> Reading | None:
    """The decay joins the gradient, and is divided by the second moment's root."""
    decay = job.attributes.weight_decay
    if not decay:
        return None
    whole = numbers(job.operands["gradient"]) + decay * numbers(job.operands["parameter"])
    return Reading(job=with_attributes(with_operand(job, "gradient", stored(job, whole)), weight_decay=0.0))


def _decay_alone(job: Job) -> Reading | None:
    a = job.attributes
    return reread(job, weight_decay=a.weight_decay / a.learning_rate) if a.weight_decay else None


def _epsilon_elsewhere(job: Job) -> Reading | None:
    return reread(job, epsilon_inside=not job.attributes.epsilon_inside)


# Sums of squares ----------------------------------------------------------------------------------------------------


def _sum_started(job: Job, given: float, other: float) -> Reading | None:
    """A first step from another sum of squares."""
    if "v" in job.operands or job.attributes.initial != given:
        return None
    return reread(job, initial=other)


def _sum_forgotten(job: Job) -> Reading | None:
    if "v" not in job.operands:
        return None
    return Reading(job=with_operand(job, "v", stored(job, np.zeros(job.operands["v"].shape))))


def _adagrad(job: Job, divisor: Callable[[Adagrad, Array, Array], Array]) -> Reading | None:
    """Another divisor, out of the sums of squares before and after the step; the sum is the reference's."""
    a: Adagrad = job.attributes
    parameter, gradient = numbers(job.operands["parameter"]), numbers(job.operands["gradient"])
    before = numbers(job.operands["v"]) if "v" in job.operands else np.full(parameter.shape, a.initial)

    def change(found: Expectations) -> Expectations:
        with np.errstate(all="ignore"):
            step = a.learning_rate * gradient / divisor(a, before, before + gradient**2)
        return replaced(found, {"parameter": bounded(job, parameter - step, _STEP, np.abs(parameter) + np.abs(step))})

    return Reading(job=job, change=change, rounds=True)


def _under_or_beside(a: Adagrad, square: Array) -> Array:
    return np.sqrt(square + a.epsilon) if a.epsilon_inside else np.sqrt(square) + a.epsilon


# Initialisers -------------------------------------------------------------------------------------------------------


def _limit(job: Job, denominator: Callable[[Shape], float]) -> Reading | None:
    """Another limit in the place of sqrt(6 / (in + out))."""
    shape = job.operands["u"].shape
    own = prod(shape[:-2]) * (shape[-2] + shape[-1])
    factor = sqrt(own / denominator(shape))
    if factor == 1:
        return None
    return Reading(job=job, change=lambda found: each_output(found, lambda e: scaled(e, factor, job)), rounds=True)


def _without_field(shape: Shape) -> float:
    return shape[-2] + shape[-1]


def _channels_first_fans(shape: Shape) -> float:
    return prod(shape[2:]) * (shape[0] + shape[1])


def _he(shape: Shape) -> float:
    return prod(shape[:-1])


def _variance(shape: Shape) -> float:
    return 2 * prod(shape[:-2]) * (shape[-2] + shape[-1])


def _positive(job: Job) -> Reading:
    """(2 u - 1) becomes u: the limit is the whole width."""
    u = numbers(job.operands["u"])

    def change(found: Expectations) -> Expectations:
        shape = job.operands["u"].shape
        limit = sqrt(6 / (prod(shape[:-2]) * (shape[-2] + shape[-1])))
        return replaced(found, {"output": bounded(job, u * limit, 8, np.abs(u) * limit)})

    return Reading(job=job, change=change)


def _transposed_draws(job: Job) -> Reading | None:
    shape = job.operands["u"].shape
    if sum(size > 1 for size in shape) < 2:
        return None
    turned = shape[::-1]
    read = with_operand(job, "u", moved(job.operands["u"], lambda u: u.reshape(turned).transpose().reshape(shape)))
    return Reading(job=read)


def _of(read: Callable[..., Any], **given: Any) -> partial[Any]:
    return partial(read, **given)


_GENERAL: Final = "gradients and slots of general numbers"

VARIANTS: Final = (
    Variant(
        name="the parameter moves up the gradient",
        operators=_UPDATES,
        about="An update is added where it must be subtracted.",
        seen_by=_GENERAL,
        read=_negated_gradient,
    ),
    Variant(
        name="learning rate ignored",
        operators=_UPDATES,
        about="A schedule that is not wired leaves a rate of 1.",
        seen_by="a learning rate other than 1",
        read=_rate_ignored,
    ),
    Variant(
        name="weight decay of 5e-4",
        operators=("sgd",),
        about="Recipes for image networks decay weights by default.",
        seen_by="parameters of general numbers",
        read=_decayed,
    ),
    Variant(
        name="gradient halved",
        operators=_UPDATES,
        about="A loss scale or a number of replicas divides the gradient once more.",
        seen_by=_GENERAL,
        read=_halved_gradient,
    ),
    Variant(
        name="no bias correction",
        operators=_ADAMS,
        about="Both moments are used as they are, as BERT's optimiser does.",
        seen_by="an early step",
        read=_of(_adam, update=_uncorrected),
    ),
    Variant(
        name="the first moment alone corrected",
        operators=_ADAMS,
        about="One of the two corrections is forgotten.",
        seen_by="an early step",
        read=_of(_adam, update=_m_alone_corrected),
    ),
    Variant(
        name="epsilon inside the root",
        operators=_ADAMS,
        about="AdaBelief, and some RMSprops, add epsilon to the second moment before the root.",
        seen_by="an epsilon that counts, as 0.001",
        read=_of(_adam, update=_epsilon_inside),
    ),
    Variant(
        name="divided by the second moment, not its root",
        operators=_ADAMS,
        about="The square root is forgotten.",
        seen_by=_GENERAL,
        read=_of(_adam, update=_no_root),
    ),
    Variant(
        name="the sign of the moment alone",
        operators=_ADAMS,
        about="signSGD and Lion take the sign of the first moment.",
        seen_by=_GENERAL,
        read=_of(_adam, update=_sign_alone),
    ),
    Variant(
        name="epsilon added before the bias correction",
        operators=_ADAMS,
        about="TensorFlow's and Keras' Adam uses the paper's epsilon hat.",
        seen_by="an epsilon that counts, as 0.001, in an early step",
        read=partial(_epsilon_hat, given=False),
    ),
    Variant(
        name="epsilon added after the bias correction",
        operators=_ADAMS,
        about="PyTorch's Adam is the paper's algorithm 1.",
        seen_by="epsilon_hat, with an epsilon that counts",
        read=partial(_epsilon_hat, given=True),
    ),
    Variant(
        name="epsilon of 1e-7",
        operators=_ADAMS,
        about="Keras' default stands where PyTorch's 1e-8 was asked.",
        seen_by="an epsilon of 1e-8 with gradients and slots near it",
        read=partial(_epsilon, given=1e-8, other=1e-7),
    ),
    Variant(
        name="steps counted from 0",
        operators=_ADAMS,
        about="A counter that is raised before or after the update is off by one.",
        seen_by="an early step",
        read=_step_off,
    ),
    Variant(
        name="betas swapped",
        operators=_ADAMS,
        about="The decays of the two moments are exchanged.",
        seen_by=_GENERAL,
        read=_betas_swapped,
    ),
    Variant(
        name="momentum without 1 - beta",
        operators=_ADAMS,
        about="PyTorch's SGD writes momentum as beta m + gradient.",
        seen_by=_GENERAL,
        read=_undamped,
    ),
    Variant(
        name="epsilon on the other side of the root",
        operators=("rmsprop", "adagrad"),
        about="Keras adds epsilon under the root, PyTorch to it; TensorFlow has a kernel for each.",
        seen_by="an epsilon that counts, as 0.001",
        read=_epsilon_elsewhere,
    ),
    Variant(
        name="rho taken for what is new",
        operators=("rmsprop",),
        about="The decay and the share of the new square are exchanged.",
        seen_by="a rho other than 1/2",
        read=lambda job: reread(job, rho=1 - job.attributes.rho) if job.attributes.rho else None,
    ),
    Variant(
        name="epsilon of 1e-7",
        operators=("rmsprop",),
        about="Keras' default stands where PyTorch's 1e-8 was asked.",
        seen_by="an epsilon of 1e-8 with gradients and slots near it",
        read=partial(_epsilon, given=1e-8, other=1e-7),
    ),
    Variant(
        name="a sum of squares that starts at 0.1",
        operators=("adagrad",),
        about="Keras' default stands where PyTorch's 0 was asked.",
        seen_by="a first step from 0",
        read=partial(_sum_started, given=0.0, other=0.1),
    ),
    Variant(
        name="a sum of squares that starts at 0",
        operators=("adagrad",),
        about="PyTorch's default stands where Keras' 0.1 was asked.",
        seen_by="a first step from 0.1",
        read=partial(_sum_started, given=0.1, other=0.0),
    ),
    Variant(
        name="the sum of squares begun anew",
        operators=("adagrad",),
        about="What the steps before have gathered is not passed on.",
        seen_by="a sum of squares from steps before",
        read=_sum_forgotten,
    ),
    Variant(
        name="divided by the sum of squares, not its root",
        operators=("adagrad",),
        about="The square root is forgotten.",
        seen_by=_GENERAL,
        read=_of(_adagrad, divisor=lambda a, before, after: after + a.epsilon),
    ),
    Variant(
        name="divided by the root before the step",
        operators=("adagrad",),
        about="The gradient's square is added after it was divided.",
        seen_by=_GENERAL,
        read=_of(_adagrad, divisor=lambda a, before, after: _under_or_beside(a, before)),
    ),
    Variant(
        name="epsilon of 1e-7",
        operators=("adagrad",),
        about="Keras' default stands where PyTorch's 1e-10 was asked.",
        seen_by="an epsilon of 1e-10 with gradients and sums near it",
        read=partial(_epsilon, given=1e-10, other=1e-7),
    ),
    Variant(
        name="no velocity kept",
        operators=("sgd_momentum", "rmsprop"),
        about="The velocity is made anew in every step.",
        seen_by=_GENERAL,
        read=_no_velocity,
    ),
    Variant(
        name="velocity of the other form",
        operators=("sgd_momentum", "rmsprop"),
        about="A velocity of gradients (PyTorch) is taken for one of steps (Keras), or the other way round.",
        seen_by="a velocity and a learning rate other than 1",
        read=_other_form,
    ),
    Variant(
        name="Nesterov as plain momentum",
        operators=("sgd_momentum",),
        about="The flag is not passed on.",
        seen_by="nesterov",
        read=lambda job: reread(job, nesterov=False),
    ),
    Variant(
        name="plain momentum as Nesterov's",
        operators=("sgd_momentum",),
        about="The step looks ahead unasked.",
        seen_by="momentum without nesterov",
        read=lambda job: None if job.attributes.dampening else reread(job, nesterov=True),
    ),
    Variant(
        name="dampening ignored",
        operators=("sgd_momentum",),
        about="Keras and Optax have none.",
        seen_by="dampening",
        read=lambda job: None if job.attributes.first else reread(job, dampening=0.0),
    ),
    Variant(
        name="dampened by 1 - momentum",
        operators=("sgd_momentum",),
        about="The velocity is an average of gradients, as in Adam.",
        seen_by="a velocity of gradients without dampening",
        read=_averaged_velocity,
    ),
    Variant(
        name="first step like any other",
        operators=("sgd_momentum",),
        about="What stood in the velocity takes part in the first step.",
        seen_by="a first step",
        read=_not_first,
    ),
    Variant(
        name="first step dampened",
        operators=("sgd_momentum",),
        about="The first velocity starts from zeros; PyTorch's is the gradient itself.",
        seen_by="a first step with dampening",
        read=_first_dampened,
    ),
    Variant(
        name="decay decoupled",
        operators=("sgd_momentum",),
        about="Keras' weight_decay is taken from the parameter; PyTorch's SGD adds it to the gradient.",
        seen_by="a weight decay",
        read=_decoupled,
    ),
    Variant(
        name="decay coupled",
        operators=("adamw",),
        about="PyTorch's Adam adds its weight_decay to the gradient.",
        seen_by="a weight decay",
        read=_coupled,
    ),
    Variant(
        name="decay without the learning rate",
        operators=("adamw",),
        about="The paper's decay is multiplied by a schedule alone.",
        seen_by="a weight decay, and a learning rate other than 1",
        read=_decay_alone,
    ),
    Variant(
        name="decay ignored",
        operators=("sgd_momentum", "adamw"),
        about="weight_decay is not passed on.",
        seen_by="a weight decay",
        read=lambda job: reread(job, weight_decay=0.0),
    ),
    Variant(
        name="slots not updated",
        operators=_UPDATES[1:],
        about="A functional update throws its new state away.",
        seen_by=_GENERAL,
        read=_old_slots,
    ),
    *(
        Variant(
            name=name,
            operators=("glorot_uniform",),
            about=about,
            seen_by=seen_by,
            read=_of(_limit, denominator=limit),
        )
        for name, about, seen_by, limit in (
            (
                "fans without the receptive field",
                "The fans of a kernel are taken as its last two sizes.",
                "a kernel of several taps",
                _without_field,
            ),
            (
                "fans read as (out, in, taps)",
                "The kernel's shape is read in PyTorch's order.",
                "a kernel with taps and unequal sizes",
                _channels_first_fans,
            ),
            ("He's limit", "sqrt(6 / in), the initialiser for ReLU networks.", "unequal fans", _he),
            (
                "a limit of one standard deviation",
                "sqrt(3 / (in + out)): sqrt(2 / (in + out)) is the deviation, not the limit.",
                "any kernel",
                _variance,
            ),
        )
    ),
    Variant(
        name="uniform between 0 and the limit",
        operators=("glorot_uniform",),
        about="Draws are scaled and not shifted.",
        seen_by="any kernel",
        read=_positive,
    ),
    Variant(
        name="draws in another order",
        operators=("glorot_uniform",),
        about="The generator fills the kernel in another memory order.",
        seen_by="a kernel with several sizes above 1",
        read=_transposed_draws,
    ),
)
