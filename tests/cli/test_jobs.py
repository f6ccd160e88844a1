"""Jobs that are stopped and gone on with, and parts of jobs."""

import gzip
import itertools
import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import Result
from hypothesis import given, settings
from hypothesis import strategies as st

from heed.cli.io.outputs import FIRST_STEP, in_growing_steps, open_output
from heed.cli.io.records import Record

Heed = Callable[..., Result]
PATIENCE = 60.0  # seconds
SHORT = ("--max-length", "3", "--beam-size", "2", "--threads", "1", "--batch-size", "2")  # windows of 64 lines
SEED = 5


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory, digit_lines: Callable[[int, int], list[str]]) -> Path:
    """Some seconds of work, with blank lines and paragraphs."""
    path = tmp_path_factory.mktemp("source") / "in"
    lines = digit_lines(400, 11)
    path.write_text("".join(f"{line}. {line}\n" + "\n" * (place % 7 == 0) for place, line in enumerate(lines)))
    return path


@pytest.fixture(scope="module")
def complete(heed: Heed, bundle: Path, source: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., bytes]:
    """The output of a job that nobody disturbs."""
    done: dict[tuple[str, ...], bytes] = {}

    def translate(name: str, *options: str) -> bytes:
        if (name, *options) not in done:
            output = tmp_path_factory.mktemp("complete") / name
            result = heed("translate", "-m", bundle, *SHORT, "-i", source, "-o", output, *options)
            assert result.exit_code == 0, result.stderr
            done[name, *options] = output.read_bytes()
        return done[name, *options]

    return translate


@pytest.fixture
def start(program: Path, bundle: Path, source: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Starts the job; what still runs at the end of the test is killed."""
    started: list[subprocess.Popen[bytes]] = []

    def start(output: Path, *options: str) -> subprocess.Popen[bytes]:
        command = [str(program), "translate", "-m", str(bundle), *SHORT, "-i", str(source), "-o", str(output), *options]
        started.append(subprocess.Popen(command, stderr=subprocess.PIPE))
        return started[-1]

    yield start
    for process in started:
        with process:  # closes the pipe
            process.kill()


def wait_for(path: Path, n_bytes: int) -> None:
    give_up = time.monotonic() + PATIENCE
    while not (path.exists() and path.stat().st_size >= n_bytes):
        assert time.monotonic() < give_up
        time.sleep(0.001)


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


Start = Callable[..., subprocess.Popen[bytes]]
KINDS = [("out", ()), ("out.gz", ()), ("out", ("--n-best", "2")), ("out", ("--document",)), ("out", ("--json",))]


@pytest.mark.parametrize(("name", "options"), KINDS[:3], ids=["lines", "gz", "n-best"])
def test_a_killed_job_goes_on_to_the_same_bytes(
    start: Start, complete: Callable[..., bytes], tmp_path: Path, name: str, options: tuple[str, ...]
) -> None:
    expected, output = complete(name, *options), tmp_path / name
    for share in (0.0, 0.6):
        process = start(output, *options, "--resume")
        wait_for(tmp_path / f"{name}.part", int(share * len(expected)))
        process.kill()
        process.communicate()
    assert not output.exists()
    assert start(output, *options, "--resume").wait(PATIENCE) == 0
    assert output.read_bytes() == expected
    assert names(tmp_path) == [name]


@pytest.mark.slow
def test_a_job_killed_at_fifty_moments_goes_on_to_the_same_bytes(
    start: Start, complete: Callable[..., bytes], tmp_path: Path
) -> None:
    chosen = random.Random(SEED)
    n_killed = 0
    for name, options in itertools.cycle(KINDS):
        output = tmp_path / name
        while True:
            process = start(output, *options, "--resume")
            try:
                assert process.wait(chosen.uniform(0.0, 2.5)) == 0, process.communicate()
                break
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
                n_killed += 1
        assert output.read_bytes() == complete(name, *options)
        assert names(tmp_path) == [name]
        output.unlink()
        if n_killed >= 50:
            return


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_job_keeps_whole_lines_and_goes_on(
    start: Start, complete: Callable[..., bytes], tmp_path: Path, number: int, status: int
) -> None:
    expected, output, aside = complete("out"), tmp_path / "out", tmp_path / "out.part"
    process = start(output)
    wait_for(aside, len(expected) // 2)  # of what is written last, less may be counted yet
    process.send_signal(number)
    _, complaints = process.communicate(timeout=PATIENCE)
    assert process.returncode == status
    assert complaints.decode() == f"{output} is not complete; {aside} has what is done; continue with --resume\n"
    done = aside.read_bytes()
    assert done.endswith(b"\n")
    assert expected.startswith(done)
    assert len(done) >= len(expected) // 4
    begun = start(output)  # without a word of what to do with it, it is nobody's to write
    assert begun.wait(PATIENCE) == 1
    assert aside.read_bytes() == done
    assert start(output, "--resume").wait(PATIENCE) == 0
    assert output.read_bytes() == expected


def test_a_job_that_is_complete_is_left_alone(heed: Heed, bundle: Path, source: Path, tmp_path: Path) -> None:
    """So an array of jobs can be sent again, and only what is missing is done."""
    output = tmp_path / "out"
    output.write_bytes(b"mine")
    result = heed("translate", "-m", bundle, "-i", source, "-o", output, "--resume")
    assert (result.exit_code, result.stderr) == (0, f"{output} is already complete\n")
    assert output.read_bytes() == b"mine"


def test_a_job_does_not_go_on_over_its_input(heed: Heed, bundle: Path, tmp_path: Path) -> None:
    """It would look complete, for there is a file of that name."""
    path = tmp_path / "in"
    path.write_bytes(b"1 2\n")
    command = ["translate", "-m", bundle, *SHORT, "-i", path]
    expected = heed(*command).stdout_bytes
    result = heed(*command, "-o", path, "--resume")
    assert result.exit_code == 2
    assert "name another file with -o" in result.stderr
    assert heed(*command, "-o", path, "--force").exit_code == 0
    assert path.read_bytes() == expected


@pytest.mark.parametrize("change", ["option", "input", "shorter input"])
def test_another_job_is_not_gone_on_with(heed: Heed, bundle: Path, tmp_path: Path, change: str) -> None:
    source, output = tmp_path / "in", tmp_path / "out"
    source.write_bytes(b"1 2\n" * 200 + b"\xff\n")
    command = ["translate", "-m", bundle, *SHORT, "-i", source, "-o", output, "--strict"]
    assert heed(*command).exit_code == 3
    done = (tmp_path / "out.part").read_bytes()
    assert done.count(b"\n") == 200
    if change != "option":
        source.write_bytes(b"1 2\n" * 100 + b"1 3\n" * 100 * (change == "input"))
    result = heed(*command, "--resume", *(["--length-penalty", 1] if change == "option" else []))
    assert result.exit_code == 1
    said = "from another job (length_penalty)" if change == "option" else "belongs to another input"
    assert f"Error: {tmp_path / 'out.part'}: {said}; repeat the command unchanged" in result.stderr
    assert (tmp_path / "out.part").read_bytes() == done
    source.write_bytes(b"1 2\n" * 200 + b"1 3\n")  # mended where it was bad: the same job
    assert heed(*command, "--resume").exit_code == 0
    assert output.read_bytes() == heed(*command[:-3], "--strict").stdout_bytes


def test_a_job_may_read_a_pipe_again(heed: Heed, bundle: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    command = ["translate", "-m", bundle, *SHORT]
    assert heed(*command, "-o", output, "--strict", stdin=b"1 2\n" * 100 + b"\xff\n").exit_code == 3
    mended = b"1 2\n" * 100 + b"5 6\n"
    assert heed(*command, "-o", output, "--strict", "--resume", stdin=mended).exit_code == 0
    assert output.read_bytes() == heed(*command, stdin=mended).stdout_bytes


# Shards


@settings(deadline=None, max_examples=10)
@given(st.lists(st.sampled_from([b"", b" ", b"1 2", b"3 4 5\r", b"6"]), max_size=12), st.integers(1, 5), st.booleans())
def test_the_shards_of_files_joined_are_the_whole(
    heed: Heed, bundle: Path, tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], n: int, ended: bool
) -> None:
    directory = tmp_path_factory.mktemp("shards")
    first, second = directory / "first", directory / "second.gz"
    first.write_bytes(b"\n".join(lines[:4]))
    second.write_bytes(gzip.compress(b"\n".join(lines[4:]) + b"\n" * ended))
    command = ["translate", "-m", bundle, *SHORT, "-i", first, "-i", second]

    def parts(*options: str | int) -> list[bytes]:
        return [heed(*command, *options, "--shard", f"{i}/{n}").stdout_bytes for i in range(1, n + 1)]

    texts = parts()
    assert b"".join(texts) == heed(*command).stdout_bytes
    sizes = [text.count(b"\n") for text in texts]
    assert max(sizes) - min(sizes) <= 1 + (not ended)
    # Scores are sums of float32, whose last bits depend on the shape of the batch: the sixth decimal may differ by one.
    lists = ("--n-best", 2)
    (whole, scores), (joined, others) = (
        _texts_and_scores(each) for each in (heed(*command, *lists).stdout_bytes, b"".join(parts(*lists)))
    )
    assert joined == whole
    assert others == pytest.approx(scores, abs=2e-6)


def _texts_and_scores(lists: bytes) -> tuple[list[tuple[str, str]], list[float]]:
    fields = [line.split(" ||| ") for line in lists.decode().split("\n")[:-1]]  # a text may have a carriage return
    return [(number, text) for number, text, _ in fields], [float(score) for _, _, score in fields]


def test_a_shard_may_be_gone_on_with(heed: Heed, bundle: Path, source: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    command = ["translate", "-m", bundle, *SHORT, "-i", source, "--shard", "2/40"]
    whole = heed(*command).stdout_bytes
    assert heed(*command, "-o", output).exit_code == 0
    output.rename(tmp_path / "out.part")
    assert heed(*command, "-o", output, "--resume").exit_code == 1  # no note beside it
    assert heed(*command, "-o", output, "--force").exit_code == 0
    assert output.read_bytes() == whole


@given(st.lists(st.integers(1, 3000), max_size=6))
def test_steps_grow_and_lose_nothing(sizes: list[int]) -> None:
    numbers = iter(range(sum(sizes)))
    windows = [[Record((str(next(numbers)),), b"", b"\n", str.encode) for _ in range(size)] for size in sizes]
    steps = list(in_growing_steps(windows))
    assert [record for step in steps for record in step] == [record for window in windows for record in window]
    done = 0
    for step in steps:
        assert 0 < len(step) <= FIRST_STEP + done
        done += len(step)


def test_of_a_short_job_half_is_kept(tmp_path: Path) -> None:
    """A job of fewer lines than a window of 2,048 began anew."""
    records = [Record((str(number),), b"", b"\n", str.encode) for number in range(1500)]

    def work(n_records: int) -> None:
        with open_output(tmp_path / "out", {}, resume=False, force=False) as output:
            for step in output.unwritten([records]):
                if output.n_records >= n_records:
                    raise KeyboardInterrupt
                output.write(b"".join(record.filled(record.words) for record in step), step)

    with pytest.raises(KeyboardInterrupt):
        work(900)
    with open_output(tmp_path / "out", {}, resume=True, force=False) as output:
        left = [record for step in output.unwritten([records]) for record in step]
        assert len(left) <= 750
        output.write(b"".join(record.filled(record.words) for record in left), left)
    assert (tmp_path / "out").read_text() == "".join(f"{number}\n" for number in range(1500))
