"""The same residual network as a subclassed Keras model, faithfully."""

import keras
from keras import layers, ops


class Residual(keras.layers.Layer):
    """Two convolutions beside a short cut, which is a convolution where the shape changes."""

    def __init__(self, filters: int, stride: int, project: bool, name: str) -> None:
        super().__init__(name=name)
        self.pad = layers.ZeroPadding2D(1, name=f"{name}_pad")
        self.conv1 = layers.Conv2D(filters, 3, strides=stride, use_bias=False, name=f"{name}_conv1")
        self.norm1 = layers.BatchNormalization(epsilon=1e-5, momentum=0.9, name=f"{name}_norm1")
        self.act1 = layers.ReLU(name=f"{name}_act1")
        self.conv2 = layers.Conv2D(filters, 3, padding="same", use_bias=False, name=f"{name}_conv2")
        self.norm2 = layers.BatchNormalization(epsilon=1e-5, momentum=0.9, name=f"{name}_norm2")
        self.project = project
        if project:
            self.short = layers.Conv2D(filters, 1, strides=stride, use_bias=False, name=f"{name}_short")
            self.short_norm = layers.BatchNormalization(epsilon=1e-5, momentum=0.9, name=f"{name}_short_norm")
        self.add = layers.Add(name=f"{name}_add")
        self.act2 = layers.ReLU(name=f"{name}_act2")

    def call(self, x: keras.KerasTensor, training: bool = False) -> keras.KerasTensor:
        short = self.short_norm(self.short(x), training=training) if self.project else x
        y = self.act1(self.norm1(self.conv1(self.pad(x)), training=training))
        y = self.norm2(self.conv2(y), training=training)
        return self.act2(self.add([y, short]))


class ResNet(keras.Model):
    """Images of 3 channels; logits of 10 classes."""

    def __init__(self, width: int = 8) -> None:
        super().__init__(name="resnet")
        self.pad = layers.ZeroPadding2D(3, name="stem_pad")
        self.stem = layers.Conv2D(width, 7, strides=2, use_bias=False, name="stem")
        self.norm = layers.BatchNormalization(epsilon=1e-5, momentum=0.9, name="norm")
        self.act = layers.ReLU(name="act")
        self.pool = layers.MaxPooling2D(3, strides=2, name="pool")
        self.block1 = Residual(width, 1, project=False, name="block1")
        self.block2 = Residual(2 * width, 2, project=True, name="block2")
        self.mean = layers.GlobalAveragePooling2D(name="mean")
        self.head = layers.Dense(10, name="head")

    def call(self, x: keras.KerasTensor, training: bool = False) -> keras.KerasTensor:
        x = self.act(self.norm(self.stem(self.pad(x)), training=training))
        # PyTorch pads a maximum with what never wins it.
        x = self.pool(ops.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=float("-inf")))
        x = self.block2(self.block1(x, training=training), training=training)
        return self.head(self.mean(x))


def build() -> keras.Model:
    """The model, built, with Keras' own initial weights."""
    model = ResNet()
    model(ops.zeros((1, 32, 32, 3)))
    return model
