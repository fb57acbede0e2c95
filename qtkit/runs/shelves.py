"""Where notebooks and pipelines lie: the nearest folder of that name upward, else the one beside the package."""

from pathlib import Path

from qtkit.core.model import PolicyError
from qtkit.core.names import suggestion


def find(shelf: str, name_or_path: str | Path, suffix: str) -> Path:
    """A file by its name on the shelf or by its path. Raises `PolicyError` with the nearest name on the shelf."""
    given = Path(name_or_path)
    if given.suffix == suffix and given.is_file():
        return given.resolve()
    here = Path.cwd()
    beside = Path(__file__).parents[2]
    folder = next((place / shelf for place in (here, *here.parents, beside) if (place / shelf).is_dir()), here / shelf)
    path = folder / f"{str(given).removesuffix(suffix)}{suffix}"
    if not path.is_file():
        known = [p.stem for p in folder.glob(f"*{suffix}")]
        raise PolicyError(f"no {given} in {folder}; {suggestion(given.stem, known) if known else 'the folder is empty or missing'}")
    return path


def find_notebook(name_or_path: str | Path) -> Path:
    """A notebook by its name in `notebooks/` or by its path."""
    return find("notebooks", name_or_path, ".ipynb")
