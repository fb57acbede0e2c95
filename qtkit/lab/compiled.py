"""The kernel and ``core.arithmetic`` compiled as they stand, when numba is there.

numba refuses calls to what it has not compiled, and its disk cache goes stale when a callee in another file changes. So both sources are
laid into a folder named by what they and the kernel's arguments hold, and compiled there: an edited rule is another folder, never an
old answer.
"""

import importlib.metadata
import importlib.util
import os
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
        globals()[_name] = _numba.njit(nogil=True, cache=CACHE, error_model="numpy", forceinline=_inner)(_thing)
"""


def available() -> bool:
    """True if numba is installed and its own ``NUMBA_DISABLE_JIT`` does not switch it off."""
    return os.environ.get("NUMBA_DISABLE_JIT", "0") == "0" and importlib.util.find_spec("numba") is not None


@cache
def compiled() -> ModuleType:
    """``kernels``, compiled. The first call of a function compiles it, or reads what an earlier process compiled."""
    sources = tuple(Path(str(module.__file__)).read_text() for module in (arithmetic, kernels, arguments))
    version = f"{importlib.metadata.version('numba')} {sys.version}"
    digest = blake2b("\x00".join((*sources, version, _COMPILE)).encode(), digest_size=8).hexdigest()
    folder, kept = _folder(digest)
    rules, loops = f"qtkit_arithmetic_{digest}", f"qtkit_kernels_{digest}"
    tail = _COMPILE.replace("CACHE", str(kept))
    _lay(folder / f"{rules}.py", sources[0] + tail)
    _lay(folder / f"{loops}.py", sources[1].replace("from qtkit.core import arithmetic", f"import {rules} as arithmetic") + tail)
    _loaded(folder, rules)
    return _loaded(folder, loops)


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
