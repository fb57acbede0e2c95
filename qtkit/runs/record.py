"""What a notebook says of itself: checks, figures, hashes of its data, and one verdict."""

import hashlib
import json
import math
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from decimal import Decimal
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from qtkit.core.model import PolicyError

VARIABLE = "QTKIT_RUN_DIR"
PACKAGES = ("qtkit", "ccxt", "polars", "papermill", "ipykernel", "altair")


@dataclass(frozen=True, slots=True)
class Check:
    """One sentence that holds or does not."""

    passed: bool
    text: str

    def __repr__(self) -> str:
        return f"{'ok    ' if self.passed else 'FAILED'} {self.text}"


@dataclass(frozen=True, slots=True, repr=False)
class Verdict:
    """All checks hold, and there was at least one. Its text depends on nothing but the checks and figures."""

    passed: bool
    checks: tuple[Check, ...]
    figures: Mapping[str, Any]

    def __repr__(self) -> str:
        held = sum(check.passed for check in self.checks)
        lines = [f"{'PASS' if self.passed else 'FAIL'}: {held} of {len(self.checks)} checks hold"]
        lines += [f"  {check!r}" for check in self.checks]
        lines += [f"  {name} = {value}" for name, value in self.figures.items()]
        return "\n".join(lines)


class Run:
    """Recorder of one run. ``folder`` is None outside a run (in Lab, under nbval): then the verdict is only shown."""

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self._checks: list[Check] = []
        self._figures: dict[str, Any] = {}
        self._data: dict[str, str] = {}

    def check(self, condition: object, text: str) -> Check:
        """Note whether a sentence holds. Raises `PolicyError` if the condition is not a truth value (a text "false" is none)."""
        if type(condition).__name__ not in ("bool", "bool_"):  # Python's and numpy's
            raise PolicyError(f"check {text!r}: True or False is needed, got {condition!r}")
        check = Check(bool(condition), text)
        self._checks.append(check)
        return check

    def record(self, name: str, value: object) -> None:
        """Note a figure: what JSON carries, and Decimal (kept as exact text). Raises `PolicyError` at other values and second ones."""
        if name in self._figures:
            raise PolicyError(f"figure {name!r} is recorded already, as {self._figures[name]!r}; one name, one value")
        self._figures[name] = _plain(value, name)

    def data(self, name: str, source: Path | bytes) -> str:
        """Note the SHA-256 of a file or of bytes the answer rests on."""
        self._data[name] = hashlib.sha256(source if isinstance(source, bytes) else source.read_bytes()).hexdigest()
        return self._data[name]

    def verdict(self) -> Verdict:
        """The verdict so far, written to `verdict.json` if this is a run. No check at all is no pass."""
        checks = tuple(self._checks)
        verdict = Verdict(bool(checks) and all(check.passed for check in checks), checks, dict(self._figures))
        if self.folder is not None:
            row = {
                "passed": verdict.passed,
                "checks": [asdict(check) for check in checks],
                "figures": self._figures,
                "data": self._data,
                "versions": versions(),
            }
            (self.folder / "verdict.json").write_text(json.dumps(row, indent=1) + "\n")
        return verdict


def begin() -> Run:
    """The recorder of this notebook. In a run it knows its folder by QTKIT_RUN_DIR."""
    folder = os.environ.get(VARIABLE, "")
    return Run(Path(folder) if folder else None)


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that a result can depend on."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _plain(value: object, name: str) -> Any:
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, float) and math.isfinite(value):
        return float(value)
    if isinstance(value, list | tuple):
        return [_plain(item, name) for item in value]
    if isinstance(value, Mapping):
        return {str(key): _plain(item, name) for key, item in value.items()}
    raise PolicyError(f"figure {name!r}: text, a finite number, or a list or table of them is needed, got {value!r}")
