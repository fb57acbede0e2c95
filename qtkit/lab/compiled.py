"""The kernel and ``core.arithmetic`` compiled as they stand, when numba is there.

numba refuses calls to what it has not compiled, and its disk cache goes stale when a callee in another file changes. So both sources are
laid into a folder named by what they and the kernel's arguments hold, and compiled there: an edited rule is another folder, never an
old answer. Nothing is allocated in there, so nothing is counted (``_nrt``): counting what is handed to inlined functions cost more than
the search.

Compiling takes some seconds, once a machine. Nobody waits for it: a process of its own does it while numpy answers.
"""

import importlib.metadata
import importlib.util
import os
import subprocess
import sys
import tempfile
from functools import cache
from hashlib import blake2b
from pathlib import Path
from types import ModuleType

from qtkit.core import arithmetic
from qtkit.lab import arguments, kernels

_COMPILE = """

import numba as _numba

for _name, _thing in list(globals().items()):
    if type(_thing).__name__ == "function" and _thing.__module__ == __name__:
        _inner = not _name.startswith("sweep") and _name not in ("trail_table", "find_moving")
        globals()[_name] = _numba.njit(nogil=True, cache=CACHE, error_model="numpy", _nrt=False, forceinline=_inner)(_thing)
"""


_here: set[str] = set()  # loops that this process compiles, or has taken up
_begun: dict[str, subprocess.Popen[bytes]] = {}  # loops that another process compiles


def available() -> bool:
    """True if numba is installed and its own ``NUMBA_DISABLE_JIT`` does not switch it off."""
    return os.environ.get("NUMBA_DISABLE_JIT", "0") == "0" and importlib.util.find_spec("numba") is not None


@cache
def compiled() -> ModuleType:
    """``kernels``, compiled. The first call of a function compiles it, or reads what an earlier process compiled."""
    digest, sources = _digest()
    folder, kept = _folder(digest)
    rules, loops = f"qtkit_arithmetic_{digest}", f"qtkit_kernels_{digest}"
    tail = _COMPILE.replace("CACHE", str(kept))
    _lay(folder / f"{rules}.py", sources[0] + tail)
    _lay(folder / f"{loops}.py", sources[1].replace("from qtkit.core import arithmetic", f"import {rules} as arithmetic") + tail)
    _loaded(folder, rules)
    return _loaded(folder, loops)


def prepared(loop: str) -> bool:
    """True if a loop is compiled or is to be compiled here; else a process of its own is at it, begun now if it was not."""
    if loop in _here:
        return True
    folder, kept = _folder(_digest()[0])
    if not kept or (folder / f"{loop}.compiled").exists():
        return True
    if loop not in _begun:
        _begun[loop] = subprocess.Popen(
            [sys.executable, "-c", f"from {__name__} import warm; warm('{loop}')"], start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
    return _begun[loop].poll() is not None


def keep(loop: str) -> None:
    """Remember that a loop is compiled, here and on disk."""
    _here.add(loop)
    kept = Path(str(compiled().__file__)).with_name(f"{loop}.compiled")
    if not kept.exists():
        kept.touch()


def warm(*loops: str) -> None:
    """Compile loops here and now, all of them by default; the first sweep of a machine has not to be numpy's then."""
    from qtkit import lab

    bars, plain = lab.example(days=1), lab.grid(stop_bps=(100, 200), trail_bps=(50, 90))
    ladder = lab.grid(stop_bps=(100,), targets=[((1, 100),)])
    tasks = {"sweep_whole": (plain, "outcomes"), "sweep_crossed": (plain, "statistics"), "sweep": (ladder, "outcomes")}
    for loop in loops or tasks:
        grid, kept = tasks[loop]
        _here.add(loop)
        lab.sweep(bars, lab.every(bars), grid, costs=None, keep=kept, progress=False)  # type: ignore[call-overload]


def _digest() -> tuple[str, tuple[str, ...]]:
    sources = tuple(Path(str(module.__file__)).read_text() for module in (arithmetic, kernels, arguments))
    version = f"{importlib.metadata.version('numba')} {sys.version}"
    return blake2b("\x00".join((*sources, version, _COMPILE)).encode(), digest_size=8).hexdigest(), sources


@cache
def _folder(digest: str) -> tuple[Path, bool]:
    """Where the sources lie: in the user's cache, else in a folder of this process, from which nothing is kept."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "qtkit" / "kernels" / digest
    try:
        base.mkdir(parents=True, exist_ok=True)
        if os.access(base, os.W_OK):
            return base, True
    except OSError:
        pass
    return Path(tempfile.mkdtemp(prefix="qtkit-kernels-")), False


def _lay(path: Path, text: str) -> None:
    if path.exists() and path.read_text() == text:
        return
    part = path.with_suffix(f".{os.getpid()}")
    part.write_text(text)
    part.replace(path)


def _loaded(folder: Path, name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, folder / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
