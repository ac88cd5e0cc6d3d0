"""The distribution: built from the folders as they are mapped, installed beside a user's own `reference`."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# What a build reads; a copy, so that it leaves nothing in the tree.
PARTS = ("pyproject.toml", "README.md", "LICENSE", "conformance", "reference", "cases")


def run(*arguments: object, cwd: Path, **environment: str) -> str:
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=cwd,
        env={**kept, **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder where the distribution is installed, beside a user's own package `reference`."""
    source = tmp_path_factory.mktemp("source")
    for name in PARTS:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        elif (ROOT / name).exists():
            shutil.copy(ROOT / name, source / name)
    site = tmp_path_factory.mktemp("site")
    (site / "reference").mkdir()
    (site / "reference" / "__init__.py").write_text("whose = 'the user'\n")
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    isolation = ["--no-build-isolation"] if _builds_here() else []
    run("-m", "pip", "install", "-q", *isolation, "--no-deps", "--target", site, source, cwd=elsewhere)
    return site


def _builds_here() -> bool:
    code = "import setuptools, sys; sys.exit(int(setuptools.__version__.split('.')[0]) < 77)"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0


def test_the_user_s_own_reference_stays_the_user_s(site: Path, tmp_path: Path) -> None:
    code = (
        "import reference, conformance, conformance.reference.conv as conv\n"
        "print(reference.whose, conformance.__file__, conv.__name__, conv.__file__)"
    )
    whose, user, package, name, file = run("-c", code, cwd=tmp_path, PYTHONPATH=str(site)).split()
    assert (whose, user) == ("the", "user")
    assert Path(package) == site / "conformance" / "__init__.py"
    assert (name, Path(file)) == ("conformance.reference.conv", site / "conformance" / "reference" / "conv.py")
    assert list((site / "reference").glob("*.py")) == [site / "reference" / "__init__.py"]


def test_cases_arrays_digits_and_templates_are_there(site: Path) -> None:
    shipped = {path.relative_to(site / "conformance").as_posix() for path in (site / "conformance").rglob("*")}
    kinds = {
        "cases": ("*.yaml", "*.json", "*.npy", "*.npz", "*.gz"),
        "conformance/report": ("*.j2", "*.css", "*.js"),
    }
    for folder, patterns in kinds.items():
        found = [path for pattern in patterns for path in (ROOT / folder).rglob(pattern)]
        assert found
        for path in found:
            name = path.relative_to(ROOT).as_posix().removeprefix("conformance/")
            assert name in shipped, name
    assert not any(name.startswith(("tests", "reference/tests")) for name in shipped)
    for name in (
        "cases/VERSION",
        "cases/schema.json",
        "cases/operators/conv2d.yaml",
        "py.typed",
        "reference/operators.py",
    ):
        assert name in shipped, name


def test_every_module_is_there(site: Path) -> None:
    def modules(folder: Path) -> set[str]:
        found = (path.relative_to(folder).as_posix() for path in folder.rglob("*.py"))
        return {name for name in found if "tests/" not in name}

    expected = modules(ROOT / "conformance") | {f"reference/{name}" for name in modules(ROOT / "reference")}
    assert modules(site / "conformance") == expected


def test_the_shipped_cases_are_listed_from_any_folder(site: Path, tmp_path: Path) -> None:
    code = "from conformance.cli import app; app()"
    names = run("-c", code, "list", cwd=tmp_path, PYTHONPATH=str(site)).splitlines()
    assert len(names) >= 300
    assert "conv2d/valid-stride1" in names
    ours = "from conformance.case.listing import default_root; print(default_root())"
    assert run("-c", ours, cwd=tmp_path, PYTHONPATH=str(site)).strip() == str(site / "conformance" / "cases")


def test_backends_the_plugin_and_the_command_are_declared(site: Path) -> None:
    (info,) = site.glob("cnn_conformance-*.dist-info")
    declared = (info / "entry_points.txt").read_text()
    for line in (
        "conformance = conformance.cli:app",
        "conformance = conformance.pytest_plugin",
        "torch = conformance.backends.torch.backend:TorchBackend",
        "scipy = conformance.backends.scipy:ScipyBackend",
    ):
        assert line in declared
    metadata = (info / "METADATA").read_text()
    assert "License-Expression: Apache-2.0" in metadata
    assert "Requires-Python: >=3.11" in metadata
