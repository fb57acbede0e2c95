"""Names in the texts that people read: the nearest right one (edit distance, so that core needs no text library), and an account's."""

from collections.abc import Iterable

from qtkit.core.model import PolicyError

DEFAULT_ACCOUNT = "paper"
_OF_AN_ACCOUNT = frozenset(
    "desk check preview plan signal flatten adopt release set pause resume doctor canary disarm hindsight policy".split()
)  # commands that act on one account


def _edits(left: str, right: str) -> int:
    row = list(range(len(right) + 1))
    for i, a in enumerate(left, 1):
        previous, row[0] = row[0], i
        for j, b in enumerate(right, 1):
            previous, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, previous + (a != b))
    return row[-1]


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known name that ``word`` most likely meant, or None when nothing is near (more than half of it is wrong)."""
    ranked = sorted((_edits(word.lower(), name.lower()), name) for name in known)
    if not ranked or ranked[0][0] * 2 > max(len(word), 2):
        return None
    return ranked[0][1]


def default_account(known: Iterable[str]) -> str:
    """The account that is meant where none is named: `paper`, else the only one. Raises ``PolicyError`` naming all if there are several."""
    names = sorted(known)
    if DEFAULT_ACCOUNT in names:
        return DEFAULT_ACCOUNT
    if len(names) != 1:
        raise PolicyError(f"several accounts are set, and none is called {DEFAULT_ACCOUNT}; say which with --account: {', '.join(names)}")
    return names[0]


def of_account(text: str, account: str) -> str:
    """The text, the commands that it advises (between backquotes) completed by the account's name, so that they mean it wherever typed.

    Only of `paper` the name is left out: where there is an account of that name, it is the one that ``default_account`` means.
    """
    if account == DEFAULT_ACCOUNT:
        return text
    parts = text.split("`")
    for index in range(1, len(parts) - 1, 2):
        words = parts[index].split()
        if len(words) > 1 and words[0] == "qtkit" and words[1] in _OF_AN_ACCOUNT and "--account" not in words:
            parts[index] += f" --account {account}"
    return "`".join(parts)


def suggestion(word: str, known: Iterable[str]) -> str:
    """The tail of an error text: the nearest right name, or the list of all."""
    names = tuple(known)
    near = nearest(word, names)
    return f"did you mean '{near}'?" if near else f"known: {', '.join(sorted(names))}"
