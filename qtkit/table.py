"""A table that shows itself in notebooks: plain HTML with its style in the cells, so that a notebook that is not trusted shows it too."""

import html
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import polars as pl

GOOD, BAD, QUIET = "#00694d", "#b04a00", "#767676"
_CELL = "padding:4px 8px;border:none;border-bottom:1px solid #e8e8e8;vertical-align:top;"
_HEAD = "padding:4px 8px;border:none;border-bottom:2px solid #999999;font-weight:600;vertical-align:bottom;"
_WRAPS_FROM = 20  # letters of a text; a time has 19. What is wider than the page is cut off on paper and in a picture
_WRAPS, _WHOLE = "overflow-wrap:anywhere;min-width:10em;", "white-space:nowrap;"

Tone = Callable[[Mapping[str, Any], str], str]


@dataclass(frozen=True, slots=True, repr=False)
class Table:
    """A frame of text and how it looks. ``frame`` is for computing on; ``right`` are the columns of numbers."""

    frame: pl.DataFrame
    caption: str
    right: frozenset[str]
    colours: tuple[tuple[str, ...], ...]

    def __repr__(self) -> str:
        rows = [self.frame.columns, *self.frame.rows()]
        widths = [max(len(row[i]) for row in rows) for i in range(self.frame.width)]
        lines = []
        for row in rows:
            pairs = zip(row, self.frame.columns, widths, strict=True)
            lines.append("  ".join(cell.rjust(width) if name in self.right else cell.ljust(width) for cell, name, width in pairs).rstrip())
        return "\n".join([*([self.caption] if self.caption else []), *lines])

    def _repr_html_(self) -> str:
        head = "".join(f'<th style="{_HEAD}text-align:{self._side(name)}">{html.escape(name)}</th>' for name in self.frame.columns)
        body = "".join(f"<tr>{self._row(row, colours)}</tr>" for row, colours in zip(self.frame.rows(), self.colours, strict=True))
        caption = f'<p style="margin:4px 0 6px 0"><b>{html.escape(self.caption)}</b></p>' if self.caption else ""
        style = "border-collapse:collapse;border:none;font-size:13px;font-variant-numeric:tabular-nums"
        return f'<div>{caption}<table style="{style}"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'

    def _row(self, row: Sequence[str], colours: Sequence[str]) -> str:
        cells = []
        for name, cell, colour in zip(self.frame.columns, row, colours, strict=True):
            tone = f"color:{colour};" if colour else ""
            width = _WRAPS if name not in self.right and len(cell) >= _WRAPS_FROM else _WHOLE
            cells.append(f'<td style="{_CELL}{width}text-align:{self._side(name)};{tone}">{html.escape(cell)}</td>')
        return "".join(cells)

    def _side(self, name: str) -> str:
        return "right" if name in self.right else "left"


def table(
    rows: Iterable[Mapping[str, object]], *, columns: Sequence[str], right: Iterable[str] = (), caption: str = "", tone: Tone | None = None
) -> Table:
    """A table of rows by column name, everything as text; ``tone`` gives the colour of a cell, or an empty text."""
    texts = [{name: _text(row.get(name)) for name in columns} for row in rows]
    colours = tuple(tuple(tone(row, name) if tone else "" for name in columns) for row in texts)
    frame = pl.DataFrame(texts, schema=dict.fromkeys(columns, pl.String), orient="row")
    return Table(frame, caption, frozenset(right), colours)


def _text(value: object) -> str:
    return "" if value is None else f"{value.normalize():f}" if isinstance(value, Decimal) else str(value)
