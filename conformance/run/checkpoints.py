"""How far a long training came: what it takes to go on from there, in a file that a kill cannot tear.

A checkpoint is a safetensors file: parameters, statistics and slots as tensors, and beside them, as JSON in its
metadata, the step and what was recorded up to it. It is written beside its place and then put there in one step, so
that whoever is killed leaves the one before. Its name is a digest of everything that the numbers depend on; another
version of a framework, of the reference or of the question finds no checkpoint and starts from the beginning.
"""

import hashlib
import json
import os
import re
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from conformance.case.inputs import digest
from conformance.case.job import Tensor
from conformance.errors import InvalidData
from conformance.models.safetensors import read_metadata, read_safetensors, write_safetensors
from conformance.run.store import folder_name, to_plain

# A kill costs at most so many seconds of training; writing the twelve megabytes of the largest network here takes a
# hundredth of one.
CHECKPOINT_SECONDS: Final = 20.0
FOLDER: Final = "checkpoints"
_KEPT: Final = "conformance"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Checkpoint:
    """A training between two steps.

    Attributes:
        step: so many steps were made.
        tensors: all that the next one starts from.
        record: what was measured so far, as plain values.
    """

    step: int
    tensors: Mapping[str, Tensor]
    record: Mapping[str, Any]


class Checkpoints:
    """The place of one training's checkpoint."""

    def __init__(
        self, reports: Path, target: str, name: str, depends: Any, *, every: float = CHECKPOINT_SECONDS
    ) -> None:
        """Names the place; nothing is read or written yet.

        Args:
            reports: the folder of runs.
            target: who is trained.
            name: the training's id.
            depends: plain values and dataclasses: everything that the numbers depend on.
            every: seconds from one checkpoint to the next.
        """
        key = hashlib.sha256(json.dumps(to_plain(depends), sort_keys=True).encode()).hexdigest()[:16]
        slug = re.sub(r"[^A-Za-z0-9._-]", "-", name)
        self.path = reports / folder_name(target) / FOLDER / f"{slug}-{key}.safetensors"
        self._every = every
        self._last = time.monotonic()

    @property
    def due(self) -> bool:
        """Whether the last one is old enough."""
        return time.monotonic() - self._last >= self._every

    def save(self, checkpoint: Checkpoint) -> None:
        """Replaces the checkpoint in one step."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=self.path.parent, prefix=f".{self.path.stem}-", suffix=".part")
        os.close(handle)
        temporary = Path(name)
        kept = {"step": checkpoint.step, "record": checkpoint.record, "tensors": digest(checkpoint.tensors, {})}
        try:
            write_safetensors(temporary, checkpoint.tensors, {_KEPT: json.dumps(to_plain(kept), allow_nan=False)})
            temporary.replace(self.path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        self._last = time.monotonic()

    def load(self) -> Checkpoint | None:
        """The checkpoint; None where there is none.

        Raises:
            InvalidData: if the file is cut off, damaged, or something else.
        """
        if not self.path.is_file():
            return None
        tensors = read_safetensors(self.path)
        try:
            kept = json.loads(read_metadata(self.path)[_KEPT])
            if digest(tensors, {}) != kept["tensors"]:
                raise ValueError("its tensors are not those that were written")
            return Checkpoint(step=int(kept["step"]), tensors=tensors, record=dict(kept["record"]))
        except (KeyError, ValueError, TypeError) as error:
            why = "it has no record" if isinstance(error, KeyError) else error
            raise InvalidData(
                f"{self.path}: is no checkpoint of a training ({why}); delete it to begin anew"
            ) from error

    def discard(self) -> None:
        """Forgets it, at the training's end."""
        self.path.unlink(missing_ok=True)
