"""Lines drawn with Braille characters, each two dots wide and four high."""

from collections.abc import Sequence

from rich.text import Text

BLANK = 0x2800
BITS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))  # bit of a dot, by row and column within a character


class Canvas:
    """A grid of characters. Coordinates run from 0 at the left and bottom to 1.

    Args:
        width, height: In characters.
    """

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self._dots: dict[tuple[int, int], int] = {}
        self._marks: dict[tuple[int, int], str] = {}
        self._styles: dict[tuple[int, int], str] = {}

    def line(self, places: Sequence[tuple[float, float]], style: str) -> None:
        """Draw a line through the places; a single place is a dot."""
        dots = [self._place(x, y) for x, y in places]
        for (x, y), (to_x, to_y) in zip(dots, dots[1:] or dots, strict=False):
            n = max(abs(to_x - x), abs(to_y - y), 1)
            for i in range(n + 1):
                self._dot(x + round((to_x - x) * i / n), y + round((to_y - y) * i / n), style)

    def mark(self, x: float, y: float, character: str, style: str) -> None:
        """Put a character into a cell, which hides its dots."""
        column, row = self._place(x, y)
        cell = row // 4, column // 2
        self._marks[cell], self._styles[cell] = character, style

    def rows(self) -> list[Text]:
        """The rows of the picture, from the top."""
        rows = []
        for row in range(self.height):
            text = Text()
            for cell in ((row, column) for column in range(self.width)):
                dots = chr(BLANK + self._dots[cell]) if cell in self._dots else " "
                text.append(self._marks.get(cell, dots), self._styles.get(cell, ""))
            rows.append(text)
        return rows

    def _place(self, x: float, y: float) -> tuple[int, int]:
        """Column and row of a dot, from the left and the top."""
        return round(x * (2 * self.width - 1)), round((1 - y) * (4 * self.height - 1))

    def _dot(self, x: int, y: int, style: str) -> None:
        cell = y // 4, x // 2
        self._dots[cell] = self._dots.get(cell, 0) | BITS[y % 4][x % 2]
        self._styles[cell] = style
