import gzip
import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heed.models.errors import DataError
from heed.models.tokenizers.lossless import TextTokenizer
from heed.transformer.data.text import documents as module
from heed.transformer.data.text.documents import (
    Document,
    HeldOut,
    Part,
    TextFiles,
    hold_out,
    load_documents,
    survey_text,
    tokens_of,
    write_documents,
)

WriteLines = Callable[[str, list[str]], str]


def read_documents(paths: Sequence[str], field: str) -> list[Document]:
    return TextFiles(paths, (), field).read()


def read_completions(paths: Sequence[str]) -> list[Document]:
    return TextFiles((), paths, "text").read()


def test_a_file_is_one_text(tmp_path: Path, write_lines: WriteLines) -> None:
    paths = [write_lines("a.txt", ["one", "", "  two"]), write_lines("b", ["three"])]
    assert read_documents(paths, "text") == [Document("one\n\n  two\n"), Document("three\n")]


def test_a_line_of_a_jsonl_is_one_text(write_lines: WriteLines) -> None:
    texts = ["one\ntwo\n", "\u2028 \u2581 \r\n", "", "\U0001f600"]
    lines = [json.dumps({"id": 7, "body": text}) for text in texts]
    path = write_lines("a.jsonl", [*lines, "", "  "])
    assert read_documents([path], "body") == [Document(text) for text in texts if text]


def test_compressed_files_are_read_alike(tmp_path: Path) -> None:
    for name, content in (("a.txt", "one\ntwo\n"), ("a.jsonl", '{"text": "one"}\n{"text": "two"}\n')):
        (tmp_path / name).write_text(content, "utf-8")
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress(content.encode()))
        plain, packed = (read_documents([str(tmp_path / each)], "text") for each in (name, f"{name}.gz"))
        assert plain == packed
        assert len(plain) == (2 if "jsonl" in name else 1)


def test_prompts_and_completions(write_lines: WriteLines) -> None:
    records = [{"prompt": "2 + 2 =", "completion": " 4"}, {"prompt": "", "completion": "x", "source": "me"}]
    path = write_lines("a.jsonl", [json.dumps(record) for record in records])
    assert read_completions([path]) == [Document(" 4", "2 + 2 ="), Document("x")]


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("{", "is not JSON ("),
        pytest.param("[" * 100_000, "is not JSON (", id="nested"),
        ("[1]", "is not a JSON object; "),
        ('{"body": "x", "id": 1}', "has no text in a field 'text' (its fields: body, id); "),
        ('{"text": 3}', "has no text in a field 'text' "),
        ('{"text": null}', "has no text in a field 'text' "),
        ("{}", "has no text in a field 'text' (its fields: none); "),
        ('{"text": "a\\ud83d"}', "has \\ud83d in its field 'text', half of a character; correct it"),
    ],
)
def test_a_line_that_cannot_be_used_is_named(write_lines: WriteLines, line: str, complaint: str) -> None:
    path = write_lines("a.jsonl", ['{"text": "good"}', "", line])
    with pytest.raises(DataError) as caught:
        read_documents([path], "text")
    assert str(caught.value).startswith(f"{path}: line 3 {complaint}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("field", ["prompt", "completion"])
def test_a_pair_without_a_side_is_named(write_lines: WriteLines, field: str) -> None:
    path = write_lines("a.jsonl", [json.dumps({"prompt": "a", "completion": "b", field: None})])
    with pytest.raises(DataError, match=rf"^{path}: line 1 has no text in a field '{field}'"):
        read_completions([path])


def test_text_that_is_no_utf_8(tmp_path: Path) -> None:
    for name in ("a.txt", "a.jsonl"):
        (tmp_path / name).write_bytes(b'{"text": "good"}\n{"text": "f\xfcnf"}\n')
        with pytest.raises(DataError, match=rf"^{tmp_path / name}: line 2 is not UTF-8"):
            read_documents([str(tmp_path / name)], "text")


@pytest.mark.parametrize("content", ["", '{"text": ""}\n'])
def test_files_without_text_are_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(content)
    with pytest.raises(DataError, match=rf"^{path}: no text;"):
        read_documents([str(path)], "text")


DOCUMENTS = st.lists(
    st.builds(Document, st.text(st.characters(exclude_categories=["Cs"]), min_size=1), st.sampled_from(["", "p", "q"])),
    min_size=1,
    max_size=60,
)


@given(DOCUMENTS)
def test_documents_are_written_and_read(tmp_path_factory: pytest.TempPathFactory, documents: list[Document]) -> None:
    path = tmp_path_factory.mktemp("documents") / "valid.jsonl"
    write_documents(path, documents)
    assert load_documents(path) == documents


def test_damaged_documents_are_named(tmp_path: Path) -> None:
    path = tmp_path / "valid.jsonl"
    for line in ("[]", '{"text": "x"}', '{"prompt": "x"}', '{"text": "x", "prom'):
        path.write_text(line)
        with pytest.raises(DataError, match=rf"^{path}: line 1 "):
            load_documents(path)


# Parts


@pytest.fixture
def short_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PART", 4)


LETTERS = st.text("ab\n", max_size=40)


@given(LETTERS)
def test_the_parts_of_a_text_are_the_text(text: str) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(module, "PART", 4)
        parts = list(module._cut(text.split("\n")))
    assert "".join(part.text for part in parts) == text
    assert [part.begins for part in parts] == [True, *[False] * len(parts[1:])][: len(parts)]
    assert [part.ends for part in parts] == [*[False] * len(parts[1:]), True][: len(parts)]
    assert all(part.text for part in parts)
    for part in parts[:-1]:  # cut behind the first newline that it may be cut at
        assert part.text.endswith("\n")
        assert len(part.text) >= 4
        assert "\n" not in part.text[3:-1]


def test_long_files_and_records_are_read_in_parts(short_parts: None, write_lines: WriteLines) -> None:
    paths = [
        write_lines("a.txt", ["one", "two", "three"]),
        write_lines("b.jsonl", [json.dumps({"text": "four\nfive"})]),
    ]
    assert list(TextFiles(paths, (), "text")) == [
        Part("one\n", ends=False),
        Part("two\n", begins=False, ends=False),
        Part("three\n", begins=False),
        Part("four\n", ends=False),
        Part("five", begins=False),
    ]
    assert read_documents(paths, "text") == [Document("one\ntwo\nthree\n"), Document("four\nfive")]


# Holding out


def files_of(directory: Path, documents: list[Document]) -> TextFiles:
    """Documents as a user would store them."""
    texts, pairs = directory / "texts.jsonl", directory / "pairs.jsonl"
    lines = [json.dumps({"text": document.text}) for document in documents if not document.prompt]
    texts.write_text("".join(f"{line}\n" for line in lines), "utf-8")
    with_prompts = [document for document in documents if document.prompt]
    records = ({"prompt": document.prompt, "completion": document.text} for document in with_prompts)
    pairs.write_text("".join(f"{json.dumps(record)}\n" for record in records), "utf-8")
    return TextFiles([str(texts)], [str(pairs)], "text")


def divided(directory: Path, documents: list[Document], seed: int) -> tuple[list[Document], list[Document]]:
    """What is trained on, and what is held out."""
    files = files_of(directory, documents)
    seen = survey_text(files, seed)
    held = hold_out(files, seen)
    kept: list[Document] = []
    for part in HeldOut.of(seen, held).rest(files):
        before = "" if part.begins else kept.pop().text
        kept.append(Document(before + part.text, part.prompt))
    return kept, held


@given(DOCUMENTS, st.integers(0, 9), st.sampled_from([4, 1 << 16]))
def test_what_is_held_out_is_not_trained_on(
    tmp_path_factory: pytest.TempPathFactory, documents: list[Document], seed: int, part: int
) -> None:
    directory = tmp_path_factory.mktemp("documents")
    few = len(documents) < 20 and not any(document.prompt for document in documents)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(module, "PART", part if few else 1 << 16)
        if all(len(document.text) == 1 for document in documents) if few else len(set(documents)) == 1:
            with pytest.raises(DataError, match="too short to hold some out; give --valid-text or --valid-pairs"):
                divided(directory, documents, seed)
            return
        kept, held = divided(directory, documents, seed)
        assert divided(directory, documents, seed) == (kept, held)
    assert kept
    assert held
    assert all(document.text for document in kept + held)
    if few:  # nothing is lost
        assert sum(len(each.text) for each in kept + held) == sum(len(each.text) for each in documents)
    else:
        assert not set(kept) & set(held)
        assert set(kept) | set(held) == set(documents)
        assert len(set(held)) == len(held) == max(1, int(len(documents) * 0.05))
        assert not Counter(kept) - Counter(documents)


def test_the_share_is_that_of_the_documents(tmp_path: Path) -> None:
    documents = [Document(str(number)) for number in range(200)]
    kept, held = divided(tmp_path, documents, 1)
    assert (len(kept), len(held)) == (190, 10)
    assert held != divided(tmp_path, documents, 2)[1]


def test_of_a_few_texts_the_end_of_each_is_held_out(tmp_path: Path) -> None:
    """Of two files, a whole one would be half of the text, or nearly nothing."""
    kept, held = divided(tmp_path, [Document("a" * 950 + "b" * 50), Document("c" * 100)], 1)
    assert kept == [Document("a" * 950), Document("c" * 95)]
    assert held == [Document("b" * 50), Document("c" * 5)]


def test_of_a_long_text_no_more_is_held_out_than_can_be_judged_by(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "HELD_OUT_END", 7)
    kept, held = divided(tmp_path, [Document("a" * 1000)], 1)
    assert (kept, held) == ([Document("a" * 993)], [Document("a" * 7)])


def test_of_a_long_document_that_is_held_out_the_first_part_stands_for_it(tmp_path: Path, short_parts: None) -> None:
    documents = [Document(f"{number} and\n{number} again") for number in range(100, 140)]
    kept, held = divided(tmp_path, documents, 1)
    assert len(kept) == 38
    assert set(kept) < set(documents)
    assert {document.text[:3] for document in held} == {d.text[:3] for d in documents} - {d.text[:3] for d in kept}
    assert all(document.text.endswith(" and\n") for document in held)


def test_a_completion_is_never_cut(tmp_path: Path) -> None:
    pairs = [Document(f"completion {number}", f"prompt {number}") for number in range(3)]
    kept, held = divided(tmp_path, pairs, 1)
    assert (len(kept), len(held)) == (2, 1)
    assert set(kept + held) == set(pairs)


# As tokens


def test_tokens_are_prompts_and_texts_each_with_its_end(verbatim: TextTokenizer) -> None:
    documents = [Document("1 2\n3"), Document("45", "1 + "), Document("6")]
    pairs = tokens_of(documents, verbatim)
    assert len(pairs) == 3
    for number, document in enumerate(documents):
        *text, end = pairs.tgt[number].tolist()
        assert end == verbatim.eos_id
        assert verbatim.decode(text) == document.text
        assert verbatim.decode(pairs.src[number].tolist()) == document.prompt
