import gzip
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heed.models.errors import DataError
from heed.models.text_tokenizer import TextTokenizer
from heed.transformer.documents import (
    Document,
    TokenStream,
    hold_out,
    load_documents,
    read_completions,
    read_documents,
    write_documents,
)

WriteLines = Callable[[str, list[str]], str]


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
        ("{", "is no JSON ("),
        pytest.param("[" * 100_000, "is no JSON (", id="nested"),
        ("[1]", "is no JSON object; "),
        ('{"body": "x", "id": 1}', "has no text in a field 'text' (its fields: body, id); "),
        ('{"text": 3}', "has no text in a field 'text' "),
        ('{"text": null}', "has no text in a field 'text' "),
        ("{}", "has no text in a field 'text' (its fields: none); "),
        ('{"text": "a\\ud83d"}', "has \\ud83d in its field 'text', half of a character; mend it"),
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
    with pytest.raises(DataError, match=rf"^{path}: no text in there"):
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


# Holding out


@given(DOCUMENTS, st.integers(0, 9))
def test_what_is_held_out_is_not_trained_on(documents: list[Document], seed: int) -> None:
    few = len(documents) < 20 and not any(document.prompt for document in documents)
    if all(len(document.text) == 1 for document in documents) if few else len(set(documents)) == 1:
        with pytest.raises(DataError, match="too short to hold some out; give --valid-text or --valid-pairs"):
            hold_out(documents, 0.05, seed)
        return
    kept, held = hold_out(documents, 0.05, seed)
    assert kept
    assert held
    assert all(document.text for document in kept + held)
    # Nothing is lost, be it in whole documents or in two parts.
    assert sum(len(each.text) for each in kept + held) == sum(len(each.text) for each in documents)
    if not few:
        assert not set(kept) & set(held)
        assert Counter(kept + held) == Counter(documents)
    assert hold_out(documents, 0.05, seed) == (kept, held)


def test_the_share_is_that_of_the_documents() -> None:
    documents = [Document(str(number)) for number in range(200)]
    kept, held = hold_out(documents, 0.05, 1)
    assert (len(kept), len(held)) == (190, 10)
    assert held != hold_out(documents, 0.05, 2)[1]


def test_of_a_few_texts_the_end_of_each_is_held_out() -> None:
    """Of two files, a whole one would be half of the text, or nearly nothing."""
    kept, held = hold_out([Document("a" * 990 + "b" * 110), Document("c" * 100)], 0.1, 1)
    assert kept == [Document("a" * 990), Document("c" * 90)]
    assert held == [Document("b" * 110), Document("c" * 10)]


def test_a_completion_is_never_cut() -> None:
    pairs = [Document(f"completion {number}", f"prompt {number}") for number in range(3)]
    kept, held = hold_out(pairs, 0.05, 1)
    assert (len(kept), len(held)) == (2, 1)
    assert set(kept + held) == set(pairs)


# As tokens


def test_a_stream_has_all_documents_each_with_its_end(verbatim: TextTokenizer) -> None:
    documents = [Document("1 2\n3"), Document("45", "1 + "), Document("6")]
    stream = TokenStream(documents, verbatim)
    assert len(stream) == 3
    assert stream.n_bytes == 5 + 2 + 1  # what is given is not predicted
    ends = stream.lengths.cumsum().tolist()
    for document, begin, end, n_given in zip(documents, [0, *ends], ends, stream.n_given, strict=False):
        ids = stream.ids[begin:end].tolist()
        assert ids[-1] == verbatim.eos_id
        assert verbatim.decode(ids[:n_given]) == document.prompt
        assert verbatim.decode(ids[n_given:-1]) == document.text
    assert ends[-1] == len(stream.ids)
