"""The same residual network as pure functions of JAX's over a tree of parameters, faithfully."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

Params = Mapping[str, Any]


def conv(kernel: jax.Array, x: jax.Array, stride: int = 1, pad: int = 0) -> jax.Array:
    """A convolution with pads of one's own, as PyTorch has them."""
    pads = ((pad, pad), (pad, pad))
    return lax.conv_general_dilated(x, kernel, (stride, stride), pads, dimension_numbers=("NHWC", "HWIO", "NHWC"))


def norm(params: Params, x: jax.Array) -> jax.Array:
    """Batch normalisation with the statistics of the training."""
    return (x - params["mean"]) / jnp.sqrt(params["var"] + 1e-5) * params["gamma"] + params["beta"]


def residual(params: Params, x: jax.Array, stride: int) -> jax.Array:
    """Two convolutions beside a short cut, which is a convolution where the shape changes."""
    y = jax.nn.relu(norm(params["norm1"], conv(params["conv1"], x, stride, 1)))
    y = norm(params["norm2"], conv(params["conv2"], y, 1, 1))
    if "short" in params:
        x = norm(params["short_norm"], conv(params["short"], x, stride))
    return jax.nn.relu(x + y)


def apply(params: Params, x: jax.Array) -> jax.Array:
    """Images of 3 channels; logits of 10 classes."""
    x = jax.nn.relu(norm(params["norm"], conv(params["stem"], x, 2, 3)))
    x = lax.reduce_window(x, -jnp.inf, lax.max, (1, 3, 3, 1), (1, 2, 2, 1), ((0, 0), (1, 1), (1, 1), (0, 0)))
    for block, stride in zip(params["blocks"], (1, 2), strict=True):
        x = residual(block, x, stride)
    return jnp.mean(x, axis=(1, 2)) @ params["head"]["w"] + params["head"]["b"]


def new_norm(channels: int) -> Params:
    """A normalisation's parameters and statistics."""
    zeros, ones = jnp.zeros(channels), jnp.ones(channels)
    return {"gamma": ones, "beta": zeros, "mean": zeros, "var": ones}


def build(width: int = 8) -> tuple[Any, Params]:
    """The model and its initial parameters."""
    draw = jax.nn.initializers.he_normal()
    keys = iter(jax.random.split(jax.random.key(0), 7))

    def new_residual(inputs: int, outputs: int) -> Params:
        made = {
            "conv1": draw(next(keys), (3, 3, inputs, outputs)),
            "norm1": new_norm(outputs),
            "conv2": draw(next(keys), (3, 3, outputs, outputs)),
            "norm2": new_norm(outputs),
        }
        if inputs != outputs:
            made |= {"short": draw(next(keys), (1, 1, inputs, outputs)), "short_norm": new_norm(outputs)}
        return made

    params = {
        "stem": draw(next(keys), (7, 7, 3, width)),
        "norm": new_norm(width),
        "blocks": [new_residual(width, width), new_residual(width, 2 * width)],
        "head": {"w": draw(next(keys), (2 * width, 10)), "b": jnp.zeros(10)},
    }
    return apply, params
