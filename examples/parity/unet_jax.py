"""The same U-Net as pure functions of JAX's over a tree of parameters; one of its lines does something else."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

IMAGES = ("NHWC", "HWIO", "NHWC")
Params = Mapping[str, Any]


def conv(params: Params, x: jax.Array) -> jax.Array:
    """A convolution with the sides that its kernel has, at every pixel."""
    y = lax.conv_general_dilated(x, params["w"], (1, 1), "SAME", dimension_numbers=IMAGES)
    return y + params["b"] if "b" in params else y


def norm(params: Params, x: jax.Array) -> jax.Array:
    """Batch normalisation with the statistics of the training."""
    gain = params["scale"] * lax.rsqrt(params["var"] + 1e-5)
    return (x - params["mean"]) * gain + params["offset"]


def block(params: Params, x: jax.Array) -> jax.Array:
    """A convolution, batch normalisation, ReLU."""
    return jax.nn.relu(norm(params["norm"], conv(params["conv"], x)))


def pool(x: jax.Array) -> jax.Array:
    """The largest of every two by two."""
    return lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")


def up(params: Params, x: jax.Array, skip: jax.Array) -> jax.Array:
    """Twice the size, then what the encoder had there beside it."""
    x = lax.conv_transpose(x, params["up"]["w"], (2, 2), "SAME", dimension_numbers=IMAGES, transpose_kernel=True)
    return block(params["block"], jnp.concatenate([skip, x + params["up"]["b"]], axis=-1))


def apply(params: Params, x: jax.Array) -> jax.Array:
    """Images of 3 channels, sides divisible by 4; a logit for each of 2 classes at every pixel."""
    one = block(params["enc1"], x)
    two = block(params["enc2"], pool(one))
    x = block(params["middle"], pool(two))
    x = up(params["dec2"], x, two)
    x = up(params["dec1"], x, one)
    return conv(params["head"], x)


def kernel(key: jax.Array, *shape: int) -> jax.Array:
    """He's initial numbers."""
    return jax.nn.initializers.he_normal()(key, shape)


def new_block(key: jax.Array, inputs: int, outputs: int) -> Params:
    """A block's parameters and statistics."""
    zeros, ones = jnp.zeros(outputs), jnp.ones(outputs)
    return {
        "conv": {"w": kernel(key, 3, 3, inputs, outputs)},
        "norm": {"scale": ones, "offset": zeros, "mean": zeros, "var": ones},
    }


def new_up(key: jax.Array, inputs: int, outputs: int) -> Params:
    """A learned upsampling's parameters, and those of the block behind it."""
    one, two = jax.random.split(key)
    # (height, width, out, in), as the convolution has it that this one is the gradient of.
    upsampling = {"w": kernel(one, 3, 3, outputs, inputs), "b": jnp.zeros(outputs)}
    return {"up": upsampling, "block": new_block(two, 2 * outputs, outputs)}


def build(width: int = 8) -> tuple[Any, Params]:
    """The model and its initial parameters."""
    keys = jax.random.split(jax.random.key(0), 6)
    params = {
        "enc1": new_block(keys[0], 3, width),
        "enc2": new_block(keys[1], width, 2 * width),
        "middle": new_block(keys[2], 2 * width, 4 * width),
        "dec2": new_up(keys[3], 4 * width, 2 * width),
        "dec1": new_up(keys[4], 2 * width, width),
        "head": {"w": kernel(keys[5], 1, 1, width, 2), "b": jnp.zeros(2)},
    }
    return apply, params
