"""Which cases there are, quickly: what `conformance list` prints is kept until a file changes.

Nothing heavy is imported where the answer is known. A kept answer is one that loading gave for these very files, by
this very code; whatever loading refuses is refused again, since refusals are not kept.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

KEPT = "cases-{}.json"


@dataclass(frozen=True, slots=True)
class Listed:
    """What a list shows of a case."""

    id: str
    tier: str
    formats: tuple[str, ...]


def default_root() -> Path:
    """The cases that ship with the package; in an editable install those of the repository."""
    package = Path(__file__).parents[1]
    shipped = package / "cases"
    return shipped if shipped.is_dir() else package.parent / "cases"


def suite_version(paths: Sequence[Path]) -> str:
    """The version of the shipped cases, if all that is asked is of them; else nothing.

    It is raised whenever a shipped case comes, goes, gets another name or asks something else.
    """
    root = default_root().resolve()
    if not all(path.resolve().is_relative_to(root) for path in paths):
        return ""
    return (root / "VERSION").read_text(encoding="utf-8").strip()


def list_cases(paths: Sequence[Path], cache: Path) -> tuple[Listed, ...]:
    """The cases of files or folders, out of the cache folder if nothing has changed.

    Raises:
        InvalidCases: with everything that is wrong with the files.
    """
    kept = cache / KEPT.format(_digest(paths))
    try:
        rows = json.loads(kept.read_text(encoding="utf-8"))
        return tuple(Listed(id_, tier, tuple(formats)) for id_, tier, formats in rows)
    except (OSError, ValueError):
        pass
    from conformance.case.loading import load

    listed = tuple(Listed(case.id, case.tier, case.formats) for case in load(paths))
    try:
        cache.mkdir(parents=True, exist_ok=True)
        for old in cache.glob(KEPT.format("*")):
            old.unlink(missing_ok=True)
        kept.write_text(json.dumps([astuple(row) for row in listed]), encoding="utf-8")
    except OSError:
        pass  # a list that cannot be kept is still a list
    return listed


def _digest(paths: Sequence[Path]) -> str:
    """Names the files, their contents, and the code that reads them."""
    total = hashlib.sha256()
    for file in _files(paths):
        total.update(f"{file}\0".encode())
        total.update(file.read_bytes() if file.is_file() else b"missing")
    for module in sorted(Path(__file__).parent.glob("*.py")):
        stat = module.stat()
        total.update(f"{module.name} {stat.st_size} {stat.st_mtime_ns}\0".encode())
    return total.hexdigest()[:32]


def _files(paths: Sequence[Path]) -> Iterator[Path]:
    for path in paths:
        yield from sorted(path.rglob("*.yaml")) if path.is_dir() else (path,)
