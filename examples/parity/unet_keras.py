"""The same U-Net, ported to Keras; one of its lines does something else."""

import keras
from keras import layers


def block(x: keras.KerasTensor, filters: int, name: str) -> keras.KerasTensor:
    """A convolution, batch normalisation, ReLU."""
    x = layers.Conv2D(filters, 3, padding="same", use_bias=False, name=f"{name}_conv")(x)
    x = layers.BatchNormalization(epsilon=1e-5, momentum=0.9, name=f"{name}_norm")(x)
    return layers.ReLU(name=f"{name}_act")(x)


def up(x: keras.KerasTensor, skip: keras.KerasTensor, filters: int, name: str) -> keras.KerasTensor:
    """Twice the size, then what the encoder had there beside it."""
    x = layers.Conv2DTranspose(filters, 3, strides=2, padding="same", name=f"{name}_up")(x)
    x = layers.Concatenate(name=f"{name}_cat")([skip, x])
    return block(x, filters, name)


def build(width: int = 8) -> keras.Model:
    """The model, with Keras' own initial weights."""
    image = keras.Input((None, None, 3))
    one = block(image, width, "enc1")
    two = block(layers.MaxPooling2D(name="pool1")(one), 2 * width, "enc2")
    x = block(layers.MaxPooling2D(name="pool2")(two), 4 * width, "middle")
    x = up(x, two, 2 * width, "dec2")
    x = up(x, one, width, "dec1")
    return keras.Model(image, layers.Conv2D(2, 1, name="head")(x))
