"""Details beside the page: a folder of scripts, a chunk each, which load from a disk too.

A page that was opened from a disk may fetch no file, but load a script. So a chunk is one, and does nothing but hand
its text over. Chunks are called by their content: a page whose folder is of another report finds nothing, never
something else.
"""

import time
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Final

from conformance.report.replacing import replace_text

FOLDER: Final = "details"
# What a page holds itself: with its program and texts, less than the 2 MB that open at once everywhere.
MOST_INSIDE: Final = 1_000_000
# Another process may have written its chunks, and be about to write the page that names them.
SPARED_SECONDS: Final = 600.0


def inside(chunks: Mapping[str, str]) -> bool:
    """Whether a page holds its details itself, and is one file."""
    return sum(map(len, chunks.values())) <= MOST_INSIDE


def write(reports: Path, chunks: Mapping[str, str]) -> None:
    """Writes what is not there yet; what is there already is marked as used now."""
    folder = reports / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    for name, chunk in chunks.items():
        path = folder / f"{name}.js"
        if path.is_file():
            path.touch()
        else:
            replace_text(path, f'conformanceDetails("{name}","{chunk}");\n')


def tidy(reports: Path, named: Collection[str]) -> None:
    """Removes what the page does not name, and nobody wrote lately."""
    folder = reports / FOLDER
    before = time.time() - SPARED_SECONDS
    for path in folder.glob("*.js"):
        if path.stem not in named and path.stat().st_mtime < before:
            path.unlink(missing_ok=True)
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
