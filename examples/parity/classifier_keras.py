"""The same classifier, ported to Keras in a hurry: four of its lines do something else."""

import keras
from keras import layers


def build() -> keras.Model:
    """The model, with Keras' own initial weights."""
    image = keras.Input((16, 24, 3))
    x = layers.Conv2D(6, 3, strides=2, padding="same", activation="relu", name="conv")(image)
    x = layers.DepthwiseConv2D(3, padding="same", activation="sigmoid", name="each")(x)
    x = layers.MaxPooling2D(name="pool")(x)
    x = layers.Flatten(name="flat")(x)
    x = layers.Dense(5, name="dense")(x)
    x = layers.LayerNormalization(name="norm")(x)
    x = layers.Activation("gelu", name="act")(x)
    return keras.Model(image, layers.Softmax(name="softmax")(x))
