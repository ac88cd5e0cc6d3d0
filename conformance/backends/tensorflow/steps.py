"""TensorFlow's dropout and updates: the kernels of its optimizers, on variables."""

import math
from typing import Any

from conformance.backends.base import CallLog, Native, Natives, Recorded
from conformance.case.families.steps import Adam, Dropout, Sgd


class TensorFlowSteps:
    """A part of the adapter, which brings the framework's modules."""

    log: CallLog
    tf: Recorded
    _tf: Any

    def dropout(self, attributes: Dropout, x: Native, mask: Native) -> Native:
        return self.tf.divide(self.tf.multiply(x, self.tf.cast(mask, x.dtype)), attributes.keep)

    def sgd(self, attributes: Sgd, parameter: Native, gradient: Native) -> Natives:
        tf = self._tf
        variable = tf.Variable(parameter)
        rate = tf.constant(attributes.learning_rate, parameter.dtype)
        tf.raw_ops.ResourceApplyGradientDescent(var=variable.handle, alpha=rate, delta=gradient)
        result = variable.read_value()
        self.log.write("variable = tf.Variable({})", parameter)
        self.log.write(
            "tf.raw_ops.ResourceApplyGradientDescent(var=variable.handle, alpha=tf.constant({}, {}), delta={})",
            attributes.learning_rate,
            parameter.dtype,
            gradient,
        )
        self.log.name(result, "variable.read_value()")
        return {"parameter": result}

    def adam(self, attributes: Adam, parameter: Native, gradient: Native, m: Native, v: Native) -> Natives:
        # TensorFlow adds epsilon before the bias correction; the other form is the same with epsilon corrected too.
        tf = self._tf
        beta1_power, beta2_power = attributes.beta1**attributes.step, attributes.beta2**attributes.step
        correction = 1.0 if attributes.epsilon_hat else math.sqrt(1 - beta2_power)
        variables = {"var": tf.Variable(parameter), "m": tf.Variable(m), "v": tf.Variable(v)}
        settings = {
            "beta1_power": beta1_power,
            "beta2_power": beta2_power,
            "lr": attributes.learning_rate,
            "beta1": attributes.beta1,
            "beta2": attributes.beta2,
            "epsilon": attributes.epsilon * correction,
        }
        tf.raw_ops.ResourceApplyAdam(
            **{name: variable.handle for name, variable in variables.items()},
            **{name: tf.constant(value, parameter.dtype) for name, value in settings.items()},
            grad=gradient,
        )
        results = tuple(variable.read_value() for variable in variables.values())
        self.log.write("variables = [tf.Variable({}), tf.Variable({}), tf.Variable({})]", parameter, m, v)
        given = [f"{name}=variables[{place}].handle" for place, name in enumerate(variables)]
        given += [f"{name}=tf.constant({value!r}, {parameter.dtype!r})" for name, value in settings.items()]
        self.log.write(f"tf.raw_ops.ResourceApplyAdam({', '.join(given)}, grad={{}})", gradient)
        for place, result in enumerate(results):
            self.log.name(result, f"variables[{place}].read_value()")
        return dict(zip(("parameter", "m", "v"), results, strict=True))
