"""Large jobs without a cluster: pieces, joined outputs, bad inputs, blocks that fail, and URLs."""

import gzip
import json
import random
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import fsspec
import pytest
from click.testing import Result
from hypothesis import given, settings
from hypothesis import strategies as st

from heed.cli.batch import storage
from heed.cli.batch.job import Answer, Block, Failure, Numbering
from heed.cli.batch.runner import Answers, Runner, Sent
from heed.models.errors import DataError

Heed = Callable[..., Result]
SHORT = ("--max-length", "3", "--beam-size", "2", "--threads", "1", "--batch-size", "2")  # windows of 64 lines


class Upper:
    """A job whose lines become upper case.

    Args:
        output: Path.
        lines: Of the input.
        bad_after: Number of blocks after which the input cannot be read.
    """

    position = 0

    def __init__(self, output: Path, lines: list[str], bad_after: int | None = None, note: str = "") -> None:
        self.output, self.closed = str(output), False
        self._lines, self._bad_after, self._note = lines, bad_after, note

    def _lists(self) -> Iterator[list[str]]:
        for number, start in enumerate(range(0, len(self._lines), 3)):
            if number == self._bad_after:
                raise DataError(f"line {start + 1} is bad")
            yield self._lines[start : start + 3]

    def blocks(self) -> Iterator[Block]:
        return Numbering({"note": self._note}).blocks(self._lists(), lambda _, records: records)

    def written(self, block: Block, answer: Answer) -> bytes:
        assert len(answer.result) == len(block.records)
        return "".join(f"{line}\n" for line in answer.result).encode()

    def close(self) -> None:
        self.closed = True


class Shuffling:
    """Answers blocks out of order; those with a line "poison" fail, and after `limit` blocks the program dies."""

    n_retries = 0

    def __init__(self, seed: int = 0, limit: int | None = None) -> None:
        self.asked: list[Block] = []
        self._random, self._limit = random.Random(seed), limit

    def run(self, blocks: Iterable[Sent]) -> Answers:
        waiting: list[Sent] = []
        for sent in blocks:
            waiting.append(sent)
            while len(waiting) > 4:
                yield self._answer(waiting.pop(self._random.randrange(4)))
        while waiting:
            yield self._answer(waiting.pop(self._random.randrange(len(waiting))))

    def _answer(self, sent: Sent) -> tuple[Sent, Answer | Failure]:
        if len(self.asked) == self._limit:
            raise KeyboardInterrupt
        self.asked.append(sent.block)
        if "poison" in sent.block.request:
            return sent, Failure("it is poison")
        return sent, Answer([line.upper() for line in sent.block.request], len(sent.block.request))

    def describe(self) -> str:
        return "1 worker"


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


@settings(max_examples=25)  # each writes files
@given(st.lists(st.lists(st.sampled_from(["a", "b", "ß"]), max_size=40), max_size=4), st.integers(0, 99), st.data())
def test_whatever_ends_a_job_the_same_command_completes_it(
    tmp_path_factory: pytest.TempPathFactory, files: list[list[str]], seed: int, data: st.DataObject
) -> None:
    directory = tmp_path_factory.mktemp("job")
    jobs = [Upper(directory / f"{number}", lines) for number, lines in enumerate(files)]
    n_blocks = sum(-(-len(lines) // 3) for lines in files)
    n_asked = 0
    for limit in data.draw(st.lists(st.integers(0, 5), max_size=5)):
        executor = Shuffling(seed, limit)
        try:
            Runner(executor, force=False, size=None).run(jobs)
        except KeyboardInterrupt:
            n_asked += len(executor.asked)
    last = Shuffling(seed)
    assert Runner(last, force=False, size=None).run(jobs) == 0
    assert n_asked + len(last.asked) <= n_blocks or all(not lines for lines in files)  # nothing is done twice
    assert names(directory) == [str(number) for number in range(len(files))]
    for number, lines in enumerate(files):
        assert (directory / str(number)).read_text("utf-8") == "".join(f"{line.upper()}\n" for line in lines)


def test_a_block_that_fails_is_set_aside_and_the_job_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = ["a", "b", "c", "d", "poison", "e", "f"]
    jobs = [Upper(tmp_path / "x", lines), Upper(tmp_path / "y", ["a"])]
    assert Runner(Shuffling(), force=False, size=None).run(jobs) == 1
    assert names(tmp_path) == ["x.parts", "y"]
    told = capsys.readouterr().err
    assert f"Warning: {tmp_path / 'x'}: lines 4 to 6 are set aside: it is poison\n" in told
    assert f"{tmp_path / 'x'} is not complete: 1 block set aside" in told
    again = Shuffling()
    assert Runner(again, force=False, size=None).run([Upper(tmp_path / "x", lines), jobs[1]]) == 1
    assert [block.first for block in again.asked] == [3]
    lines[4] = "mended"
    assert Runner(Shuffling(), force=False, size=None).run([Upper(tmp_path / "x", lines)]) == 0
    assert (tmp_path / "x").read_text() == "A\nB\nC\nD\nMENDED\nE\nF\n"
    assert names(tmp_path) == ["x", "y"]


def test_a_bad_input_is_told_and_the_others_are_done(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    jobs = [Upper(tmp_path / "x", ["a"] * 9, bad_after=2), Upper(tmp_path / "y", ["a"])]
    assert Runner(Shuffling(), force=False, size=None).run(jobs) == 3
    assert f"Error: {tmp_path / 'x'}: line 7 is bad\n" in capsys.readouterr().err
    assert names(tmp_path) == ["x.parts", "y"]
    assert (jobs[0].closed, jobs[1].closed) == (False, True)
    with pytest.raises(DataError, match="line 7 is bad"):
        Runner(Shuffling(), force=False, size=None).run(jobs[:1])


def test_pieces_of_another_job_are_not_taken(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        Runner(Shuffling(limit=2), force=False, size=None).run([Upper(tmp_path / "x", ["a"] * 9, note="one")])
    executor = Shuffling()
    assert Runner(executor, force=False, size=None).run([Upper(tmp_path / "x", ["a"] * 9, note="other")]) == 0
    assert len(executor.asked) == 3
    assert names(tmp_path) == ["x"]


def test_what_is_complete_is_left_alone_but_for_force(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("mine")
    job = Upper(tmp_path / "x", ["a"])
    assert Runner(Shuffling(), force=False, size=None).run([job]) == 0
    assert (tmp_path / "x").read_text() == "mine"
    assert Runner(Shuffling(), force=True, size=None).run([job]) == 0
    assert (tmp_path / "x").read_text() == "A\n"


# Through the commands, in this process


@pytest.fixture
def memory() -> Iterator[fsspec.AbstractFileSystem]:
    """Fsspec's file system in memory, empty."""
    files = fsspec.filesystem("memory")
    files.store.clear()
    yield files
    files.store.clear()


@pytest.mark.parametrize("options", [(), ("--json",), ("--n-best", "2")], ids=["lines", "json", "n-best"])
def test_urls_have_the_bytes_of_files(
    heed: Heed,
    bundle: Path,
    memory: fsspec.AbstractFileSystem,
    digit_lines: Callable[[int, int], list[str]],
    tmp_path: Path,
    options: tuple[str, ...],
) -> None:
    lines = digit_lines(150, 3)
    texts = {"a.txt": "".join(f"{line}\n" for line in lines[:90]).encode(), "empty.txt": b""}
    texts["b.txt.gz"] = gzip.compress("\n".join(lines[90:]).encode())
    for name, data in texts.items():
        (tmp_path / name).write_bytes(data)
        memory.pipe_file(f"/in/{name}", data)
    (tmp_path / "out").mkdir()
    command = ["translate", "-m", bundle, *SHORT, *options]
    assert heed(*command, "-i", tmp_path / "*.txt*", "-o", tmp_path / "out").exit_code == 0
    result = heed(*command, "-i", "memory://in/*.txt*", "-o", "memory://out/")
    assert result.exit_code == 0, result.stderr
    assert "3 outputs complete: 150 lines" in result.stderr
    assert sorted(memory.find("/out")) == sorted(f"/out/{name}" for name in texts)
    for name in texts:
        assert memory.cat_file(f"/out/{name}") == (tmp_path / "out" / name).read_bytes()
    again = heed(*command, "-i", "memory://in/*.txt*", "-o", "memory://out/")
    assert again.stderr.count("is already complete") == 3


def test_records_of_files_stay_around_their_translations(
    heed: Heed, bundle: Path, memory: fsspec.AbstractFileSystem
) -> None:
    records = [{"id": number, "text": "1 2", "rest": [number]} for number in range(5)]
    memory.pipe_file("/in/x.jsonl", "".join(json.dumps(record) + "\n" for record in records).encode())
    memory.pipe_file("/in/bad.jsonl", b'{"text": "1"}\n{"text": 1}\n')
    result = heed("translate", "-m", bundle, *SHORT, "-i", "memory://in/*.jsonl", "-o", "memory://out/")
    assert result.exit_code == 3
    assert "line 2: the field 'text' is not text" in result.stderr
    found = [json.loads(line) for line in memory.cat_file("/out/x.jsonl").decode().splitlines()]
    assert [{**record, "text": "1 2"} for record in found] == records
    assert not memory.exists("/out/bad.jsonl")


def test_a_pattern_without_a_file_is_refused(heed: Heed, bundle: Path, tmp_path: Path) -> None:
    result = heed("translate", "-m", bundle, "-i", tmp_path / "*.none", "-o", f"{tmp_path}/out/")
    assert (result.exit_code, "No file fits the pattern" in result.stderr) == (2, True)
    result = heed("translate", "-m", bundle, "-i", "memory://nowhere/*", "-o", f"{tmp_path}/out/")
    assert (result.exit_code, "no file fits this pattern" in result.stderr) == (3, True)
    (tmp_path / "a[1]").write_text("1 2\n")
    assert heed("translate", "-m", bundle, *SHORT, "-i", tmp_path / "a[1]").exit_code == 0


def test_a_url_of_an_unknown_kind_is_told(heed: Heed, bundle: Path, tmp_path: Path) -> None:
    result = heed("translate", "-m", bundle, "-i", "nosuch://x", "-o", tmp_path / "out")
    assert (result.exit_code, "nosuch" in result.stderr) == (1, True)


@pytest.mark.parametrize("options", [("--greedy",), ("--seed", "3", "-n", "2"), ("--beam-size", "2")])
def test_batches_of_prompts_in_files_have_the_bytes_of_stdout(
    heed: Heed,
    text_bundle: Path,
    digit_lines: Callable[[int, int], list[str]],
    tmp_path: Path,
    options: tuple[str, ...],
) -> None:
    (tmp_path / "prompts").write_text("".join(f"{line}\n" for line in [*digit_lines(20, 3), "1 " * 200]))
    command = ["generate", "--batch", "-m", text_bundle, "-i", tmp_path / "prompts", "--max-tokens", "4", *options]
    plain = heed(*command)
    whole = heed(*command, "-o", tmp_path / "out")
    assert (plain.exit_code, whole.exit_code) == (3, 3)
    assert "1 of 21 prompts were refused" in whole.stderr
    assert (tmp_path / "out").read_bytes() == plain.stdout_bytes


def test_a_job_of_prompts_draws_the_same_numbers_again(heed: Heed, text_bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "prompts").write_text("1 2\n")
    result = heed("generate", "--batch", "-m", text_bundle, "-i", tmp_path / "prompts", "-o", tmp_path / "out")
    assert (result.exit_code, "-o needs --seed, or --greedy" in result.stderr) == (2, True)


@pytest.mark.parametrize("options", [(), ("--json", "--end")])
def test_scores_in_files_are_those_of_stdout(
    heed: Heed,
    text_bundle: Path,
    digit_lines: Callable[[int, int], list[str]],
    tmp_path: Path,
    options: tuple[str, ...],
) -> None:
    for number in (1, 2):
        (tmp_path / f"{number}.txt").write_text("".join(f"{line}\n" for line in digit_lines(270, number)))
    command = ["score", "-m", text_bundle, *options]
    assert heed(*command, "-i", tmp_path / "*.txt", "-o", f"{tmp_path}/out/").exit_code == 0
    for number in (1, 2):
        plain = heed(*command, "-i", tmp_path / f"{number}.txt")
        assert (tmp_path / "out" / f"{number}.txt").read_bytes() == plain.stdout_bytes


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("translate --ray local -i {0}", "--ray needs -o"),
        ("translate --ray local -i {0} -o {0}", "name another file"),
        ("translate --ray local -i {0} -o out --shard 1/2", "leave out --shard"),
        ("generate --ray local --batch -i {0}", "--ray needs --batch, and -o"),
        ("generate -i {0} -o out", "-o needs --batch"),
        ("score --ray local -i {0}", "--ray needs -o"),
        ("score -i {0} -o out --total", "leave out --total"),
    ],
)
def test_options_that_exclude_each_other(heed: Heed, tmp_path: Path, line: str, said: str) -> None:
    (tmp_path / "in").write_text("1 2\n")
    result = heed(*line.format(tmp_path / "in").split())
    assert result.exit_code == 2
    assert said in result.stderr


def test_an_output_on_disk_is_written_as_storage_promises(tmp_path: Path) -> None:
    disk = storage.Disk()
    assert disk.names(str(tmp_path / "none")) == set()
    disk.write(f"{tmp_path}/d/1", b"one ")
    disk.write(f"{tmp_path}/d/2", b"two")
    disk.join([f"{tmp_path}/d/1", f"{tmp_path}/d/2"], f"{tmp_path}/d/whole", f"{tmp_path}/out")
    assert (tmp_path / "out").read_bytes() == b"one two"
    assert disk.names(f"{tmp_path}/d") == {"1", "2"}
    disk.remove(f"{tmp_path}/d")
    disk.remove(f"{tmp_path}/d")
    assert names(tmp_path) == ["out"]
