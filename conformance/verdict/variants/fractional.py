"""Other readings of fractional pools: whose samples the steps are."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Final

import numpy as np

from conformance.case.job import Job, Tensor
from conformance.verdict.variants.reading import Array, Reading, Variant


def _resampled(job: Job, change: Callable[[Array], Array]) -> Reading | None:
    samples = job.operands["samples"]
    changed = np.ascontiguousarray(change(samples.data))
    if np.array_equal(changed, samples.data):
        return None
    return Reading(job=replace(job, operands={**job.operands, "samples": Tensor(samples.format, changed)}))


def _first_channel(samples: Array) -> Array:
    return np.broadcast_to(samples[:, :1], samples.shape)


def _first_image(samples: Array) -> Array:
    return np.broadcast_to(samples[:1], samples.shape)


VARIANTS: Final = tuple(
    Variant(
        name=name,
        operators=("fractional_max_pool2d",),
        about=about,
        seen_by=seen_by,
        read=partial(_resampled, change=change),
    )
    for name, about, seen_by, change in (
        (
            "samples of columns before those of rows",
            "PyTorch's samples are of width and height.",
            "steps that samples change along either axis",
            lambda samples: samples[..., ::-1],
        ),
        (
            "samples of the first channel",
            "TensorFlow draws one sequence of rows and one of columns for all channels.",
            "several channels",
            _first_channel,
        ),
        (
            "samples of the first image",
            "TensorFlow draws one sequence of rows and one of columns for all images.",
            "a batch of several",
            _first_image,
        ),
        (
            "samples ignored",
            "Windows are spread evenly, as those of a sample of 0.",
            "samples that change a step",
            np.zeros_like,
        ),
        (
            "other samples drawn",
            "Compiled, PyTorch draws other numbers of the same seed.",
            "samples that change a step",
            lambda samples: (samples + np.asarray(0.5, samples.dtype)) % 1,
        ),
    )
)
