"""The table of all operators by name."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from conformance.reference import (
    activations,
    adagrad,
    adaptive,
    backward,
    blocks,
    conv,
    conv_transpose,
    curves,
    dense,
    element_losses,
    fractional,
    gates,
    indexed_pooling,
    initializers,
    laws,
    losses,
    normalization,
    optimizers,
    pads,
    pairs,
    patches,
    polynomial,
    pooling,
    power_pooling,
    reductions,
    resizing,
    response,
    signal,
    unpooling,
    updates,
)
from conformance.reference.elementwise import ElementWise
from conformance.reference.magnitude import Array, Gradients, Magnitudes, Outputs
from conformance.reference.padding import InvalidShape


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """An operator's three functions; operands and attributes are keyword arguments of the same names in all of them.

    Attributes:
        forward: returns the outputs by name.
        vjp: takes cotangents of all outputs, returns the gradients of the differentiable operands by name.
        magnitude: takes cotangents or None, returns what the rounding-error bounds of outputs and gradients need.
    """

    forward: Callable[..., Outputs]
    vjp: Callable[..., Gradients]
    magnitude: Callable[..., Magnitudes]


def _of_rank(rank: int, reference: Reference) -> Reference:
    """Returns the functions with a check that x has `rank` spatial axes: by themselves they take one to three."""

    def checked(operands: dict[str, Any]) -> None:
        x: Array = operands["x"]
        if x.ndim != rank + 2:
            raise InvalidShape("axes of x", got=x.ndim, required=f"{rank + 2}: batch, {rank} spatial, channels")

    def forward(**operands: Any) -> Outputs:
        checked(operands)
        return reference.forward(**operands)

    def vjp(cotangents: Outputs, **operands: Any) -> Gradients:
        checked(operands)
        return reference.vjp(cotangents, **operands)

    def magnitude(cotangents: Outputs | None, **operands: Any) -> Magnitudes:
        checked(operands)
        return reference.magnitude(cotangents, **operands)

    return Reference(forward=forward, vjp=vjp, magnitude=magnitude)


def _element_wise(function: ElementWise) -> Reference:
    return Reference(forward=function.forward, vjp=function.vjp, magnitude=function.magnitude)


_CONV = Reference(forward=conv.forward, vjp=conv.vjp, magnitude=conv.magnitude)
_CONV_TRANSPOSE = Reference(
    forward=conv_transpose.forward, vjp=conv_transpose.vjp, magnitude=conv_transpose.magnitude
)
_MAX_POOL = Reference(
    forward=pooling.max_pool_forward, vjp=pooling.max_pool_vjp, magnitude=pooling.max_pool_magnitude
)
_INDEXED_MAX_POOL = Reference(
    forward=indexed_pooling.forward, vjp=indexed_pooling.vjp, magnitude=indexed_pooling.magnitude
)
_AVERAGE_POOL = Reference(
    forward=pooling.average_pool_forward, vjp=pooling.average_pool_vjp, magnitude=pooling.average_pool_magnitude
)
_RESIZE = Reference(forward=resizing.forward, vjp=resizing.vjp, magnitude=resizing.magnitude)
_WEIGHT_GRADIENT = Reference(
    forward=backward.weight_gradient_forward,
    vjp=backward.weight_gradient_vjp,
    magnitude=backward.weight_gradient_magnitude,
)

OPERATORS: Mapping[str, Reference] = MappingProxyType(
    {
        "conv1d": _of_rank(1, _CONV),
        "conv2d": _of_rank(2, _CONV),
        "conv3d": _of_rank(3, _CONV),
        "conv1d_transpose": _of_rank(1, _CONV_TRANSPOSE),
        "conv2d_transpose": _of_rank(2, _CONV_TRANSPOSE),
        "conv3d_transpose": _of_rank(3, _CONV_TRANSPOSE),
        "max_pool1d": _of_rank(1, _MAX_POOL),
        "max_pool2d": _of_rank(2, _MAX_POOL),
        "max_pool3d": _of_rank(3, _MAX_POOL),
        "max_pool1d_with_indices": _of_rank(1, _INDEXED_MAX_POOL),
        "max_pool2d_with_indices": _of_rank(2, _INDEXED_MAX_POOL),
        "max_pool3d_with_indices": _of_rank(3, _INDEXED_MAX_POOL),
        "average_pool1d": _of_rank(1, _AVERAGE_POOL),
        "average_pool2d": _of_rank(2, _AVERAGE_POOL),
        "average_pool3d": _of_rank(3, _AVERAGE_POOL),
        "pad": Reference(forward=pads.pad_forward, vjp=pads.pad_vjp, magnitude=pads.pad_magnitude),
        "dense": Reference(forward=dense.dense_forward, vjp=dense.dense_vjp, magnitude=dense.dense_magnitude),
        "bias_add": Reference(
            forward=dense.bias_add_forward, vjp=dense.bias_add_vjp, magnitude=dense.bias_add_magnitude
        ),
        "matmul": Reference(forward=pairs.matmul_forward, vjp=pairs.matmul_vjp, magnitude=pairs.matmul_magnitude),
        "add": Reference(forward=pairs.add_forward, vjp=pairs.add_vjp, magnitude=pairs.add_magnitude),
        "multiply": Reference(
            forward=pairs.multiply_forward, vjp=pairs.multiply_vjp, magnitude=pairs.multiply_magnitude
        ),
        "concat": Reference(forward=pairs.concat_forward, vjp=pairs.concat_vjp, magnitude=pairs.concat_magnitude),
        "mean": Reference(
            forward=reductions.mean_forward, vjp=reductions.mean_vjp, magnitude=reductions.mean_magnitude
        ),
        "global_average_pool2d": Reference(
            forward=reductions.global_average_pool2d_forward,
            vjp=reductions.global_average_pool2d_vjp,
            magnitude=reductions.global_average_pool2d_magnitude,
        ),
        "global_max_pool2d": Reference(
            forward=reductions.global_max_pool2d_forward,
            vjp=reductions.global_max_pool2d_vjp,
            magnitude=reductions.global_max_pool2d_magnitude,
        ),
        "depth_to_space": Reference(
            forward=blocks.depth_to_space_forward,
            vjp=blocks.depth_to_space_vjp,
            magnitude=blocks.depth_to_space_magnitude,
        ),
        "space_to_depth": Reference(
            forward=blocks.space_to_depth_forward,
            vjp=blocks.space_to_depth_vjp,
            magnitude=blocks.space_to_depth_magnitude,
        ),
        "flatten": Reference(forward=dense.flatten_forward, vjp=dense.flatten_vjp, magnitude=dense.flatten_magnitude),
        "relu": Reference(
            forward=activations.relu_forward, vjp=activations.relu_vjp, magnitude=activations.relu_magnitude
        ),
        "sigmoid": Reference(
            forward=activations.sigmoid_forward, vjp=activations.sigmoid_vjp, magnitude=activations.sigmoid_magnitude
        ),
        "tanh": Reference(
            forward=activations.tanh_forward, vjp=activations.tanh_vjp, magnitude=activations.tanh_magnitude
        ),
        "softmax": Reference(
            forward=activations.softmax_forward, vjp=activations.softmax_vjp, magnitude=activations.softmax_magnitude
        ),
        "log_softmax": Reference(
            forward=activations.log_softmax_forward,
            vjp=activations.log_softmax_vjp,
            magnitude=activations.log_softmax_magnitude,
        ),
        "relu6": _element_wise(gates.RELU6),
        "leaky_relu": _element_wise(gates.LEAKY_RELU),
        "prelu": Reference(forward=gates.prelu_forward, vjp=gates.prelu_vjp, magnitude=gates.prelu_magnitude),
        "hard_sigmoid": _element_wise(gates.HARD_SIGMOID),
        "hard_swish": _element_wise(gates.HARD_SWISH),
        "hard_tanh": _element_wise(gates.HARD_TANH),
        "elu": _element_wise(curves.ELU),
        "selu": _element_wise(curves.SELU),
        "gelu": _element_wise(curves.GELU),
        "silu": _element_wise(curves.SILU),
        "mish": _element_wise(curves.MISH),
        "softplus": _element_wise(curves.SOFTPLUS),
        "softsign": _element_wise(curves.SOFTSIGN),
        "log_sigmoid": _element_wise(curves.LOG_SIGMOID),
        "batch_norm": Reference(
            forward=normalization.batch_norm_forward,
            vjp=normalization.batch_norm_vjp,
            magnitude=normalization.batch_norm_magnitude,
        ),
        "batch_norm_training": Reference(
            forward=normalization.batch_norm_training_forward,
            vjp=normalization.batch_norm_training_vjp,
            magnitude=normalization.batch_norm_training_magnitude,
        ),
        "layer_norm": Reference(
            forward=normalization.layer_norm_forward,
            vjp=normalization.layer_norm_vjp,
            magnitude=normalization.layer_norm_magnitude,
        ),
        "group_norm": Reference(
            forward=normalization.group_norm_forward,
            vjp=normalization.group_norm_vjp,
            magnitude=normalization.group_norm_magnitude,
        ),
        "instance_norm": Reference(
            forward=normalization.instance_norm_forward,
            vjp=normalization.instance_norm_vjp,
            magnitude=normalization.instance_norm_magnitude,
        ),
        "local_response_norm": Reference(
            forward=response.local_response_norm_forward,
            vjp=response.local_response_norm_vjp,
            magnitude=response.local_response_norm_magnitude,
        ),
        "softmax_cross_entropy": Reference(forward=losses.forward, vjp=losses.vjp, magnitude=losses.magnitude),
        "softmax_cross_entropy_dense": Reference(
            forward=losses.dense_forward, vjp=losses.dense_vjp, magnitude=losses.dense_magnitude
        ),
        "binary_cross_entropy": Reference(
            forward=element_losses.binary_cross_entropy_forward,
            vjp=element_losses.binary_cross_entropy_vjp,
            magnitude=element_losses.binary_cross_entropy_magnitude,
        ),
        "kl_divergence": Reference(
            forward=element_losses.kl_divergence_forward,
            vjp=element_losses.kl_divergence_vjp,
            magnitude=element_losses.kl_divergence_magnitude,
        ),
        "mean_squared_error": Reference(
            forward=element_losses.mean_squared_error_forward,
            vjp=element_losses.mean_squared_error_vjp,
            magnitude=element_losses.mean_squared_error_magnitude,
        ),
        "dropout": Reference(forward=dense.dropout_forward, vjp=dense.dropout_vjp, magnitude=dense.dropout_magnitude),
        "sgd": Reference(forward=optimizers.sgd_forward, vjp=optimizers.sgd_vjp, magnitude=optimizers.sgd_magnitude),
        "adam": Reference(
            forward=optimizers.adam_forward, vjp=optimizers.adam_vjp, magnitude=optimizers.adam_magnitude
        ),
        "sgd_momentum": Reference(
            forward=updates.sgd_momentum_forward,
            vjp=updates.sgd_momentum_vjp,
            magnitude=updates.sgd_momentum_magnitude,
        ),
        "rmsprop": Reference(
            forward=updates.rmsprop_forward, vjp=updates.rmsprop_vjp, magnitude=updates.rmsprop_magnitude
        ),
        "adagrad": Reference(forward=adagrad.forward, vjp=adagrad.vjp, magnitude=adagrad.magnitude),
        "adamw": Reference(forward=updates.adamw_forward, vjp=updates.adamw_vjp, magnitude=updates.adamw_magnitude),
        "glorot_uniform": Reference(
            forward=initializers.forward, vjp=initializers.vjp, magnitude=initializers.magnitude
        ),
        "convolve": Reference(
            forward=signal.convolve_forward, vjp=signal.convolve_vjp, magnitude=signal.convolve_magnitude
        ),
        "correlate": Reference(
            forward=signal.correlate_forward, vjp=signal.correlate_vjp, magnitude=signal.correlate_magnitude
        ),
        "resize1d": _of_rank(1, _RESIZE),
        "resize2d": _of_rank(2, _RESIZE),
        "resize3d": _of_rank(3, _RESIZE),
        "extract_patches": Reference(
            forward=patches.extract_patches_forward,
            vjp=patches.extract_patches_vjp,
            magnitude=patches.extract_patches_magnitude,
        ),
        "fold": Reference(forward=patches.fold_forward, vjp=patches.fold_vjp, magnitude=patches.fold_magnitude),
        "adaptive_average_pool2d": Reference(
            forward=adaptive.adaptive_average_pool2d_forward,
            vjp=adaptive.adaptive_average_pool2d_vjp,
            magnitude=adaptive.adaptive_average_pool2d_magnitude,
        ),
        "adaptive_max_pool2d": Reference(
            forward=adaptive.adaptive_max_pool2d_forward,
            vjp=adaptive.adaptive_max_pool2d_vjp,
            magnitude=adaptive.adaptive_max_pool2d_magnitude,
        ),
        "fractional_max_pool2d": Reference(
            forward=fractional.forward, vjp=fractional.vjp, magnitude=fractional.magnitude
        ),
        "lp_pool2d": Reference(
            forward=power_pooling.forward, vjp=power_pooling.vjp, magnitude=power_pooling.magnitude
        ),
        "max_unpool2d": Reference(forward=unpooling.forward, vjp=unpooling.vjp, magnitude=unpooling.magnitude),
        "conv2d_weight_gradient": _of_rank(2, _WEIGHT_GRADIENT),
        "conv3d_weight_gradient": _of_rank(3, _WEIGHT_GRADIENT),
        "max_pool2d_gradient": Reference(
            forward=backward.max_pool_gradient_forward,
            vjp=backward.max_pool_gradient_vjp,
            magnitude=backward.max_pool_gradient_magnitude,
        ),
        "polynomial": Reference(forward=polynomial.forward, vjp=polynomial.vjp, magnitude=polynomial.magnitude),
    }
)

LAWS: Mapping[str, Callable[..., laws.Law | laws.Thinning]] = MappingProxyType(
    {"initialize": laws.initialize, "random_dropout": laws.random_dropout}
)
"""Of the operators that draw their own numbers: operands and attributes to what they are drawn from."""
