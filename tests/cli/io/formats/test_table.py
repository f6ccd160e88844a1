"""CSV: one column is translated, and the rest passes byte for byte."""

import csv
import io
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heed.cli.io.formats.table import Table
from heed.cli.io.records import Decoder
from heed.models.errors import DataError

Fill = Callable[..., bytes]
CELL = st.text("ab ,;|\t\"\n'é", max_size=6) | st.text(
    st.characters(exclude_characters="\r\0", codec="utf-8"), max_size=6
)


def written(rows: list[list[str]], separator: str, quoting: int, end: str) -> bytes:
    file = io.StringIO(newline="")
    csv.writer(file, delimiter=separator, quoting=quoting, lineterminator=end).writerows(rows)  # type: ignore[arg-type]
    return file.getvalue().encode()


@settings(deadline=None)
@given(
    st.integers(1, 4).flatmap(lambda n: st.lists(st.lists(CELL, min_size=n, max_size=n), min_size=1, max_size=5)),
    st.sampled_from(",;\t|"),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    st.sampled_from(["\n", "\r\n"]),
    st.data(),
)
def test_the_other_columns_pass_as_the_csv_module_reads_them(
    fill_lines: Fill, rows: list[list[str]], separator: str, quoting: int, end: str, data: st.DataObject
) -> None:
    names = [f"name{n}" for n in range(len(rows[0]))] + ["last"]
    rows = [[*row, "x"] for row in rows]
    column = data.draw(st.sampled_from(names))
    file = written([names, *rows], separator, quoting, end)
    assert fill_lines(Table(Decoder(), column), file, lambda text: text) == file
    found = fill_lines(Table(Decoder(), column), file, lambda text: f'{text}, "Ja"; {separator}')
    place = names.index(column)
    expected = [[*row[:place], f'{row[place]}, "Ja"; {separator}', *row[place + 1 :]] for row in rows]
    assert list(csv.reader(io.StringIO(found.decode(), newline=""), delimiter=separator)) == [names, *expected]


def test_a_column_by_its_number_has_no_row_of_names(fill_lines: Fill) -> None:
    found = fill_lines(Table(Decoder(), "2"), b'\xef\xbb\xbfx,"a ""b""\r\nc"\r\n\r\ny,d', str.upper)
    assert found == b'\xef\xbb\xbfx,"A ""B""\r\nC"\r\n\r\ny,D'


@pytest.mark.parametrize(
    ("data", "column", "complaint"),
    [
        (b"a,b\n1,2\n", "c", "file: line 1: no column 'c', or several; the first row has 'a', 'b'"),
        (b"a,b\n1\n", "2", "file: line 2: no column 2, only 1; mend the row or choose another --column"),
        (b'a,b\n1,"2\n3,4\n', "2", "file: line 3: a quote that is not closed before the end; mend the file"),
    ],
)
def test_what_is_wrong_with_a_row_is_told(fill_lines: Fill, data: bytes, column: str, complaint: str) -> None:
    with pytest.raises(DataError) as caught:
        fill_lines(Table(Decoder(), column), data, str)
    assert str(caught.value) == complaint
