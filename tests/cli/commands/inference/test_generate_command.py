import dataclasses
import gzip
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import Result

from heed.models.bundle import catalog
from heed.models.bundle.catalog import find
from heed.models.decoding.config import DecodeConfig
from heed.models.decoding.sampling import SampleConfig
from heed.models.errors import DataError, ModelError
from heed.models.tasks.generator import Generator
from heed.models.text.chat import ChatTemplate, Conversation
from heed.models.tokenizers.lossless import TextTokenizer
from heed.transformer.decoding import TorchNetwork
from heed.transformer.model import Transformer

Heed = Callable[..., Result]
V, CONTEXT = 290, 100


@pytest.fixture(scope="module")
def generator(verbatim: TextTokenizer, draw_language_model: Callable[..., Transformer]) -> Generator:
    return Generator(TorchNetwork(draw_language_model(vocab_size=V, context=CONTEXT)), verbatim)


@pytest.fixture
def model(generator: Generator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory that stands for the bundle of a language model; what is loaded from it is PyTorch's."""
    path = tmp_path / "model"
    path.mkdir()
    (path / "heed.json").write_text('{"name": "cats"}')
    monkeypatch.setattr(Generator, "load", lambda path, **options: generator)
    monkeypatch.setitem(catalog.DEFAULTS, "generate", path)
    return path


def generate(heed: Heed, *arguments: object, stdin: bytes = b"") -> str:
    result = heed("generate", *arguments, stdin=stdin)
    assert result.exit_code == 0, result.stderr
    return result.stdout_bytes.decode()


def records(output: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in output.split("\n")[:-1]]


DRAWN = ("--seed", "1", "--max-tokens", "12")


# Text


def test_the_prompt_and_what_follows_are_written(heed: Heed, model: Path, generator: Generator) -> None:
    ((expected,),) = generator.generate(["the cat"], SampleConfig(seed=1, max_tokens=12))
    assert generate(heed, "the cat", *DRAWN) == f"the cat{expected.text}\n"
    assert generate(heed, "the cat", *DRAWN, "--no-echo") == f"{expected.text}\n"
    assert generate(heed, "-m", model, "the cat", *DRAWN) == f"the cat{expected.text}\n"


def test_a_prompt_comes_from_a_file_or_stdin_too(heed: Heed, model: Path, tmp_path: Path) -> None:
    expected = generate(heed, "the cat\nsat", *DRAWN)
    for text in ("the cat\nsat", "the cat\nsat\n", "the cat\nsat\r\n"):
        (tmp_path / "prompt").write_bytes(text.encode())
        assert generate(heed, "-i", tmp_path / "prompt", *DRAWN) == expected
        assert generate(heed, *DRAWN, stdin=text.encode()) == expected
        assert generate(heed, "-i", "-", *DRAWN, stdin=text.encode()) == expected
    assert generate(heed, *DRAWN, stdin=b"the cat\nsat\n\n") == generate(heed, "the cat\nsat\n", *DRAWN)
    assert generate(heed, *DRAWN, stdin=b"") == generate(heed, "", *DRAWN)


def test_a_prompt_may_be_compressed_and_begin_with_a_mark(heed: Heed, model: Path, tmp_path: Path) -> None:
    """As a line that is translated may."""
    file = tmp_path / "prompt.gz"
    file.write_bytes(gzip.compress(b"\xef\xbb\xbfthe cat\n"))
    expected = generate(heed, "the cat", *DRAWN)
    for arguments, stdin in ((["-i", file], b""), ([], b"\xef\xbb\xbfthe cat\n")):
        result = heed("generate", *DRAWN, *arguments, stdin=stdin)
        assert (result.exit_code, result.stdout_bytes.decode()) == (0, expected)
        assert "begins with a byte-order mark, which was removed" in result.stderr
    (record,) = records(generate(heed, "--batch", "-i", file, *DRAWN))
    assert record["prompt"] == "the cat"
    file.write_bytes(file.read_bytes()[:-9])
    assert heed("generate", "-i", file).exit_code == 3


def test_a_prompt_that_is_no_utf_8_is_told(heed: Heed, model: Path) -> None:
    result = heed("generate", *DRAWN, stdin=b"caf\xe9")
    assert result.exit_code == 0
    assert result.stdout.startswith("caf\ufffd")
    assert result.stderr == "Warning: the prompt is not UTF-8; invalid bytes became \ufffd\n"
    assert heed("generate", os.fsdecode(b"caf\xe9"), *DRAWN).stdout_bytes == result.stdout_bytes


def test_the_options_are_those_of_the_sampling(heed: Heed, model: Path, generator: Generator) -> None:
    options = {
        "--temperature": 0.7,
        "--top-k": 20,
        "--top-p": 0.8,
        "--min-p": 0.02,
        "--repetition-penalty": 1.5,
        "--no-repeat-ngram": 1,
        "--max-tokens": 15,
        "--seed": 3,
    }
    settings = {name[2:].replace("-", "_"): value for name, value in options.items()}

    def expected(**changes: object) -> str:
        config = SampleConfig(**(settings | changes))  # type: ignore[arg-type]
        return "a" + generator.generate(["a"], config)[0][0].text + "\n"

    def found(*more: object) -> str:
        return generate(heed, "a", *[part for option in options.items() for part in option], *more)

    assert found() == expected()
    assert found("--seed", 4) == expected(seed=4) != expected()
    without = {name: value for name, value in options.items() if name != "--temperature"}
    greedy = generate(heed, "a", "--greedy", *[part for option in without.items() for part in option])
    assert greedy == expected(temperature=0.0)
    stop = expected().removeprefix("a")[3:5]
    assert found("--stop", "never", "--stop", stop) == expected(stop=("never", stop)) != expected()


def test_without_a_seed_texts_differ(heed: Heed, model: Path) -> None:
    assert generate(heed, "a") != generate(heed, "a")


def test_several_texts_are_parted(heed: Heed, model: Path, generator: Generator) -> None:
    (samples,) = generator.generate(["a"], SampleConfig(seed=1, n=3, max_tokens=12))
    assert len({sample.text for sample in samples}) == 3
    expected = "---\n".join(f"a{sample.text}\n" for sample in samples)
    assert generate(heed, "a", *DRAWN, "-n", 3) == expected


def test_a_search_writes_the_likeliest(heed: Heed, model: Path, generator: Generator) -> None:
    (best,) = generator.search(["a"], DecodeConfig(beam_size=3, max_length=5), n_best=2)
    options = ("--beam-size", 3, "--max-tokens", 5)
    assert generate(heed, "a", *options) == f"a{best[0].text}\n"
    assert generate(heed, "a", *options, "-n", 2) == f"a{best[0].text}\n---\na{best[1].text}\n"


def test_a_context_that_is_full_is_told(heed: Heed, model: Path) -> None:
    result = heed("generate", "a", "--seed", 1, "--temperature", 100)
    assert result.exit_code == 0
    assert result.stderr in ("", f"The model's context of {CONTEXT} tokens is full.\n")
    (record,) = records(generate(heed, "a", "--seed", 1, "--temperature", 100, "--json"))
    assert bool(result.stderr) == (record["ended"] == "context")


def test_a_prompt_that_is_too_long_is_refused_or_cut(heed: Heed, model: Path) -> None:
    prompt = "at the hat " * 20
    for more in ([], ["--json"], ["--beam-size", "2"], ["-n", "2"]):
        result = heed("generate", prompt, *more)
        assert result.exit_code == 3
        assert result.stdout_bytes == b""
        assert "tokens with its beginning token" in result.stderr
        assert f"context is {CONTEXT};" in result.stderr
        assert heed("generate", prompt, *more, "--truncate").exit_code == 0


# JSON lines


def test_a_record_holds_all_there_is_to_know(heed: Heed, model: Path, generator: Generator) -> None:
    (samples,) = generator.generate(["a"], SampleConfig(seed=1, n=2, max_tokens=12))
    found = records(generate(heed, "a", *DRAWN, "-n", 2, "--json"))
    assert found == [
        {
            "sample": number,
            "prompt": "a",
            "completion": sample.text,
            "tokens": sample.tokens,
            "log_prob": sample.log_prob,
            "ended": sample.ended,
            "seed": 1,
        }
        for number, sample in enumerate(samples)
    ]


def test_a_seed_that_was_drawn_gives_the_same_again(heed: Heed, model: Path) -> None:
    (record,) = records(generate(heed, "a", "--json"))
    (again,) = records(generate(heed, "a", "--json", "--seed", record["seed"]))
    assert again == record


def test_what_is_not_drawn_has_no_seed(heed: Heed, model: Path) -> None:
    for options in (["--greedy"], ["--beam-size", "2"]):
        (record,) = records(generate(heed, "a", "--json", *options))
        assert "seed" not in record


LINES = ["the cat", "a", "", "the dog ate", "é \U0001f600", "the cat"]


def test_a_batch_has_a_record_for_each_line_in_order(
    heed: Heed, model: Path, generator: Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = generator.generate(LINES, SampleConfig(seed=1, max_tokens=12))
    stdin = "".join(line + "\n" for line in LINES).encode()
    for window in (256, 1, 4):
        monkeypatch.setattr("heed.cli.batch.prompts.WINDOW", window)
        found = records(generate(heed, "--batch", *DRAWN, stdin=stdin))
        assert [record["line"] for record in found] == [1, 2, 3, 4, 5, 6]
        assert [record["prompt"] for record in found] == LINES
        assert [record["completion"] for record in found] == [sample.text for (sample,) in expected]
    assert found[0]["completion"] != found[5]["completion"]  # of another line, other random numbers


def test_a_line_of_a_batch_that_is_too_long_loses_no_other(heed: Heed, model: Path) -> None:
    lines = ["a", "at the hat " * 20, "the cat"]
    result = heed("generate", "--batch", *DRAWN, "-n", 2, stdin="\n".join(lines).encode())
    assert result.exit_code == 3
    assert result.stderr == "Error: 1 of 3 prompts were refused; the error in each line says why\n"
    found = records(result.stdout_bytes.decode())
    assert [(record["line"], "error" in record) for record in found] == [
        (1, False),
        (1, False),
        (2, True),
        (3, False),
        (3, False),
    ]
    assert str(CONTEXT) in str(found[2]["error"])
    alone = records(generate(heed, "--batch", *DRAWN, "-n", 2, stdin="\n".join(["a", "", "the cat"]).encode()))
    texts = [[record.get("completion") for record in each] for each in (found, alone)]
    assert texts[0][:2] + texts[0][3:] == texts[1][:2] + texts[1][4:]


def test_a_batch_of_nothing_is_nothing(heed: Heed, model: Path) -> None:
    assert generate(heed, "--batch") == ""


# What does not go together


@pytest.mark.parametrize(
    "arguments",
    [
        ["a", "-i", "{file}"],
        ["a", "--batch"],
        ["a", "--chat"],
        ["--chat", "--json"],
        ["--chat", "-n", "2"],
        ["--chat", "--truncate"],
        ["--chat", "--no-echo"],
        ["--chat", "--beam-size", "2"],
        ["a", "--greedy", "--temperature", "1"],
        ["a", "--beam-size", "2", "--top-k", "3"],
        ["a", "--beam-size", "2", "--seed", "3"],
        ["a", "--beam-size", "2", "-n", "3"],
        ["a", "--beam-size", "2", "--greedy"],
        ["a", "--temperature", "nan"],
        ["a", "--temperature", "0.001"],
        ["a", "--top-p", "0"],
        ["a", "--stop", ""],
        ["a", "--max-tokens", "0"],
        ["a", "-n", "0"],
        ["a", "b"],
    ],
    ids=" ".join,
)
def test_what_does_not_go_together_is_a_usage_error(heed: Heed, model: Path, arguments: list[str]) -> None:
    result = heed("generate", *[part.format(file=model / "heed.json") for part in arguments])
    assert result.exit_code == 2
    assert result.stdout_bytes == b""
    assert "Error: " in result.stderr


def test_a_model_that_translates_is_refused(heed: Heed, bundle: Path) -> None:
    result = heed("generate", "-m", bundle, "a")
    assert result.exit_code == 4
    assert result.stderr == (f"Error: {bundle}: this model is for heed translate, not for heed generate\n")


# Conversations


def words(text: str) -> int:
    return len(text.split())


PLAIN = ChatTemplate(before_user="<", after_user="> ", before_assistant="[", after_assistant="] ", stop=("]",))


def test_a_conversation_is_written_by_its_template() -> None:
    conversation = Conversation(PLAIN, len, 100)
    assert conversation.ask("a b") == "<a b> ["
    conversation.add("a b", "c")
    assert conversation.ask("d") == "<a b> [c] <d> ["
    assert conversation.n_forgotten == 0


def test_the_oldest_turns_are_left_out_where_there_is_no_room() -> None:
    conversation = Conversation(PLAIN, len, 14)
    conversation.add("a", "b")  # 8 characters
    conversation.add("c", "d")
    assert conversation.ask("e") == "<c> [d] <e> ["
    assert conversation.n_forgotten == 1
    assert conversation.ask("e" * 10) == "<eeeeeeeeee> ["
    assert conversation.n_forgotten == 2
    with pytest.raises(DataError, match="has 15 tokens, but only 14 fit"):
        conversation.ask("e" * 11)


def test_instructions_that_leave_no_room_are_refused() -> None:
    template = dataclasses.replace(PLAIN, before_system="{", after_system="} ")
    assert Conversation(template, len, 14, "123456").ask("e") == "{123456} <e> ["
    conversation = Conversation(template, len, 14, "1234567")
    conversation.add("a", "b")
    with pytest.raises(DataError, match="with the instructions before it, has 15 tokens, but only 14 fit"):
        conversation.ask("e")
    assert conversation.n_forgotten == 0


def test_a_template_whose_stop_string_is_empty_is_refused() -> None:
    with pytest.raises(ModelError, match="stop"):
        ChatTemplate(stop=("",))


def test_a_pipe_is_answered_line_by_line(heed: Heed, model: Path, generator: Generator) -> None:
    config = ("--chat", "--seed", 1, "--max-tokens", 3)
    result = heed("generate", *config, stdin=b"a\n\nb\n")
    assert result.exit_code == 0
    assert "not taught conversations" in result.stderr
    first = "User: a\nAssistant:"
    settings = SampleConfig(seed=1, max_tokens=3, stop=ChatTemplate().stop)
    (answer,) = generator.generate([first], settings)[0]
    second = f"{first}{answer.text}\nUser: b\nAssistant:"
    (other,) = generator.generate([second], settings, numbers=[1], truncate=True)[0]
    assert result.stdout_bytes.decode() == f"{answer.text.lstrip()}\n{other.text.lstrip()}\n"


def test_ctrl_c_stops_an_answer_and_not_the_conversation(
    heed: Heed, model: Path, generator: Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts = []

    def stream(self: Generator, prompt: str, config: SampleConfig, *, number: int) -> Iterator[str]:
        prompts.append(prompt)
        yield " some"
        if number == 0:
            raise KeyboardInterrupt
        yield " more"

    monkeypatch.setattr(Generator, "stream", stream)
    result = heed("generate", "--chat", stdin=b"a\nb\n")
    assert result.exit_code == 0
    assert result.stdout == "some\nsome more\n"
    assert prompts[1] == "User: a\nAssistant: some\nUser: b\nAssistant:"  # what was said, was said


def test_turns_that_are_left_out_are_told(heed: Heed, model: Path) -> None:
    result = heed("generate", "--chat", "--max-tokens", 2, "--seed", 1, stdin=b"a\n" * 8 + b"a" * 200 + b"\na\n")
    assert result.exit_code == 0
    assert "The context is full; it now starts after turn " in result.stderr
    assert "Error: the message has " in result.stderr
    assert result.stdout_bytes.count(b"\n") >= 5


def test_the_model_that_heed_brings(heed: Heed) -> None:
    """Verified, small enough for the wheel, and the same text for the same seed."""
    path = find(None, "generate")
    assert sum(file.stat().st_size for file in path.iterdir()) < 12e6
    assert heed("models", "verify", "shakespeare").exit_code == 0
    first, second = (heed("generate", "ROMEO:", "--max-tokens", 20, "--seed", 1) for _ in range(2))
    assert first.exit_code == 0, first.stderr
    assert first.stdout.startswith("ROMEO:")
    assert first.stdout == second.stdout
    assert len(first.stdout) > 20
