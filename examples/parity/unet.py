"""A small U-Net as one writes it in PyTorch: two levels, skips by concatenation, a learned upsampling."""

import torch
from torch import nn


class Block(nn.Module):
    """A convolution, batch normalisation, ReLU."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(outputs)
        self.act = nn.ReLU(inplace=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.act(self.norm(self.conv(x)))


class Up(nn.Module):
    """Twice the size, then what the encoder had there beside it."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(inputs, outputs, 3, stride=2, padding=1, output_padding=1)
        self.block = Block(2 * outputs, outputs)

    def forward(self, x: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
        return self.block(torch.cat([skip, self.up(x)], dim=1))


class UNet(nn.Module):
    """Images of 3 channels, sides divisible by 4; a logit for each of 2 classes at every pixel."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.enc1 = Block(3, width)
        self.enc2 = Block(width, 2 * width)
        self.middle = Block(2 * width, 4 * width)
        self.pool = nn.MaxPool2d(2)
        self.dec2 = Up(4 * width, 2 * width)
        self.dec1 = Up(2 * width, width)
        self.head = nn.Conv2d(width, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        one = self.enc1(x)
        two = self.enc2(self.pool(one))
        x = self.middle(self.pool(two))
        x = self.dec2(x, two)
        x = self.dec1(x, one)
        return self.head(x)


def build() -> nn.Module:
    """The model as it was trained."""
    torch.manual_seed(0)
    return UNet()
