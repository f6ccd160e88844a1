import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from heed.models.bundle import catalog
from heed.models.decoding.config import DecodeConfig
from heed.models.tasks.translation.translator import Translator
from heed.models.text.encoding import other_encoding
from heed.models.text.sentences import cut
from heed.transformer.decoding import TorchNetwork
from heed.transformer.training.runs.run import TranslationRun

Heed = Callable[..., Result]
SHORT = ("--max-length", "6", "--threads", "1", "--beam-threshold", "off")  # lines of 2 to 6 digits need no more


@pytest.fixture(scope="session")
def reference(trained: Path) -> Translator:
    """The network before its export, in PyTorch."""
    run = TranslationRun.open(trained)
    return Translator(TorchNetwork(run.load_network(run.best()[0])), run.src_tokenizer, run.tgt_tokenizer)


@pytest.fixture(scope="session")
def lines(digit_lines: Callable[[int, int], list[str]]) -> list[str]:
    return digit_lines(60, 3)


def text(lines: list[str]) -> bytes:
    return "".join(line + "\n" for line in lines).encode()


def translate(heed: Heed, bundle: Path, stdin: bytes, *arguments: object, warning: str | None = None) -> bytes:
    """What the command writes; on stderr it must write what fits the regular expression."""
    result = heed("translate", "-m", bundle, *SHORT, *arguments, stdin=stdin)
    assert result.exit_code == 0, result.stderr
    assert re.fullmatch(LOOPS if warning is None else warning, result.stderr), result.stderr
    return result.stdout_bytes


LOOPS = r"(.* doubtful: .*\n)?(Warning: .* repeats? a phrase .*\n)?"  # as networks that have learnt little do
UNKNOWN = "Warning: {} characters that the model does not know, copied as they are: .*\n"

# Lines


def test_each_line_has_its_translation_in_order(
    heed: Heed, bundle: Path, lines: list[str], reference: Translator
) -> None:
    expected = [reference.translate([line], DecodeConfig(max_length=6))[0].text for line in lines]
    assert len(set(expected)) > 30  # else lines in another order could pass
    assert translate(heed, bundle, text(lines)).decode().splitlines() == expected


@pytest.mark.parametrize("blank", ["", " ", "\t", "  \u3000 \u00a0", "\x0b\x0c"])
def test_a_blank_line_stays_blank(heed: Heed, bundle: Path, blank: str) -> None:
    found = translate(heed, bundle, text([blank, "1 2 3", blank, blank, "4 5", blank])).decode().split("\n")
    assert [found[i] for i in (0, 2, 3, 5, 6)] == [blank] * 4 + [""]
    assert found[1].strip()
    assert found[4].strip()


def test_windows_line_ends_stay(heed: Heed, bundle: Path) -> None:
    unix = translate(heed, bundle, b"1 2 3\n\n4 5\n")
    assert translate(heed, bundle, b"1 2 3\r\n\r\n4 5\r\n") == unix.replace(b"\n", b"\r\n")
    mixed = translate(heed, bundle, b"1 2 3\r\n\n4 5\r\n").split(b"\n")
    assert [line.endswith(b"\r") for line in mixed] == [True, False, True, False]


def test_a_last_line_without_an_end_stays_without(heed: Heed, bundle: Path) -> None:
    whole = translate(heed, bundle, b"1 2 3\n4 5\n")
    assert translate(heed, bundle, b"1 2 3\n4 5") == whole.removesuffix(b"\n")
    assert translate(heed, bundle, b"1 2 3\n4 5\n ") == whole + b" "


def test_nothing_in_nothing_out(heed: Heed, bundle: Path) -> None:
    assert translate(heed, bundle, b"") == b""


def test_other_line_separators_end_no_line(heed: Heed, bundle: Path) -> None:
    found = translate(heed, bundle, "1 2\u20283 4\u2029\x855\x0b6\x0c7\r8\x1c9\n1 2\n".encode())
    assert found.count(b"\n") == 2
    assert found.split(b"\n")[1] == translate(heed, bundle, b"1 2\n").removesuffix(b"\n")


def test_a_vocabulary_with_a_newline_breaks_no_line(heed: Heed, bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def decode(self: object, ids: list[list[int]]) -> list[str]:
        return ["one\ntwo" for _ in ids]

    monkeypatch.setattr("heed.models.tokenizers.subwords.Tokenizer.decode", decode)
    assert translate(heed, bundle, b"1\n2\n") == b"one two\n" * 2


def test_what_is_no_utf_8_is_translated_and_told(heed: Heed, bundle: Path) -> None:
    result = heed("translate", "-m", bundle, *SHORT, stdin=b"1 2\n\xff\xfe\n3 4 \xe9\n5 6\n")
    assert result.exit_code == 0
    assert result.stdout_bytes.count(b"\n") == 4
    assert result.stderr == ("Warning: 2 lines were not UTF-8; invalid bytes became \ufffd\n")
    alone = translate(heed, bundle, b"1 2\n5 6\n").splitlines()
    assert [result.stdout_bytes.splitlines()[i] for i in (0, 3)] == alone


MARK = "\ufeff".encode()
PARTS = st.sampled_from(
    [
        b"\n",
        b"\r\n",
        b"1 2 3",
        b"4. 5! ",
        b" ",
        b"\t",
        b"\x00",
        b"\xff",
        "\u2028。".encode(),
        b"\xf0\x9f\x98\x80",
        b"\r",
        MARK,
    ]
)
LONG = st.builds(lambda part, n: part * n, PARTS, st.integers(2, 2000))


def check_any_bytes(heed: Heed, bundle: Path, data: bytes) -> None:
    """Between any two lines stands one of as many spaces as its place: it passes, and shows where it came out."""
    lines = data.split(b"\n")
    stdin = b"\n".join(line + b"\n" + b" " * place for place, line in enumerate(lines))
    assume(other_encoding(b"".join(re.findall(rb"[^\n]*\n?", stdin)[:100])) is None)  # it is told, and nothing is done
    result = heed("translate", "-m", bundle, "--max-length", "2", "--threads", "1", "--beam-size", "1", stdin=stdin)
    assert result.exit_code == 0
    assert "Traceback" not in result.stderr
    result.stdout_bytes.decode("utf-8")
    found = result.stdout_bytes.split(b"\n")
    assert found[1::2] == [b" " * place for place in range(len(lines))]
    assert len(found) == 2 * len(lines)
    lines[0] = lines[0].removeprefix(MARK)
    for line, translation in zip(lines, found[::2], strict=True):
        assert line.endswith(b"\r") == translation.endswith(b"\r")
        assert line.strip() or line == translation


@settings(deadline=None, max_examples=50)
@given(st.lists(PARTS | st.binary(max_size=20)).map(b"".join))
def test_any_bytes_give_as_many_lines(heed: Heed, bundle: Path, data: bytes) -> None:
    check_any_bytes(heed, bundle, data)


@pytest.mark.slow
@settings(deadline=None, max_examples=2000)
@given(st.lists(PARTS | LONG | st.binary(max_size=200)).map(b"".join))
def test_any_bytes_give_as_many_lines_however_often(heed: Heed, bundle: Path, data: bytes) -> None:
    check_any_bytes(heed, bundle, data)


@settings(deadline=None, max_examples=15)
@given(st.data())
def test_neighbours_and_the_batch_size_change_nothing(
    heed: Heed, bundle: Path, lines: list[str], data: st.DataObject
) -> None:
    neighbours = data.draw(st.lists(st.sampled_from(["", "9", " ".join("0123456789" * 5), *lines]), max_size=12))
    place = data.draw(st.integers(0, len(neighbours)))
    batch_size = data.draw(st.integers(1, 8))
    batch = [*neighbours[:place], lines[0], *neighbours[place:]]
    alone = translate(heed, bundle, text(lines[:1])).splitlines()
    together = translate(heed, bundle, text(batch), "--batch-size", batch_size)
    assert together.splitlines()[place : place + 1] == alone


def test_a_window_smaller_than_the_input_changes_nothing(
    heed: Heed, bundle: Path, lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = translate(heed, bundle, text(lines))
    monkeypatch.setattr("heed.models.tasks.translation.translator.WINDOW", 1)
    for batch_size in (1, 7, 60):
        assert translate(heed, bundle, text(lines), "--batch-size", batch_size) == expected


def test_a_line_of_5000_words_has_one_line(heed: Heed, bundle: Path) -> None:
    line = " ".join("0123456789"[i % 10] for i in range(5000))
    found = translate(heed, bundle, text(["1 2", line, "3"])).decode().split("\n")
    assert len(found) == 4
    assert found[:1] + found[2:3] == translate(heed, bundle, b"1 2\n3\n").decode().split("\n")[:2]
    assert len(found[1].split()) > 20  # from each of its pieces


def test_the_sentences_of_a_line_are_translated_each_by_itself(heed: Heed, bundle: Path, lines: list[str]) -> None:
    pairs = [(f"{lines[i]}.", f"{lines[i + 1]}!") for i in range(0, 40, 2)]
    sentences = text([sentence for pair in pairs for sentence in pair])
    alone = translate(heed, bundle, sentences, warning=LOOPS).decode().splitlines()
    expected = [f"  {alone[i]} \t{alone[i + 1]} " for i in range(0, 40, 2)]
    found = translate(heed, bundle, text([f"  {a} \t{b} " for a, b in pairs]), warning=LOOPS)
    assert found.decode().split("\n")[:-1] == expected
    joined = text([f"{a} {b}" for a, b in pairs])
    unknown = UNKNOWN.format("20 lines have")
    # Without sentences, their ends are symbols like others, and stay with the digits before them.
    pieces = "Warning: 20 lines were translated in pieces, around what is protected, .*\n"
    warning = f"{pieces}({LOOPS}{unknown}|{unknown}{LOOPS})"
    whole = translate(heed, bundle, joined, "--no-split", warning=warning).decode().splitlines()
    assert whole != [f"{alone[i]} {alone[i + 1]}" for i in range(0, 40, 2)]


def test_of_a_sentence_that_is_too_long_no_part_is_left_out(heed: Heed, bundle: Path, reference: Translator) -> None:
    """Each part of 384 tokens or fewer is translated as it is alone; the last one used to be cut with the rest."""
    line = " ".join("0123456789"[i * j % 10] for j in range(40) for i in range(40))
    found = translate(heed, bundle, text([line])).decode().removesuffix("\n")
    parts = list(cut(line, len(line) * 384 // len(reference._src.encode([line])[0])))
    assert len(parts) > 4
    config = DecodeConfig(max_length=6)
    assert found == " ".join(each.text for each in reference.translate([part.strip() for part in parts], config))


# Search


def test_a_beam_of_1_is_greedy(heed: Heed, bundle: Path, lines: list[str], reference: Translator) -> None:
    greedy = DecodeConfig(beam_size=1, max_length=6)
    expected = [reference.translate([line], greedy)[0].text for line in lines]
    found = translate(heed, bundle, text(lines), "--beam-size", 1)
    assert found.decode().splitlines() == expected
    assert translate(heed, bundle, text(lines)).decode().splitlines() != expected  # the model's own 4 are not


def test_search_options_are_used(heed: Heed, bundle: Path, lines: list[str], reference: Translator) -> None:
    config = DecodeConfig(beam_size=3, length_penalty=2.5, max_length=4)
    expected = [found.text for found in reference.translate(lines, config)]
    options = ("--beam-size", 3, "--length-penalty", 2.5, "--max-length", 4)
    assert translate(heed, bundle, text(lines), *options).decode().splitlines() == expected
    for option, value in (("--beam-size", 1), ("--length-penalty", 0), ("--max-length", 2)):
        assert translate(heed, bundle, text(lines), *options, option, value).decode().splitlines() != expected


@pytest.mark.parametrize(
    "arguments",
    [
        ["--beam-size", "0"],
        ["--beam-size", "many"],
        ["--length-penalty", "-1"],
        ["--max-length", "0"],
        ["--batch-size", "0"],
        ["--threads", "0"],
        ["--device", "abacus"],
        ["--input", "nowhere.txt"],
        ["--colour"],
        ["stray"],
    ],
    ids=" ".join,
)
def test_an_option_that_cannot_be_is_a_usage_error(heed: Heed, bundle: Path, arguments: list[str]) -> None:
    result = heed("translate", "-m", bundle, *arguments, stdin=b"1 2\n")
    assert result.exit_code == 2
    assert result.stdout_bytes == b""
    assert arguments[0] in result.stderr


@pytest.mark.parametrize("value", ["nan", "inf"])
def test_a_length_penalty_that_is_no_number_is_refused(heed: Heed, bundle: Path, value: str) -> None:
    result = heed("translate", "-m", bundle, "--length-penalty", value, stdin=b"1 2\n")
    assert result.exit_code in (2, 4)
    assert result.stdout_bytes == b""
    assert value in result.stderr


# Files


@pytest.fixture
def three(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / name for name in ("first", "second", "third")]
    for path, content in zip(paths, (b"1 2\n3 4", b"", b"5 6\r\n\n7\n"), strict=True):
        path.write_bytes(content)
    return paths


def test_files_are_read_in_the_order_given(heed: Heed, bundle: Path, three: list[Path]) -> None:
    first, second, third = three
    one_by_one = [translate(heed, bundle, path.read_bytes()) for path in (third, first)]
    found = translate(heed, bundle, b"8 9\n", "-i", third, "--input", second, "-i", "-", "-i", first)
    assert found == one_by_one[0] + translate(heed, bundle, b"8 9\n") + one_by_one[1]


def test_stdin_is_left_alone_where_a_file_is_given(heed: Heed, bundle: Path, three: list[Path]) -> None:
    assert translate(heed, bundle, b"8 9\n", "-i", three[0]) == translate(heed, bundle, b"1 2\n3 4")


def test_an_output_file_holds_what_stdout_would(heed: Heed, bundle: Path, tmp_path: Path, lines: list[str]) -> None:
    output = tmp_path / "out"
    assert translate(heed, bundle, text(lines), "-o", output) == b""
    assert output.read_bytes() == translate(heed, bundle, text(lines))
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_dash_is_stdout(heed: Heed, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert translate(heed, bundle, b"1 2\n", "-o", "-") == translate(heed, bundle, b"1 2\n")
    assert list(tmp_path.iterdir()) == []


def test_an_existing_file_is_kept_unless_forced(heed: Heed, bundle: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    output.write_text("mine")
    result = heed("translate", "-m", bundle, "-o", output, stdin=b"1 2\n")
    assert result.exit_code == 1
    assert result.stderr == f"Error: {output}: already exists; choose another name, or overwrite it with --force\n"
    assert output.read_text() == "mine"
    translate(heed, bundle, b"1 2\n", "-o", output, "--force")
    assert output.read_bytes() == translate(heed, bundle, b"1 2\n")


def test_a_file_in_no_directory_is_refused_before_the_work(heed: Heed, bundle: Path, tmp_path: Path) -> None:
    result = heed("translate", "-m", bundle, "-o", tmp_path / "no/out", stdin=b"1 2\n")
    assert result.exit_code == 1
    assert result.stderr == (
        f"Error: {tmp_path / 'no/out'}: the directory {tmp_path / 'no'} does not exist; create it first\n"
    )


def test_a_directory_is_no_output_file_even_by_force(heed: Heed, bundle: Path, tmp_path: Path) -> None:
    """It was found out when hours of work were done."""
    output = tmp_path / "out"
    output.mkdir()
    result = heed("translate", "-m", bundle, "-o", output, "--force", stdin=b"1 2\n")
    assert result.exit_code in (1, 2)
    assert str(output) in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_failure_leaves_the_old_file_and_says_where_the_work_is(
    heed: Heed, bundle: Path, tmp_path: Path, three: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "out"
    output.write_text("mine")
    done = translate(heed, bundle, three[0].read_bytes() + b"\n")
    original = Path.open

    def fail_third(self: Path, *arguments: object, **named: object) -> object:
        if self == three[2]:
            raise OSError(5, "Input/output error", str(self))
        return original(self, *arguments, **named)  # type: ignore[call-overload]

    monkeypatch.setattr(Path, "open", fail_third)
    names = [argument for path in three for argument in ("-i", path)]
    result = heed("translate", "-m", bundle, *SHORT, "-o", output, "--force", *names)
    monkeypatch.undo()
    assert result.exit_code == 1
    assert f"Error: {three[2]}: Input/output error" in result.stderr
    assert output.read_text() == "mine"
    aside = tmp_path / "out.part"
    assert aside.read_bytes() == done
    assert str(aside) in result.stderr


def test_a_full_disk_leaves_the_old_file(
    heed: Heed, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "out"
    output.write_text("mine")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    result = heed("translate", "-m", bundle, "-o", output, "--force", stdin=b"1 2\n")
    assert result.exit_code == 1
    assert "No space left on device" in result.stderr
    assert "Error: " in result.stderr
    assert output.read_text() == "mine"


# Models


@pytest.fixture
def named(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory of models, with one in it; that of the bundle stands for the one that heed brings."""
    directory = tmp_path / "models"
    directory.mkdir()
    shutil.copytree(bundle, directory / "mine")
    monkeypatch.setenv("HEED_MODELS", str(directory))
    monkeypatch.setitem(catalog.DEFAULTS, "translate", bundle)
    monkeypatch.chdir(tmp_path)
    return directory


def test_a_model_may_be_named_or_left_out(heed: Heed, bundle: Path, named: Path) -> None:
    expected = translate(heed, bundle, b"1 2 3\n")
    for choice in (["-m", "mine"], ["--model", "bundle"], ["-m", "models/mine"], []):
        assert heed("translate", *choice, *SHORT, stdin=b"1 2 3\n").stdout_bytes == expected


def test_a_name_that_is_none_is_answered_by_the_names(heed: Heed, named: Path) -> None:
    result = heed("translate", "-m", "nowhere", stdin=b"1 2\n")
    assert result.exit_code == 4
    assert result.stdout_bytes == b""
    names = "bundle, shakespeare, de-en, mine"
    assert result.stderr == f"Error: nowhere: neither a directory nor the name of a model; the names are: {names}\n"


def test_a_device_that_is_not_there_is_told_before_the_work(heed: Heed, bundle: Path) -> None:
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime can use a GPU")
    result = heed("translate", "-m", bundle, "--device", "cuda", stdin=b"1 2\n")
    assert result.exit_code == 4
    assert result.stdout_bytes == b""
    assert "use --device cpu" in result.stderr


def test_threads_change_nothing(heed: Heed, bundle: Path, lines: list[str]) -> None:
    assert translate(heed, bundle, text(lines), "--threads", 3) == translate(heed, bundle, text(lines))


def test_a_pipe_is_written_to_and_a_link_leads_to_its_file(heed: Heed, bundle: Path, tmp_path: Path) -> None:
    """Renaming over them would take them away from whoever reads them."""
    expected = translate(heed, bundle, text(["1 2 3"]))
    pipe, target, link = tmp_path / "pipe", tmp_path / "target", tmp_path / "link"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    translate(heed, bundle, text(["1 2 3"]), "-o", pipe)
    assert os.read(reader, 1 << 16) == expected
    os.close(reader)
    target.write_bytes(b"before")
    link.symlink_to(target)
    translate(heed, bundle, text(["1 2 3"]), "-o", link, "--force")
    assert link.is_symlink()
    assert target.read_bytes() == expected


@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1", "link"])
def test_stdout_by_its_name_is_stdout(program: Path, bundle: Path, tmp_path: Path, name: str) -> None:
    """What stands in the file behind it stays, and what is written comes after it: `-o /dev/stdout >> all.txt`."""
    if name == "link":
        name = str(tmp_path / "link")
        Path(name).symlink_to("/dev/stdout")
    every = tmp_path / "all.txt"
    every.write_bytes(b"before\n")
    with every.open("ab") as file:
        command = [str(program), "translate", "-m", str(bundle), "-o", str(name), "--threads", "1"]
        done = subprocess.run(command, input=b"1 2 3\n", stdout=file, stderr=subprocess.PIPE, check=False)
    assert done.returncode == 0, done.stderr
    assert every.read_bytes().startswith(b"before\n")
    assert every.read_bytes().count(b"\n") == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == (["all.txt", "link"] if "link" in name else ["all.txt"])


# Languages


def test_a_model_is_chosen_by_its_languages(heed: Heed) -> None:
    there, back = (
        heed("translate", "--from", source, "--to", target, "--threads", "1", stdin=line.encode())
        for source, target, line in (("en", "de", "Good morning!\n"), ("de", "en", "Guten Morgen!\n"))
    )
    assert there.stdout == "Guten Morgen!\n"
    assert back.stdout.startswith("Good morning")


def test_a_model_of_other_languages_is_refused(heed: Heed) -> None:
    result = heed("translate", "-m", catalog.DEFAULT, "--to", "fr", stdin=b"Hello!\n")
    assert (result.exit_code, result.stdout) == (4, "")
    assert result.stderr.startswith(f"Error: {catalog.DEFAULT} translates en to de; ")


def test_languages_that_no_model_has_are_refused(heed: Heed) -> None:
    result = heed("translate", "--from", "de", "--to", "fr", stdin=b"Hallo!\n")
    assert (result.exit_code, result.stdout) == (4, "")
    assert "no model here translates de to fr" in result.stderr


GERMAN = "Das ist der Mann, der nicht auf die Frau wartet, und ich bin es auch nicht.\n" * 3


def test_a_text_in_another_language_is_told_once(heed: Heed) -> None:
    result = heed("translate", "--threads", "1", stdin=GERMAN.encode())
    assert result.exit_code == 0
    assert result.stderr.count("Warning: the text looks like German, and the model translates from en; --from de") == 1


def test_a_text_in_the_model_s_language_is_not(heed: Heed) -> None:
    result = heed("translate", "--from", "de", "--threads", "1", stdin=GERMAN.encode())
    assert "looks like" not in result.stderr
