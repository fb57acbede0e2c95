"""What runs here: versions asked for, locked and installed, and the kernel that notebooks get."""

import os
import platform
import sqlite3
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, entry_points, requires, version
from pathlib import Path

import qtkit
from qtkit.doctor.finding import Finding, Unread, count, fine, look, wrong

LOCK = "requirements.lock"
KERNEL = "python3"  # of every notebook of ours
OLDEST_PYTHON = (3, 11)
OLDEST_SQLITE = (3, 37)  # STRICT tables
PLUGINS = ("papermill.engine", "papermill.io")
TOLD = 4
"""Packages that are named one by one; more are counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Software:
    """Versions. ``unmet`` are requirements of the package that are not met, ``unlocked`` packages that differ from the lock, as texts.

    ``locked`` is how many packages of the lock are for this computer, None where no lock lies beside the package.
    """

    python: tuple[int, int, int]
    sqlite: tuple[int, ...]
    versions: Mapping[str, str]
    unmet: tuple[str, ...]
    unlocked: tuple[str, ...]
    locked: int | None


def read_software(lock: Path | None = None) -> Software:
    """Versions of this environment against ``lock``, by default the one in the folder of the source."""
    place = Path(qtkit.__file__).parents[1] / LOCK if lock is None else lock
    wanted = _locked(place) if place.is_file() else None
    differing = [] if wanted is None else [text for name, right in wanted.items() if (text := _difference(name, right))]
    return Software(
        python=(sys.version_info.major, sys.version_info.minor, sys.version_info.micro), sqlite=sqlite3.sqlite_version_info,
        versions={name: _installed(name) or "not installed" for name in ("qtkit", "ccxt")}, unmet=_unmet(), unlocked=tuple(differing),
        locked=None if wanted is None else len(wanted),
    )  # fmt: skip


def _locked(lock: Path) -> dict[str, str]:
    """Package -> version, of the lines that are for this computer."""
    from packaging.requirements import Requirement

    lines = [line.rstrip("\\ ") for line in lock.read_text().splitlines() if line[:1].isalnum()]
    found = [row for row in map(Requirement, lines) if row.marker is None or row.marker.evaluate()]
    return {row.name: str(row.specifier).removeprefix("==") for row in found}


def _difference(name: str, right: str) -> str:
    there = _installed(name)
    return "" if there == right else f"{name} {there or 'is missing'}, locked {right}"


def _unmet() -> tuple[str, ...]:
    from packaging.requirements import Requirement

    found = []
    for row in map(Requirement, requires("qtkit") or ()):
        if row.marker is None or row.marker.evaluate({"extra": ""}):
            there = _installed(row.name)
            if there is None or not row.specifier.contains(there, prereleases=True):
                found.append(f"{row.name} {there or 'is missing'}, needed {row.specifier}")
    return tuple(found)


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def versions(facts: Software) -> Finding:
    """Is what is installed what was asked for and locked."""
    name = "versions"
    python, sqlite = ".".join(map(str, facts.python)), ".".join(map(str, facts.sqlite))
    packages = ", ".join(f"{package} {number}" for package, number in facts.versions.items())
    found = f"python {python}, {packages}, sqlite {sqlite}"
    if facts.python[:2] < OLDEST_PYTHON:
        return wrong(name, f"{found}; python {'.'.join(map(str, OLDEST_PYTHON))} is needed", "make PYTHON=python3.11 setup")
    if facts.sqlite < OLDEST_SQLITE:
        return wrong(name, f"{found}; sqlite {'.'.join(map(str, OLDEST_SQLITE))} is needed", "use a Python built with a newer SQLite")
    if facts.unmet:
        return wrong(name, f"{found}; {_some(facts.unmet)}", "`make setup` installs what the lock says")
    if facts.unlocked:
        return look(name, f"{found}; differs from the lock: {_some(facts.unlocked)}", "`make setup` installs what the lock says")
    locked = "no lock beside the package to compare with" if facts.locked is None else f"all {count(facts.locked, 'package')} as locked"
    return fine(name, f"{found}; {locked}")


def _some(texts: tuple[str, ...]) -> str:
    more = f", and {len(texts) - TOLD} more" if len(texts) > TOLD else ""
    return ", ".join(texts[:TOLD]) + more


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernel:
    """The kernel that notebooks get: the interpreter it starts, where that was said, and the interpreter of this environment."""

    interpreter: str
    said_in: str
    ours: str


def read_kernel() -> Kernel | Unread:
    """The kernel of our notebooks as Jupyter finds it from this environment."""
    from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel

    try:
        spec = KernelSpecManager().get_kernel_spec(KERNEL)
    except (NoSuchKernel, ValueError) as error:  # the second: a kernel.json that is no JSON
        return Unread(why=f"kernel {KERNEL}: {error}")
    first = spec.argv[0] if spec.argv else ""
    # Jupyter starts its own interpreter where a kernel says only "python".
    plain = first in ("python", f"python{sys.version_info.major}", "python{}.{}".format(*sys.version_info[:2]))
    return Kernel(interpreter=sys.executable if plain else first, said_in=str(spec.resource_dir), ours=sys.executable)


def kernel(facts: Kernel | Unread) -> Finding:
    """Do notebooks run in this environment."""
    name, mend = "notebook kernel", f"{sys.executable} -m ipykernel install --sys-prefix"
    if isinstance(facts, Unread):
        return wrong(name, facts.why, mend)
    # An environment's python is a link to the system's: the folders are compared, the links are not followed.
    if os.path.dirname(os.path.abspath(facts.interpreter)) != os.path.dirname(os.path.abspath(facts.ours)):
        told = f"{KERNEL} of {facts.said_in} starts {facts.interpreter}, not {facts.ours}"
        return wrong(name, f"{told}: notebooks do not see this qtkit", f"rm -r {facts.said_in}, or `{mend}`")
    return fine(name, f"{KERNEL} starts {facts.interpreter} ({platform.python_implementation()} {platform.python_version()})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plugins:
    """What other packages put into papermill: how many there are, and those that do not load, each with its reason."""

    count: int
    broken: tuple[str, ...]


def read_plugins() -> Plugins:
    """Load what papermill loads of other packages when it is imported: one that fails stops every run of a notebook."""
    points = [point for group in PLUGINS for point in entry_points(group=group)]
    broken = []
    for point in points:
        try:
            point.load()
        except Exception as error:  # noqa: BLE001 - somebody else's code, imported to see whether it fails, may fail in any way
            made_by = point.dist.name if point.dist is not None else "an unknown package"
            broken.append(f"{point.name} of {made_by} ({type(error).__name__}: {error})")
    return Plugins(count=len(points), broken=tuple(broken))


def plugins(facts: Plugins) -> Finding:
    """Do the plug-ins of papermill load."""
    name = "papermill plug-ins"
    if facts.broken:
        makers = " ".join(sorted({text.partition(" of ")[2].partition(" ")[0] for text in facts.broken}))
        return wrong(name, f"no notebook can be run: {_some(facts.broken)} does not load", f"{sys.executable} -m pip uninstall {makers}")
    return fine(name, f"{count(facts.count, 'plug-in')} of other packages" + (", all load" if facts.count else ""))
