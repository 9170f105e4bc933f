"""Rows of text in columns, as many as a terminal has room for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size
from rich.text import Text

__all__ = ["Column", "Layout", "plain"]

_GAP = 2


@dataclass(frozen=True, slots=True)
class Column:
    """A column: how it looks, and how well a narrow terminal can do without it."""

    name: str
    right: bool = False
    """Numbers stand at the right."""
    rank: int = 0
    """The highest is left out first, and what is empty in all rows; 0 is never left out."""
    least: int = 0
    """Cells that it takes at least, for rows that come later."""
    most: int | None = None
    """Cells that it takes at most: a longer text is cut. None for amounts, and for names to be copied."""


class Layout:
    """Where the cells of some rows stand. Nothing is cut that has no `Column.most`.

    Example:
        >>> columns = Column("model", most=7), Column("calls", right=True, rank=1), Column("cost", right=True)
        >>> rows = [("gpt-4o-mini", "12", "$0.35")]
        >>> for line in Layout(columns, rows, 80).lines(rows):
        ...     print(line)
        gpt-4o…     12  $0.35
        >>> print(Layout(columns, rows, 15).header)
        model     cost
    """

    def __init__(self, columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int) -> None:
        self._columns = columns
        self._widths = [
            _width(column, [plain(row[place]) for row in rows]) for place, column in enumerate(columns)
        ]
        self._kept = [
            place
            for place, column in enumerate(columns)
            if not column.rank or not rows or any(row[place] for row in rows)
        ]
        for place in sorted(self._kept.copy(), key=lambda place: -columns[place].rank):
            if columns[place].rank == 0 or self.width <= width:
                break
            self._kept.remove(place)

    @property
    def width(self) -> int:
        """Cells of a whole line."""
        return sum(self._widths[place] for place in self._kept) + _GAP * (len(self._kept) - 1)

    @property
    def header(self) -> Text:
        """The names of the columns."""
        return Text(self._line([column.name for column in self._columns]), style="dim")

    def lines(self, rows: Iterable[Sequence[str]]) -> list[Text]:
        """A line for each row."""
        return [Text(self._line(row)) for row in rows]

    def _line(self, row: Sequence[str]) -> str:
        cells = [_cell(plain(row[place]), self._widths[place], self._columns[place]) for place in self._kept]
        return (" " * _GAP).join(cells).rstrip()


def plain(text: str) -> str:
    """The text without what could steer a terminal: some of it is from outside."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


def _width(column: Column, cells: Iterable[str]) -> int:
    widest = max((cell_len(cell) for cell in (column.name, *cells)), default=0)
    return max(column.least, widest if column.most is None else min(widest, column.most))


def _cell(text: str, width: int, column: Column) -> str:
    length = cell_len(text)
    if column.most is not None and length > width:
        return set_cell_size(text, width - 1) + "…"
    room = " " * (width - length)
    return room + text if column.right else text + room
