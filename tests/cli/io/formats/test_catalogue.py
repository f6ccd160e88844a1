"""Catalogues of gettext: polib reads the same entries, and msgfmt finds nothing wrong with what is filled in."""

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import polib
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heed.cli.io.formats.document import Document
from heed.cli.io.formats.gettext import directives, plurals
from heed.cli.io.formats.gettext.catalogue import Catalogue
from heed.cli.io.formats.gettext.entries import read_entries, unescaped, written
from heed.cli.io.records import Decoder
from heed.models.errors import DataError

Fill = Callable[..., bytes]
HEADER = 'msgid ""\nmsgstr ""\n"Content-Type: text/plain; charset=UTF-8\\n"\n'
FORMS = '"Plural-Forms: nplurals=2; plural=(n != 1);\\n"\n'
PO = (
    "# A catalogue\n#, fuzzy\n"
    + HEADER
    + FORMS
    + r"""
#. for translators
#: main.c:1
#, c-format
msgid "The file %s is open.\n"
msgstr ""

#, fuzzy, c-format
#| msgid "one %d"
msgid "two %d"
msgstr "zwei %d"

msgctxt "animal"
msgid "dog"
msgstr "Hund"

#, c-format
msgid "%d file"
msgid_plural "%d files"
msgstr[0] ""
msgstr[1] ""

#~ msgid "old"
#~ msgstr "alt"
"""
)
# polib does not know the escapes of other control characters, nor does it take other ends of lines as text.
TEXT = st.text(
    st.characters(
        codec="utf-8",
        exclude_categories=["Cc", "Cs", "Zl", "Zp"],
        include_characters="\n\t",
    ),
    max_size=200,
)
needs_msgfmt = pytest.mark.skipif(not shutil.which("msgfmt"), reason="gettext is not installed")


def by_dictionary(words: dict[str, str]) -> Callable[[str], str]:
    return lambda text: re.sub(r"[A-Za-z]{2,}", lambda match: words.get(match[0], match[0].upper()), text)


def catalogue(language: str = "de", *, everything: bool = False) -> Catalogue:
    return Catalogue(language, everything=everything)


@settings(deadline=None)
@given(TEXT, st.sampled_from(["\n", "\r\n"]))
def test_a_string_is_read_back_as_it_was(text: str, newline: str) -> None:
    lines = written("msgstr", text, newline)
    strings = re.findall(r'"((?:[^"\\\n]|\\.)*)"', lines)
    assert unescaped("".join(strings)) == text
    assert max(map(len, lines.split(newline))) <= max(
        79, 3 + max(map(len, re.findall(r"[^ ]+", "".join(strings))), default=0) + 12
    )
    assert polib.pofile(f'msgid "a"\n{lines}\n'.replace(newline, "\n"), check_for_duplicates=False)[0].msgstr == text


@settings(deadline=None)
@given(st.lists(st.tuples(TEXT.filter(bool), TEXT, st.booleans()), max_size=5, unique_by=lambda each: each[0]))
def test_entries_are_those_that_polib_reads_and_pass_byte_for_byte(
    fill: Fill, messages: list[tuple[str, str, bool]]
) -> None:
    file = polib.POFile()
    file.metadata = {"Content-Type": "text/plain; charset=UTF-8"}
    for msgid, msgstr, fuzzy in messages:
        file.append(polib.POEntry(msgid=msgid, msgstr=msgstr or "x", flags=["fuzzy"] * fuzzy, comment="a comment"))
    text = str(file)
    found = [(entry.strings["msgid"], entry.msgstrs[0], entry.flags) for entry in read_entries(text)][1:]
    assert found == [(entry.msgid, entry.msgstr, entry.flags) for entry in file]
    assert fill(catalogue(), text.encode(), str.upper) == text.encode()


def test_what_is_untranslated_is_filled_in_and_the_rest_passes(fill: Fill) -> None:
    words = {"The": "Die", "file": "Datei", "files": "Dateien", "is": "ist", "open": "offen"}
    found = fill(catalogue(), PO.encode(), by_dictionary(words)).decode()
    expected = PO.replace('open.\\n"\nmsgstr ""', 'open.\\n"\nmsgstr "Die Datei %s ist offen.\\n"')
    expected = expected.replace('msgstr[0] ""', 'msgstr[0] "%d Datei"').replace(
        'msgstr[1] ""', 'msgstr[1] "%d Dateien"'
    )
    assert found == expected


def test_all_translates_again_and_takes_the_flag_away(fill: Fill) -> None:
    found = fill(catalogue(everything=True), PO.encode(), by_dictionary({"two": "zwo", "dog": "Köter"})).decode()
    assert '\n#, c-format\nmsgid "two %d"\nmsgstr "zwo %d"\n' in found
    assert 'msgctxt "animal"\nmsgid "dog"\nmsgstr "Köter"\n' in found
    assert "#|" not in found
    assert found.endswith('#~ msgid "old"\n#~ msgstr "alt"\n')


def test_a_translation_that_lost_a_placeholder_is_fuzzy(fill: Fill) -> None:
    grammar = catalogue()
    found = fill(grammar, PO.encode(), lambda text: text.replace("⟦1⟧", "")).decode()
    assert '\n#, fuzzy, c-format\nmsgid "The file %s is open.\\n"\nmsgstr "The file  is open.\\n"\n' in found
    assert '#, fuzzy, c-format\nmsgid "%d file"\n' in found
    assert grammar.warnings() == [
        "2 translations lack a placeholder of their msgid, or have another, and are marked fuzzy"
    ]


def test_a_template_s_header_is_filled_in(fill: Fill) -> None:
    template = HEADER.replace("UTF-8", "CHARSET") + (
        '"Language: \\n"\n"Plural-Forms: nplurals=INTEGER; plural=EXPRESSION;\\n"\n\n'
        'msgid "%d file"\nmsgid_plural "%d files"\nmsgstr[0] ""\nmsgstr[1] ""\n'
    )
    found = fill(catalogue("pl"), template.encode(), str).decode()
    assert polib.pofile(found).metadata["Language"] == "pl"
    assert plurals.Plurals(polib.pofile(found).metadata["Plural-Forms"]).n_forms == 3
    assert polib.pofile(found)[0].msgstr_plural == {0: "%d file", 1: "%d files", 2: "%d files"}


def test_the_forms_of_a_language_that_is_not_known_are_left_out_and_told(fill: Fill) -> None:
    data = (HEADER + '\nmsgid "a"\nmsgid_plural "b"\nmsgstr[0] ""\nmsgstr[1] ""\n').encode()
    grammar = catalogue("xx")
    assert fill(grammar, data, str.upper) == data
    assert grammar.warnings() == ["1 entries were left out: the header tells no plural forms; add Plural-Forms to it"]


def test_a_charset_that_has_not_the_characters_is_told(fill: Fill) -> None:
    data = (HEADER.replace("UTF-8", "ISO-8859-1") + '\nmsgid "caf\xe9"\nmsgstr ""\n\nmsgid "b"\nmsgstr ""\n').encode(
        "latin-1"
    )
    grammar = catalogue()
    found = fill(grammar, data, lambda text: "ł" if text == "b" else text.upper())
    assert found == data.replace(b'"caf\xe9"\nmsgstr ""', b'"caf\xe9"\nmsgstr "CAF\xc9"')
    assert "1 entries were left out: ISO-8859-1 has no such characters" in grammar.warnings()[0]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('msgid "a"\nmsgstr "b\n', "file: line 2: no line of a catalogue: 'msgstr \"b'; mend it, as msgfmt -c shows"),
        ('msgid "a"\n\nmsgid "b"\n', "file: line 3: a second msgid in one entry; mend the catalogue"),
        ('"a"\n', "file: line 1: no line of a catalogue: '\"a\"'; mend it, as msgfmt -c shows"),
        ('msgid "a"\n', "file: line 2: the entry before has no msgstr; mend the catalogue"),
    ],
)
def test_a_file_that_is_no_catalogue_is_told_with_its_line(fill: Fill, text: str, complaint: str) -> None:
    with pytest.raises(DataError) as caught:
        fill(catalogue(), text.encode(), str)
    assert str(caught.value) == complaint


PAIRS = [
    ("c", "%s of %d", "%s von %d"), ("c", "%s of %d", "%d von %s"), ("c", "%s of %d", "%2$d von %1$s"),
    ("c", "%s", "x"), ("c", "%d", "%i"), ("c", "%d", "%u"), ("c", "%d", "%ld"), ("c", "%5.2f", "%f"),
    ("c", "%*d", "%d"), ("c", "100%%", "100 %%"), ("c", "%s", "%s %s"), ("c", "%zu", "%zu"), ("c", "%x", "%X"),
    ("c", "%.*s", "%.*s"), ("c", "%c", "%s"), ("python", "%(a)s %(b)d", "%(b)d %(a)s"),
    ("python", "%(a)s", "%(b)s"), ("python", "%s %d", "%s %d"), ("python-brace", "{a} {b}", "{b} {a}"),
    ("python-brace", "{a}", "a"), ("sh", "$a and ${b}", "${b} und $a"), ("sh", "$a", "$b"),
    ("qt", "%1 of %2", "%2 von %1"), ("qt", "%1", "x"), ("perl-brace", "{a}", "{a}"), ("perl-brace", "{a}", "b"),
]  # fmt: skip


@needs_msgfmt
@pytest.mark.parametrize(("form", "source", "translation"), PAIRS)
def test_placeholders_are_kept_where_msgfmt_says_so(tmp_path: Path, form: str, source: str, translation: str) -> None:
    po = tmp_path / "a.po"
    po.write_text(f'{HEADER}\n#, {form}-format\nmsgid "{source}"\nmsgstr "{translation}"\n', "utf-8")
    result = subprocess.run(["msgfmt", "-c", "-o", "/dev/null", po], capture_output=True, text=True, check=False)
    assert directives.keeps(form, source, translation) == (result.returncode == 0), result.stderr


def test_arguments_in_another_order_are_numbered() -> None:
    assert directives.mend_order("c", "%s: %d of %d", "%d von %d: %s") == "%2$d von %3$d: %1$s"
    assert directives.mend_order("c", "%s %d%%", "%d%% %s") == "%2$d%% %1$s"
    for source, translation in (("%s %d", "%s %d"), ("%s %d", "%d"), ("%*d %s", "%s %*d"), ("%s", "%s")):
        assert directives.mend_order("c", source, translation) == translation
    assert directives.mend_order("python", "%s %d", "%d %s") == "%d %s"


@needs_msgfmt
@pytest.mark.parametrize("language", sorted(plurals.FORMS))
def test_every_language_s_forms_are_a_catalogue_that_msgfmt_takes(tmp_path: Path, fill: Fill, language: str) -> None:
    template = HEADER + '"Language: \\n"\n"Plural-Forms: nplurals=INTEGER; plural=EXPRESSION;\\n"\n'
    template += '\n#, c-format\nmsgid "one file"\nmsgid_plural "%d files"\nmsgstr[0] ""\nmsgstr[1] ""\n'
    po = tmp_path / "a.po"
    po.write_bytes(fill(catalogue(language), template.encode(), str.upper))
    result = subprocess.run(["msgfmt", "-c", "-o", tmp_path / "a.mo", po], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "fuzzy" not in po.read_text("utf-8")


def test_windows_of_records_are_no_larger_than_asked() -> None:
    from heed.cli.io.inputs import Window

    windows = Document(catalogue(), Decoder()).records([Window("a", 1, [PO.encode()])], 2)
    assert [len(window) for window in windows] == [2, 1]
