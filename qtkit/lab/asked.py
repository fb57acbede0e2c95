"""Whether what a user hands in is of the kind that is asked for: one sentence each where it is not."""

from collections.abc import Sequence
from numbers import Integral

from qtkit.core.model import PolicyError
from qtkit.core.names import suggestion


def refuse_words(**asked: tuple[object, Sequence[str | None]]) -> None:
    """Raise ``PolicyError`` for a word that is none of those it may be, naming the argument and the nearest."""
    for name, (word, known) in asked.items():
        if word not in known:
            raise PolicyError(f"there is no {name}={word!r}: {suggestion(str(word), [it for it in known if it])}")


def refuse_unsure(**asked: object) -> None:
    """Raise ``PolicyError`` for what is neither True nor False: any text would count as True."""
    for name, value in asked.items():
        if not isinstance(value, bool):
            raise PolicyError(f"{name} is True or False, got {value!r}")


def is_whole(value: object) -> bool:
    """True for a whole number of any make; True and False are none."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def refuse_count(name: str, value: object, unit: str) -> None:
    """Raise ``PolicyError`` for what is no whole number from 1."""
    if not is_whole(value) or value < 1:  # type: ignore[operator]
        raise PolicyError(f"{name} is a whole number of {unit} from 1, got {value!r}")


def refuse_policy(policy: object, count: int) -> None:
    """Raise ``PolicyError`` for what is not the number of one of ``count`` policies."""
    if not is_whole(policy) or policy not in range(count):
        raise PolicyError(f"there are {count} policies, numbered from 0; got {policy!r}")


def kind_of(value: object) -> str:
    """What a thing is that is no polars frame, and how it becomes one."""
    name = f"{type(value).__module__}.{type(value).__qualname__}"
    if name.startswith("polars.lazyframe"):
        return f"{name}; .collect() it first"
    return f"{name}; make one of it with pl.{'from_pandas' if name.startswith('pandas.') else 'DataFrame'}(...)"
