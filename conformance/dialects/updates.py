"""One update of a parameter: an optimizer's step from slots that are given, or its recipe, as statements.

A recipe is arithmetic, which all frameworks write alike; only the root has their names.
"""

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from conformance.dialects.model import Question, Unwritten, Writer, Written
from conformance.dialects.source import Name, called, rest
from conformance.dialects.statements import stated

_PARAMETERS: Final = Name("[parameter]")
Settings = Mapping[str, tuple[object, object]]


# Optimizers as frameworks have them ---------------------------------------------------------------------------------


def _torch(
    question: Question, kind: str, settings: Settings, slots: Mapping[str, str], *, step: int | None, remark: str = ""
) -> Written:
    """A step of `torch.optim`.

    Args:
        question: what is asked.
        kind: the optimizer's class.
        settings: its arguments and their defaults.
        slots: what the optimizer calls its state, by operand; what is not given it makes itself.
        step: counted from 1; None where the optimizer counts none.
        remark: what is to be known.
    """
    given = {name: slot for name, slot in slots.items() if name in question.shapes}
    made = [name for name in slots if name not in given]
    state = [f'"step": torch.tensor({step - 1}.0)'] if step is not None else []
    state += [f'"{slot}": {name}' for name, slot in given.items()]
    lines = [
        f"optimizer = {called(f'torch.optim.{kind}', _PARAMETERS, **settings)}",
        *([f"optimizer.state[parameter] = {{{', '.join(state)}}}"] if given else []),
        "parameter.grad = gradient",
        "optimizer.step()",
        *(f'{name} = optimizer.state[parameter]["{slots[name]}"]' for name in made),
    ]
    *others, last = "parameter", *given
    changed = f"{', '.join(others)} and {last} change in place" if others else "parameter changes in place"
    return stated(question, *lines, remark="; ".join(filter(None, [remark, changed])))


def _keras(
    question: Question,
    keras: str,
    kind: str,
    settings: Settings,
    slots: Mapping[str, str],
    *,
    step: int = 1,
    before: tuple[str, ...] = (),
    remark: str = "",
) -> Written:
    """As `_torch`, of `keras.optimizers`; `keras` is what stands before its modules' names."""
    variable = "tf.Variable(parameter)" if keras else "keras.Variable(parameter)"
    lines = [
        *before,
        f"variable = {variable}",
        f"optimizer = {called(f'{keras}optimizers.{kind}', **settings)}",
        "optimizer.build([variable])",
        *([f"optimizer.iterations.assign({step - 1})"] if step > 1 else []),
        *(f"optimizer.{slot}[0].assign({name})" for name, slot in slots.items() if name in question.shapes),
        "optimizer.apply([gradient], [variable])",
        f"{', '.join(['parameter', *slots])} = "
        f"{', '.join(['variable', *(f'optimizer.{slot}[0]' for slot in slots.values())])}",
    ]
    return stated(question, *lines, remark=remark)


# Gradient descent ---------------------------------------------------------------------------------------------------


def _torch_sgd(question: Question) -> Written:
    return _torch(question, "SGD", {"lr": (question.attributes.learning_rate, None)}, {}, step=None)


def _keras_sgd(keras: str) -> Writer:
    def write(question: Question) -> Written:
        return _keras(question, keras, "SGD", {"learning_rate": (question.attributes.learning_rate, None)}, {})

    return write


def _sgd(remark: str) -> Writer:
    def write(question: Question) -> Written:
        line = f"parameter = parameter - {question.attributes.learning_rate!r} * gradient"
        return stated(question, line, remark=remark)

    return write


def _decayed(a: Any) -> tuple[str, ...]:
    return (f"gradient = gradient + {a.weight_decay!r} * parameter",) if a.weight_decay else ()


def _momentum(remark: str) -> Writer:
    """The recipe of both kinds of velocity."""

    def write(question: Question) -> Written:
        a = question.attributes
        rate, share = repr(a.learning_rate), repr(a.momentum)
        if a.velocity_of == "steps":
            step = f"{share} * velocity - {rate} * gradient"
            lines = [f"velocity = {step}", f"parameter = parameter + {step if a.nesterov else 'velocity'}"]
        else:
            coming = f"{rest(a.dampening)!r} * gradient" if a.dampening else "gradient"
            made = "gradient" if a.first else f"{share} * velocity + {coming}"
            step = f"(gradient + {share} * velocity)" if a.nesterov else "velocity"
            lines = [f"velocity = {made}", f"parameter = parameter - {rate} * {step}"]
        return stated(question, *_decayed(a), *lines, remark=remark)

    return write


def _torch_momentum(question: Question) -> Written | Unwritten:
    a = question.attributes
    if a.velocity_of == "steps":
        return _momentum("torch's SGD keeps a velocity of gradients")(question)
    settings = {
        "lr": (a.learning_rate, None),
        "momentum": (a.momentum, 0.0),
        "dampening": (a.dampening, 0.0),
        "weight_decay": (a.weight_decay, 0.0),
        "nesterov": (a.nesterov, False),
    }
    made = _torch(question, "SGD", settings, {"velocity": "momentum_buffer"}, step=None)
    if not a.first:
        return made
    first = [line for line in made.lines if not line.startswith("optimizer.state")]
    return stated(
        question,
        *first,
        'velocity = optimizer.state[parameter]["momentum_buffer"]',
        remark="the first step, before which torch has no velocity; parameter changes in place",
    )


def _keras_momentum(keras: str) -> Writer:
    def write(question: Question) -> Written | Unwritten:
        a = question.attributes
        if a.velocity_of == "gradients":
            return _momentum("Keras's SGD keeps a velocity of steps")(question)
        settings = {
            "learning_rate": (a.learning_rate, None),
            "momentum": (a.momentum, 0.0),
            "nesterov": (a.nesterov, False),
        }
        remark = "Keras's own weight_decay is taken off the parameter, not added to the gradient"
        return _keras(
            question,
            keras,
            "SGD",
            settings,
            {"velocity": "momentums"},
            before=_decayed(a),
            remark=remark if a.weight_decay else "",
        )

    return write


# Adam ---------------------------------------------------------------------------------------------------------------

_MOMENTS: Final = {"m": "exp_avg", "v": "exp_avg_sq"}
_KERAS_MOMENTS: Final = {"m": "_momentums", "v": "_velocities"}


def _decay(question: Question, default: float) -> Settings:
    attributes = question.attributes
    return {"weight_decay": (attributes.weight_decay, default)} if question.operator == "adamw" else {}


def _torch_adam(question: Question) -> Written:
    a = question.attributes
    epsilon, remark = a.epsilon, ""
    if a.epsilon_hat:
        epsilon /= math.sqrt(1 - a.beta2**a.step)
        remark = f"torch adds eps behind the bias correction, so that this one is for step {a.step} alone"
    settings = {
        "lr": (a.learning_rate, None),
        "betas": ((a.beta1, a.beta2), (0.9, 0.999)),
        "eps": (epsilon, 1e-8),
        **_decay(question, 0.01),
    }
    kind = {"adam": "Adam", "adamw": "AdamW"}[question.operator]
    return _torch(question, kind, settings, _MOMENTS, step=a.step, remark=remark)


def _keras_adam(keras: str) -> Writer:
    def write(question: Question) -> Written:
        a = question.attributes
        epsilon, remark = a.epsilon, ""
        if not a.epsilon_hat:
            epsilon *= math.sqrt(1 - a.beta2**a.step)
            remark = f"Keras adds epsilon before the bias correction, so that this one is for step {a.step} alone"
        settings = {
            "learning_rate": (a.learning_rate, None),
            "beta_1": (a.beta1, 0.9),
            "beta_2": (a.beta2, 0.999),
            "epsilon": (epsilon, 1e-7),
            **_decay(question, 0.004),
        }
        kind = {"adam": "Adam", "adamw": "AdamW"}[question.operator]
        return _keras(question, keras, kind, settings, _KERAS_MOMENTS, step=a.step, remark=remark)

    return write


def _jax_adam(question: Question) -> Written:
    a = question.attributes
    first, second = f"(1 - {a.beta1!r}**{a.step})", f"(1 - {a.beta2!r}**{a.step})"
    step = f"(m / {first}) / (jnp.sqrt(v / {second}) + {a.epsilon!r})"
    if a.epsilon_hat:
        step = f"({second}**0.5 / {first}) * m / (jnp.sqrt(v) + {a.epsilon!r})"
    decay = []
    if question.operator == "adamw":
        decay = [f"parameter = parameter - {a.learning_rate!r} * {a.weight_decay!r} * parameter"]
    return stated(
        question,
        f"m = {a.beta1!r} * m + {rest(a.beta1)!r} * gradient",
        f"v = {a.beta2!r} * v + {rest(a.beta2)!r} * gradient**2",
        *decay,
        f"parameter = parameter - {a.learning_rate!r} * {step}",
        remark=_JAX_LACKS,
    )


# RMSprop ------------------------------------------------------------------------------------------------------------


def _divided(root: str, square: str, a: Any) -> str:
    if a.epsilon_inside:
        return f"gradient / {root}({square} + {a.epsilon!r})"
    return f"gradient / ({root}({square}) + {a.epsilon!r})"


def _rmsprop(root: str, remark: str) -> Writer:
    """The recipe of all its forms."""

    def write(question: Question) -> Written:
        a, there = question.attributes, question.shapes
        rate, keep, come = repr(a.learning_rate), repr(a.rho), repr(rest(a.rho))
        lines = [f"v = {keep} * v + {come} * gradient**2"]
        if "mean" in there:
            lines.append(f"mean = {keep} * mean + {come} * gradient")
        step = _divided(root, "v - mean**2" if "mean" in there else "v", a)
        if "velocity" not in there:
            lines.append(f"parameter = parameter - {rate} * {step}")
        elif a.velocity_of == "steps":
            lines.append(f"velocity = {a.momentum!r} * velocity + {rate} * {step}")
            lines.append("parameter = parameter - velocity")
        else:
            lines.append(f"velocity = {a.momentum!r} * velocity + {step}")
            lines.append(f"parameter = parameter - {rate} * velocity")
        return stated(question, *lines, remark=remark)

    return write


def _slots(question: Question, slots: Mapping[str, str]) -> dict[str, str]:
    return {name: slot for name, slot in slots.items() if name in question.shapes}


def _torch_rmsprop(question: Question) -> Written | Unwritten:
    a = question.attributes
    if a.epsilon_inside or ("velocity" in question.shapes and a.velocity_of == "steps"):
        remark = "torch's RMSprop adds eps outside the root, and keeps a velocity of gradients"
        return _rmsprop("torch.sqrt", remark)(question)
    settings = {
        "lr": (a.learning_rate, None),
        "alpha": (a.rho, 0.99),
        "eps": (a.epsilon, 1e-8),
        "momentum": (a.momentum, 0.0),
        "centered": ("mean" in question.shapes, False),
    }
    slots = {"v": "square_avg", "mean": "grad_avg", "velocity": "momentum_buffer"}
    return _torch(question, "RMSprop", settings, _slots(question, slots), step=1)


def _keras_rmsprop(keras: str, root: str) -> Writer:
    def write(question: Question) -> Written | Unwritten:
        a = question.attributes
        if not a.epsilon_inside or ("velocity" in question.shapes and a.velocity_of == "gradients"):
            remark = "Keras's RMSprop adds epsilon inside the root, and keeps a velocity of steps"
            return _rmsprop(root, remark)(question)
        settings = {
            "learning_rate": (a.learning_rate, None),
            "rho": (a.rho, 0.9),
            "momentum": (a.momentum, 0.0),
            "epsilon": (a.epsilon, 1e-7),
            "centered": ("mean" in question.shapes, False),
        }
        slots = {"v": "_velocities", "mean": "_average_gradients", "velocity": "_momentums"}
        return _keras(question, keras, "RMSprop", settings, _slots(question, slots))

    return write


# Adagrad ------------------------------------------------------------------------------------------------------------


def _adagrad(root: str, remark: str) -> Writer:
    def write(question: Question) -> Written:
        a = question.attributes
        before = "v" if "v" in question.shapes else repr(a.initial)
        return stated(
            question,
            f"v = {before} + gradient**2",
            f"parameter = parameter - {a.learning_rate!r} * {_divided(root, 'v', a)}",
            remark=remark,
        )

    return write


def _torch_adagrad(question: Question) -> Written | Unwritten:
    a = question.attributes
    if a.epsilon_inside:
        return _adagrad("torch.sqrt", "torch's Adagrad adds eps outside the root")(question)
    settings = {
        "lr": (a.learning_rate, None),
        "initial_accumulator_value": (a.initial, 0.0),
        "eps": (a.epsilon, 1e-10),
    }
    return _torch(question, "Adagrad", settings, {"v": "sum"}, step=1)


def _keras_adagrad(keras: str, root: str) -> Writer:
    def write(question: Question) -> Written | Unwritten:
        a = question.attributes
        if not a.epsilon_inside:
            return _adagrad(root, "Keras's Adagrad adds epsilon inside the root")(question)
        settings = {
            "learning_rate": (a.learning_rate, None),
            "initial_accumulator_value": (a.initial, 0.1),
            "epsilon": (a.epsilon, 1e-7),
        }
        return _keras(question, keras, "Adagrad", settings, {"v": "_accumulators"})

    return write


_JAX_LACKS: Final = "JAX has no optimizers beside those among its examples; this is the update itself"


def _of_keras(keras: str, root: str) -> Mapping[str, Writer]:
    return MappingProxyType(
        {
            "sgd": _keras_sgd(keras),
            "sgd_momentum": _keras_momentum(keras),
            "adam": _keras_adam(keras),
            "adamw": _keras_adam(keras),
            "rmsprop": _keras_rmsprop(keras, root),
            "adagrad": _keras_adagrad(keras, root),
        }
    )


TORCH: Final[Mapping[str, Writer]] = MappingProxyType(
    {
        "sgd": _torch_sgd,
        "sgd_momentum": _torch_momentum,
        "adam": _torch_adam,
        "adamw": _torch_adam,
        "rmsprop": _torch_rmsprop,
        "adagrad": _torch_adagrad,
    }
)
KERAS: Final = _of_keras("", "ops.sqrt")
TENSORFLOW: Final = _of_keras("tf.keras.", "tf.sqrt")
JAX: Final[Mapping[str, Writer]] = MappingProxyType(
    {
        "sgd": _sgd(_JAX_LACKS),
        "sgd_momentum": _momentum(_JAX_LACKS),
        "adam": _jax_adam,
        "adamw": _jax_adam,
        "rmsprop": _rmsprop("jnp.sqrt", _JAX_LACKS),
        "adagrad": _adagrad("jnp.sqrt", _JAX_LACKS),
    }
)
