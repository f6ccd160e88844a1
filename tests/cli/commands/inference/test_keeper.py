"""Mark-up, placeholders and terms, through the command."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from heed.cli.io.records import Record
from heed.cli.translation.kept import OpenMarkup
from heed.models.bundle.bundle import Bundle
from heed.models.bundle.catalog import find
from heed.models.decoding.alignment import align
from heed.models.tasks.translation.keeper import Keeper
from heed.models.tasks.translation.translator import Translator
from heed.models.text.words import word_spans
from heed.models.tokenizers.subwords import Tokenizer, load_tokenizers

Heed = Callable[..., Result]
DATA = Path(__file__).parents[3] / "data"


def translate(heed: Heed, text: str, *arguments: object) -> list[str]:
    result = heed("translate", "--threads", "1", *arguments, stdin=text.encode())
    assert result.exit_code == 0, result.stderr
    assert result.stderr == ""
    return result.stdout_bytes.decode().split("\n")[:-1]


def test_mark_up_and_placeholders_are_kept(heed: Heed) -> None:
    lines = [
        "The <b>red car</b> is in front of the <i>station</i>.",
        "Hello {name}, I have {0} books.",
        "See https://example.com/a?b=1.",
        "<hr/>",
        "",
        "Good morning!",
    ]
    found = translate(heed, "".join(line + "\n" for line in lines), "--keep-tags")
    assert re.sub("[^<>]+(?=<)", " ", found[0]).strip(" .") == "<b> </b> <i> </i>"
    assert [found[1].count(kept) for kept in ("{name}", "{0}")] == [1, 1]
    assert found[2].endswith(" https://example.com/a?b=1.")
    assert found[3:] == ["<hr/>", "", *translate(heed, lines[5] + "\n")]


def test_a_pattern_of_one_s_own_is_kept(heed: Heed) -> None:
    found = translate(
        heed, "Is ACME-12 expensive? I gave @alice a book.\n", "--protect", r"[A-Z]+-\d+", "--protect", r"@\w+"
    )
    assert len(re.findall(r"ACME-12\b", found[0])) == len(re.findall(r"@alice\b", found[0])) == 1


def test_what_has_nothing_to_keep_is_translated_as_ever(heed: Heed) -> None:
    text = "".join((DATA / "tatoeba.test.en").read_text("utf-8").splitlines(keepends=True)[:40])
    assert translate(heed, text, "--keep-tags", "--protect", "<x>") == translate(heed, text)


def test_a_line_of_more_placeholders_than_there_are_names_is_translated_piece_by_piece(heed: Heed) -> None:
    line = "I am here. " + "{x} and {y} " * 10 + "Good morning!"
    result = heed("translate", "--keep-tags", "--threads", "1", stdin=f"Hello.\n{line}\n".encode())
    assert result.exit_code == 0
    before, after = translate(heed, "I am here.\nGood morning!\n")
    found = result.stdout_bytes.decode().split("\n")[1]
    assert found.startswith(f"{before} {{x}} ")
    assert found.endswith(f" {{y}} {after}")
    assert re.findall(r"\{.\}", found) == re.findall(r"\{.\}", line)
    assert result.stderr == (
        "Warning: 1 line was translated in pieces, around what is protected, because its place could not be "
        "determined: line 2\n"
    )


def test_a_line_of_very_many_tags_keeps_them(heed: Heed) -> None:
    """Their places are sought in about linear time, and tags are no deeper than Python calls."""
    for line in ("<br> Yes. " * 400, "<b>" * 600 + "Yes." + "</b>" * 600, "<b>Yes.</b> " * 2000):
        result = heed("translate", "--keep-tags", "--beam-size", 1, "--threads", 1, stdin=f"{line}\n".encode())
        assert result.exit_code == 0
        assert re.findall("<[^>]*>", result.stdout_bytes.decode()) == re.findall("<[^>]*>", line)


def test_a_pattern_that_is_none_is_refused(heed: Heed) -> None:
    result = heed("translate", "--protect", "(", stdin=b"a\n")
    assert result.exit_code == 2
    assert "'(' is not a regular expression" in result.stderr


def test_terms_and_tags_go_together(heed: Heed, tmp_path: Path) -> None:
    terms = tmp_path / "terms.tsv"
    terms.write_text("car\tWagen\n", "utf-8")
    (found,) = translate(heed, "The <b>red car</b> of {name} is old.\n", "--keep-tags", "--glossary", terms)
    assert "Wagen</b>" in found
    assert "{name}" in found


def test_a_term_that_has_no_room_is_told(heed: Heed, tmp_path: Path) -> None:
    terms = tmp_path / "terms.tsv"
    terms.write_text("station\tHauptbahnhofsvorplatz\n", "utf-8")
    text = b"Good morning!\n" + b"The station.\n" * 6
    result = heed("translate", "--glossary", terms, "--max-length", "2", "--threads", "1", stdin=text)
    assert result.exit_code == 0
    named = ", ".join(f"line {number} (Hauptbahnhofsvorplatz)" for number in range(2, 7))
    assert result.stderr == f"Warning: 6 lines lack a term of the glossary: {named}, …\n"


def test_a_term_of_two_sentences_is_told(heed: Heed, tmp_path: Path) -> None:
    terms = tmp_path / "terms.tsv"
    terms.write_text("Yahoo! The Firm\tBahnhof\ncar\tWagen\n", "utf-8")
    text = b"The car.\nI like Yahoo! The Firm is big. The car is red.\n"
    result = heed("translate", "--glossary", terms, "--threads", "1", stdin=text)
    assert result.stderr == "Warning: 1 line lacks a term of the glossary: line 2 (Bahnhof)\n"
    assert heed("translate", "--no-split", "--glossary", terms, "--threads", "1", stdin=text).stderr == ""


def test_lines_are_numbered_as_in_the_input(heed: Heed, tmp_path: Path) -> None:
    terms, source = tmp_path / "terms.tsv", tmp_path / "in"
    terms.write_text("station\tHauptbahnhofsvorplatz\n", "utf-8")
    source.write_text("Good morning!\n" * 3 + "The station.\n")
    options = ["--glossary", terms, "--max-length", "2", "--threads", "1", "-i", source]
    told = "Warning: 1 line lacks a term of the glossary: line 4 (Hauptbahnhofsvorplatz)\n"
    assert heed("translate", *options).stderr == told
    assert heed("translate", *options, "--shard", "2/2").stderr == told


def test_a_glossary_that_is_wrong_is_bad_data(heed: Heed, tmp_path: Path) -> None:
    terms = tmp_path / "terms.tsv"
    terms.write_text("station\tBahnhof\nterm\t\n", "utf-8")
    result = heed("translate", "--glossary", terms, stdin=b"a\n")
    assert result.exit_code == 3
    assert result.stderr == f"Error: {terms}: line 2: the translation is empty\n"


def test_the_characters_of_tokens_are_those_of_the_text() -> None:
    tokenizer: Tokenizer = load_tokenizers(find(None))[0]
    text = "Ein großes Café \u2026 Haus\u0308er, ja."
    ids, spans = tokenizer.encode_spans(text)
    assert [ids] == tokenizer.encode([text])
    assert spans[0][0] == 0
    assert spans[-1][1] == len(text)
    assert all(start <= end for start, end in spans)
    assert text[slice(*spans[0])].strip() == "Ein"
    assert text[slice(*spans[-2])].strip() == "ja"


def test_hiding_a_word_costs_its_translation_most() -> None:
    """The shares against the log-probabilities that they come from, word by word."""
    bundle, tokenizers = Bundle(find(None)), load_tokenizers(find(None))
    network = bundle.network(device="cpu", threads=1)
    src, tgt = "The red car is old.", "Das rote Auto ist alt."
    shares = align(network.state(), tokenizers, src, tgt)
    assert shares.shape == (len(word_spans(src)), len(word_spans(tgt)))
    assert (shares >= 0).all()
    assert (shares.sum(axis=0) <= 1).all()
    assert shares[[1, 2, 4]].argmax(axis=1).tolist() == [1, 2, 4]
    long = " ".join([src] * 5)  # more words than are hidden at a time
    assert align(network.state(), tokenizers, long, tgt).shape == (30, 6)


@pytest.mark.slow
def test_of_200_lines_all_tags_are_balanced_and_around_the_known_words() -> None:
    """Words whose translation a small dictionary knows; it must be all that is within the tags, nearly always."""
    known = {
        "book": "Buch",
        "car": "Auto",
        "dog": "Hund",
        "father": "Vater",
        "friend": "Freund",
        "house": "Haus",
        "money": "Geld",
        "mother": "Mutter",
        "school": "Schule",
        "time": "Zeit",
        "today": "heute",
        "tomorrow": "morgen",
        "Tom": "Tom",
        "Mary": "Maria",
        "always": "immer",
        "not": "nicht",
        "and": "und",
        "but": "aber",
    }
    english = (DATA / "tatoeba.test.en").read_text("utf-8").split("\n")
    cases = []
    for line in english:
        words = [word for word in known if len(re.findall(rf"\b{word}\b", line)) == 1]
        cases += [(re.sub(rf"\b{word}\b", f"<b>{word}</b>", line), known[word]) for word in words[:1]]
    cases = cases[:200]
    assert len(cases) == 200
    keeper = Keeper(Translator.load(find(None), threads=1, aligns=True), [], tags=True)
    n_right = n_known = 0
    for (_, expected), (found,) in zip(cases, keeper.n_best([line for line, _ in cases]), strict=True):
        assert re.findall("</?b>", found.text) == ["<b>", "</b>"]
        if len(re.findall(rf"\b{expected}\b", found.text)) == 1:  # it was translated so, and once
            n_known += 1
            n_right += f"<b>{expected}</b>" in found.text
    assert n_known > 100
    assert n_right >= 0.9 * n_known


def test_a_term_takes_the_place_of_its_word(heed: Heed, tmp_path: Path) -> None:
    """It was once hung on the end: "Das Café ist geschlossen Kaffeehaus."."""
    terms = tmp_path / "terms.tsv"
    terms.write_text("café\tKaffeehaus\nteacher\tPädagoge\n", "utf-8")
    text = "The café is closed.\nMy brother is a teacher.\n"
    found = translate(heed, text, "--glossary", terms)
    assert found == ["Das Kaffeehaus ist geschlossen.", "Mein Bruder ist Pädagoge."]


@pytest.mark.parametrize(
    "line", ["12345", "=====", "*", "2 + 2 = 4", "3.14159", "?!", "  - 1,5 % -", "\u200b", "½", "Ⅳ²"]
)
def test_a_line_without_a_letter_passes_as_it_is(heed: Heed, line: str) -> None:
    assert translate(heed, line + "\n") == [line]


def test_characters_that_the_model_does_not_know_stay_and_are_told(heed: Heed) -> None:
    text = "I love you \U0001f600.\nGood morning!\n你好\nŁódź is a city.\n"
    result = heed("translate", "--threads", "1", stdin=text.encode())
    assert result.stdout.split("\n")[::2][:2] == ["Ich liebe dich \U0001f600.", "你好"]
    assert "Łódź" in result.stdout.split("\n")[3]
    assert result.stderr == (
        "Warning: 3 lines have characters that the model does not know, copied as they are: line 1 (\U0001f600), "
        "line 3 (你好), line 4 (Ł ź)\n"
    )


@pytest.mark.parametrize("invisible", "\u200b\u2060\u00ad\ufeff\u200e\u034f\u200c\ufe0f")
def test_characters_that_are_not_seen_part_no_word(heed: Heed, invisible: str) -> None:
    text = f"The sta{invisible}tion is closed.\n"
    assert translate(heed, text) == translate(heed, text.replace(invisible, ""))


def test_characters_that_tokenizers_drop_stay_or_are_spaces(heed: Heed) -> None:
    plain = translate(heed, "I am hungry.\n")[0]
    text = (
        "\x1b[1;31mI am hungry.\x1b[0m\nI am\vhungry.\nI am\x85hungry.\nThe room has 20 m².\nZ\u0327\u0307 is here.\n"
    )
    result = heed("translate", "--threads", "1", stdin=text.encode())
    coloured, *spaced, squared, accents = result.stdout.split("\n")[:-1]
    assert coloured == f"\x1b[1;31m{plain}\x1b[0m"
    assert spaced == [plain, plain]
    assert "20 m²" in squared
    assert "Z\u0327\u0307" in accents
    assert "line 1 (\\x1b[1;31m \\x1b[0m), line 4 (²)" in result.stderr


def test_tokens_show_what_stands_in_the_translation(heed: Heed) -> None:
    result = heed("translate", "--json", "--keep-tags", "--threads", "1", stdin=b"I know {name}. Hello {x}!\n")
    tokens = "".join(json.loads(result.stdout)["tokens"])
    assert tokens.count("{name}") == tokens.count("{x}") == 1
    assert not re.search("Tom|Boston|Maria", tokens)


def test_mark_up_of_several_lines_is_kept(heed: Heed) -> None:
    text = "<P\n>I am hungry.</P\n>\n<!-- It is\ncold. -->It is cold.\n<style>\na {}\n</style>\n"
    hungry, cold = translate(heed, "I am hungry.\nIt is cold.\n")
    expected = f"<P\n>{hungry}</P\n>\n<!-- It is\ncold. -->{cold}\n<style>\na {{}}\n</style>"
    assert translate(heed, text, "--keep-tags") == expected.split("\n")


@pytest.mark.parametrize("size", [1, 2, 5])
def test_what_a_line_stands_in_is_known_however_lines_arrive(size: int) -> None:
    lines = ["Yes.", "a <!-- b", "c", "d --> e <p", "class='x'>f", "g"]
    records = [Record((line,), b"", b"\n", str.encode) for line in lines]
    windows = [records[i : i + size] for i in range(0, len(records), size)]
    found = [record.inside for window in OpenMarkup().follow(windows) for record in window]
    assert found == ["", "", "comment", "comment", "tag", ""]


def test_mark_up_that_is_closed_nowhere_is_told(heed: Heed) -> None:
    result = heed("translate", "--keep-tags", "--threads", "1", stdin=b"Yes.\n<!-- a\nb\nc\n")
    assert result.stderr == (
        "Warning: mark-up that line 2 opens is closed nowhere; from there on nothing was translated\n"
    )


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_utf_16_is_told(heed: Heed, encoding: str, tmp_path: Path) -> None:
    result = heed("translate", stdin="Good morning!\nHow are you?\n".encode(encoding))
    assert result.exit_code == 3
    assert re.fullmatch(r"Error: stdin: (UTF-..(?:LE|BE)?); convert it: iconv -f \1 -t UTF-8\n", result.stderr)
    assert result.stdout == ""
    for name in ("src", "tgt"):
        (tmp_path / name).write_bytes("Good morning!\n".encode(encoding) * 40)
    trained = heed("train", "--src", tmp_path / "src", "--tgt", tmp_path / "tgt", "-o", tmp_path / "run")
    assert trained.exit_code == 3
    assert f"{tmp_path / 'src'}: UTF-" in trained.stderr


def test_protect_s_old_name_still_works(heed: Heed) -> None:
    result = heed("translate", "--threads", "1", "--keep", r"[A-Z]+-\d+", stdin=b"Is ACME-12 expensive?\n")
    assert "ACME-12" in result.stdout
    assert result.stderr == "--keep is called --protect now; the old name goes in the next release\n"
    assert "--keep " not in heed("translate", "--help").stdout
