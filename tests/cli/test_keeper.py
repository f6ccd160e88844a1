"""Mark-up, placeholders and terms, through the command."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from heed.models.bundle.bundle import Bundle
from heed.models.bundle.catalog import find
from heed.models.decoding.alignment import align, word_spans
from heed.models.runtime.encoder_decoder import OnnxNetwork
from heed.models.tasks.keeper import Keeper
from heed.models.tasks.translator import Translator
from heed.models.tokenizers.subwords import Tokenizer, load_tokenizers

Heed = Callable[..., Result]
DATA = Path(__file__).parents[1] / "data"


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
    line = "I am here. " + "{x} {y}" * 10 + " Good morning!"
    result = heed("translate", "--keep-tags", "--threads", "1", stdin=f"Hello.\n{line}\n".encode())
    assert result.exit_code == 0
    before, after = translate(heed, "I am here.\nGood morning!\n")
    assert result.stdout_bytes.decode().split("\n")[1] == f"{before} {'{x} {y}' * 10} {after}"
    assert result.stderr == (
        "Warning: 1 lines were translated in the pieces between what they keep, for its place in them could not be "
        "told: line 2\n"
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
    assert "'(' is no regular expression" in result.stderr


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
    terms.write_text("station\tBahnhof\nno tab\n", "utf-8")
    result = heed("translate", "--glossary", terms, stdin=b"a\n")
    assert result.exit_code == 3
    assert result.stderr == f"Error: {terms}: line 2 has no tab; write a term, a tab and its translation\n"


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
    network = OnnxNetwork(bundle.path, bundle.translation().network, device="cpu", threads=1)
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
    keeper = Keeper(Translator.load(find(None), threads=1, shares=True), [], tags=True)
    n_right = n_known = 0
    for (_, expected), (found,) in zip(cases, keeper.n_best([line for line, _ in cases]), strict=True):
        assert re.findall("</?b>", found.text) == ["<b>", "</b>"]
        if len(re.findall(rf"\b{expected}\b", found.text)) == 1:  # it was translated so, and once
            n_known += 1
            n_right += f"<b>{expected}</b>" in found.text
    assert n_known > 100
    assert n_right >= 0.9 * n_known


def test_protect_s_old_name_still_works(heed: Heed) -> None:
    result = heed("translate", "--threads", "1", "--keep", r"[A-Z]+-\d+", stdin=b"Is ACME-12 expensive?\n")
    assert "ACME-12" in result.stdout
    assert result.stderr == "--keep is called --protect now; the old name goes in the next release\n"
    assert "--keep " not in heed("translate", "--help").stdout
