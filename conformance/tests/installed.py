"""Fake backends, installed as a user's package would be: a folder with their entry points, for PYTHONPATH."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SECONDS = 120


@dataclass(frozen=True, slots=True)
class Installation:
    """An environment in which backends are installed under names of their own."""

    folder: Path

    def environment(self, **more: str) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("CONFORMANCE_", "PYTEST_"))}
        kept.pop("CI", None)
        path = os.pathsep.join(filter(None, (str(self.folder), os.environ.get("PYTHONPATH", ""))))
        return {**kept, "PYTHONPATH": path, "COLUMNS": "200", **more}

    def run(self, *arguments: str, cwd: Path, **more: str) -> "Ended":
        """Runs Python with arguments."""
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=cwd,
            env=self.environment(**more),
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        return Ended(done.returncode, done.stdout, done.stderr)

    def conformance(self, *arguments: object, cwd: Path, **more: str) -> "Ended":
        """Runs the command line."""
        code = "from conformance.cli import app; app()"
        return self.run("-c", code, *map(str, arguments), cwd=cwd, **more)

    def pytest(self, *arguments: object, cwd: Path) -> "Ended":
        """Runs pytest with its plugins as they are installed."""
        return self.run("-m", "pytest", "-p", "no:cacheprovider", *map(str, arguments), cwd=cwd)

    def pytest_alone(self, *arguments: object, cwd: Path) -> "Ended":
        """Runs pytest with our plugin and xdist only: other people's take a second to load."""
        plugins = ("-p", "conformance.pytest_plugin", "-p", "xdist.plugin", "-p", "no:cacheprovider")
        return self.run("-m", "pytest", *plugins, *map(str, arguments), cwd=cwd, PYTEST_DISABLE_PLUGIN_AUTOLOAD="1")


@dataclass(frozen=True, slots=True)
class Ended:
    """How a process ended, and what it wrote."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)


def install(folder: Path, backends: Mapping[str, str]) -> Installation:
    """Writes what an installed package of backends leaves: its metadata."""
    info = folder / "fakes-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: fakes\nVersion: 1.0\n")
    lines = "\n".join(f"{name} = conformance.tests.fakes:{adapter}" for name, adapter in backends.items())
    (info / "entry_points.txt").write_text(f"[conformance.backends]\n{lines}\n")
    return Installation(folder)


def results(folder: Path) -> Iterator[dict[str, Any]]:
    """Every line of every run below a folder that holds a result."""
    for path in sorted(folder.glob("*/*.jsonl")):
        for line in path.read_text().splitlines():
            record = json.loads(line)
            if record["kind"] == "result":
                yield record
