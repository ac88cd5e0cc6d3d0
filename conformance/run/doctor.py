"""What is installed here, what each backend tells of itself, and what an extra would replace."""

import platform
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from typing import Final

from packaging.requirements import Requirement

from conformance.case.job import Target
from conformance.errors import BackendMissing, TargetError
from conformance.worker.gateway import Worker, find_adapter, known_backends

DISTRIBUTION: Final = "cnn-conformance"
# Distributions that offer the same import package: installing one over another breaks both.
RIVALS: Final = {"tensorflow-cpu": ("tensorflow", "tensorflow-intel", "tensorflow-macos")}


@dataclass(frozen=True, slots=True)
class Finding:
    """One line; `failed` marks what keeps a backend from being asked."""

    text: str
    failed: bool = False


def examine() -> Iterator[Finding]:
    """Looks at the interpreter, the extras, and every known backend, each in its own process."""
    yield Finding(f"python {platform.python_version()} on {platform.system()} {platform.machine()}")
    yield from (Finding(warning) for warning in replaced_by_extras(_extras(), _installed()))
    for name in sorted(known_backends()):
        worker = Worker(Target(backend=name))
        try:
            told = worker.start()
        except BackendMissing as error:
            yield Finding(f"{name}: not installed; {error.install}")
            continue
        except TargetError as error:
            yield Finding(f"{name}: {error}", failed=True)
            continue
        finally:
            worker.close()
        versions = ", ".join(f"{package} {version}" for package, version in told.versions.items())
        switches = ", ".join(f"{switch} {state}" for switch, state in told.switches.items())
        adapter = find_adapter(name)
        yield Finding(f"{name}: {versions} on {told.device}; {switches or 'no switches'}")
        for mode, offered in (adapter.offers if adapter is not None else {}).items():
            yield Finding(f"    {name}+{mode}: {offered.text}")


def replaced_by_extras(extras: dict[str, list[Requirement]], installed: dict[str, str]) -> list[str]:
    """Warnings about installed frameworks that an extra would exchange for another version or distribution."""
    warnings = []
    for extra, requirements in sorted(extras.items()):
        for requirement in requirements:
            name = requirement.name.lower()
            version = installed.get(name)
            if version is not None and not requirement.specifier.contains(
                version.partition("+")[0], prereleases=True
            ):
                warnings.append(
                    f"warning: the extra [{extra}] wants {name}{requirement.specifier} and would replace {version}"
                )
            for rival in RIVALS.get(name, ()):
                if version is None and rival in installed:
                    warnings.append(
                        f"warning: the extra [{extra}] would install {name} over {rival} {installed[rival]}; "
                        "leave the extra out, the backend finds what is there"
                    )
    return warnings


def _extras() -> dict[str, list[Requirement]]:
    found: dict[str, list[Requirement]] = {}
    for text in metadata.requires(DISTRIBUTION) or ():
        requirement = Requirement(text)
        for extra in ("torch", "tf", "jax"):
            if requirement.marker and requirement.marker.evaluate({"extra": extra}):
                found.setdefault(extra, []).append(requirement)
    return found


def _installed() -> dict[str, str]:
    return {dist.metadata["Name"].lower(): dist.version for dist in metadata.distributions() if dist.metadata["Name"]}
