import gzip
import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from heed.models.bundle import catalog
from heed.models.tasks.generator import Generator
from heed.models.tasks.scorer import Scorer
from heed.models.tokenizers.lossless import TextTokenizer
from heed.transformer.decoding import TorchNetwork
from heed.transformer.model import Transformer

Heed = Callable[..., Result]
V, CONTEXT = 290, 30
LINES = ["the cat", "", "a hat, a rat", "é \U0001f600", "the dog ate the cat on the mat and more " * 2]


@pytest.fixture
def scorer(
    verbatim: TextTokenizer,
    draw_language_model: Callable[..., Transformer],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Scorer:
    """A network in PyTorch, which is also what is loaded as a bundle."""
    network = TorchNetwork(draw_language_model(vocab_size=V, context=CONTEXT))
    (tmp_path / "model").mkdir()
    (tmp_path / "model/heed.json").write_text('{"name": "cats"}')
    monkeypatch.setitem(catalog.DEFAULTS, "generate", tmp_path / "model")
    scorer = Scorer(network, verbatim.pieces, verbatim.encode_all)
    monkeypatch.setattr(Scorer, "load", lambda *_, **__: scorer)
    monkeypatch.setattr(Generator, "load", lambda *_, **__: Generator(network, verbatim))
    return scorer


def run(heed: Heed, command: str, *arguments: object, stdin: bytes = b"") -> Result:
    result = heed(command, *arguments, stdin=stdin)
    assert result.exit_code == 0, result.stderr
    return result


def records(result: Result) -> list[dict[str, float]]:
    return [json.loads(line) for line in result.stdout_bytes.decode().split("\n")[:-1]]


def text(lines: list[str], ending: str = "\n") -> bytes:
    return "".join(line + ending for line in lines).encode()


@pytest.mark.parametrize("end", [False, True])
def test_each_line_has_its_figures_in_order(heed: Heed, scorer: Scorer, end: bool) -> None:
    expected = scorer.score([scorer.passage(line, end=end) for line in LINES])
    more = ["--end"] if end else []
    found = records(run(heed, "score", "--json", *more, stdin=text(LINES)))
    assert [record["n_tokens"] for record in found] == [score.n_tokens for score in expected]
    assert [record["log_prob"] for record in found] == pytest.approx([score.log_prob for score in expected], rel=1e-4)
    if not end:
        assert found[1] == {"log_prob": 0.0, "n_tokens": 0, "perplexity": None}
    plain = run(heed, "score", *more, stdin=text(LINES, "\r\n")).stdout.splitlines()
    for line, score in zip(plain, expected, strict=True):
        log_prob, n_tokens, perplexity = line.split("\t")
        assert float(log_prob) == pytest.approx(score.log_prob, abs=1e-3)
        assert int(n_tokens) == score.n_tokens
        assert float(perplexity) == pytest.approx(score.perplexity, rel=1e-3, nan_ok=True)


def test_a_file_may_be_compressed_and_begin_with_a_mark(heed: Heed, scorer: Scorer, tmp_path: Path) -> None:
    file = tmp_path / "lines.gz"
    file.write_bytes(gzip.compress(b"\xef\xbb\xbf" + text(LINES)))
    assert run(heed, "score", "-i", file).stdout == run(heed, "score", stdin=text(LINES)).stdout
    assert (
        run(heed, "score", "--document", "-i", file).stdout
        == run(heed, "score", "--document", stdin=text(LINES)).stdout
    )


def test_the_total_is_what_all_have_together(heed: Heed, scorer: Scorer, monkeypatch: pytest.MonkeyPatch) -> None:
    every = records(run(heed, "score", "--json", stdin=text(LINES)))
    monkeypatch.setattr("heed.cli.commands.inference.score.WINDOW", 2)
    (total,) = records(run(heed, "score", "--json", "--total", stdin=text(LINES)))
    log_prob, n_tokens = (sum(record[name] for record in every) for name in ("log_prob", "n_tokens"))
    assert total == {
        "texts": len(LINES),
        "log_prob": pytest.approx(log_prob, rel=1e-4),
        "n_tokens": n_tokens,
        "perplexity": pytest.approx(math.exp(-log_prob / n_tokens), rel=1e-4),
        "bits_per_byte": pytest.approx(-log_prob / math.log(2) / len("".join(LINES).encode()), rel=1e-4),
    }
    result = run(heed, "score", stdin=text(LINES))
    assert result.stderr.startswith(f"texts {len(LINES)}, log prob {log_prob:.3f}"[:20])
    assert run(heed, "score", "-q", stdin=text(LINES)).stderr == ""


def test_a_document_is_one_text(heed: Heed, scorer: Scorer, tmp_path: Path) -> None:
    (tmp_path / "one").write_bytes(text(LINES))
    (tmp_path / "two").write_bytes(b"the cat")
    expected = scorer.score([scorer.passage(each) for each in (text(LINES).decode(), "the cat")])
    found = records(run(heed, "score", "--json", "--document", "-i", tmp_path / "one", "-i", tmp_path / "two"))
    assert [record["n_tokens"] for record in found] == [score.n_tokens for score in expected]
    assert [record["log_prob"] for record in found] == pytest.approx([score.log_prob for score in expected], rel=1e-4)


def test_nothing_in_nothing_out(heed: Heed, scorer: Scorer) -> None:
    assert run(heed, "score").stdout_bytes == b""
    (total,) = records(run(heed, "score", "--json", "--total"))
    assert total == {"texts": 0, "log_prob": 0.0, "n_tokens": 0, "perplexity": None}


def test_what_is_no_utf_8_is_told(heed: Heed, scorer: Scorer) -> None:
    result = run(heed, "score", "-q", stdin=b"a\xff\nb\n")
    assert result.stdout_bytes.count(b"\n") == 2
    assert result.stderr == "Warning: 1 lines were not UTF-8; invalid bytes became \ufffd\n"


@pytest.mark.parametrize("options", [["-n", "3"], ["--greedy"], ["--beam-size", "3", "-n", "2"], ["--stop", "e"]])
def test_what_generate_writes_has_the_score_that_it_says(heed: Heed, scorer: Scorer, options: list[str]) -> None:
    generated = run(heed, "generate", "--batch", "--max-tokens", 9, *options, stdin=text(LINES[:4]))
    found = records(run(heed, "score", "--json", "--pairs", "-", stdin=generated.stdout_bytes))
    said = [record["log_prob"] for record in records(generated)]
    assert [record["log_prob"] for record in found] == pytest.approx(said, abs=1e-3)


def test_pairs_are_completions_after_prompts(heed: Heed, scorer: Scorer) -> None:
    pairs = [{"prompt": "the cat", "completion": " sat"}, {"prompt": "", "completion": "a"}]
    stdin = "".join(json.dumps(pair) + "\n" for pair in pairs).encode()
    for end in (False, True):
        passages = [scorer.passage(pair["completion"], prompt=pair["prompt"], end=end) for pair in pairs]
        found = records(run(heed, "score", "--json", "--pairs", "-", *["--end"] * end, stdin=stdin))
        expected = [score.log_prob for score in scorer.score(passages)]
        assert [record["log_prob"] for record in found] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    "line",
    [
        *("{", "[]", "3", '{"prompt": "a"}', '{"prompt": 1, "completion": "a"}', '{"line": 1, "error": "x"}'),
        pytest.param("[" * 100_000, id="nested"),
    ],
)
def test_a_record_that_is_no_pair_is_named(heed: Heed, scorer: Scorer, line: str) -> None:
    result = heed("score", "--pairs", "-", stdin=b'{"prompt": "a", "completion": "b"}\n' + line.encode() + b"\n")
    assert result.exit_code == 3
    assert result.stderr.startswith(("Error: stdin: line 2: not JSON", "Error: stdin: line 2: no text in the fields "))


def test_tokens_of_another_model_are_refused(heed: Heed, scorer: Scorer) -> None:
    record = {"prompt": "a", "completion": "b", "tokens": [V]}
    result = heed("score", "--pairs", "-", stdin=json.dumps(record).encode())
    assert result.exit_code == 3
    assert "stdin: line 1: its tokens are not this model's" in result.stderr


# Translations


def test_translations_are_scored_line_by_line(
    heed: Heed, bundle: Path, write_lines: Callable[[str, list[str]], str]
) -> None:
    src, tgt = ["1 2 3", "", "4 5"], ["1 2 3", "", "4 6"]
    files = ("--src", write_lines("src", src), "--tgt", write_lines("tgt", tgt))
    scorer = Scorer.load(bundle, "translate", threads=1)
    expected = scorer.score(scorer.pairs(src, tgt))
    ranked = [score.penalized(scorer.alpha) for score in expected]
    result = run(heed, "score", "-m", bundle, "--threads", 1, "--json", *files)
    for record, score, rank in zip(records(result), expected, ranked, strict=True):
        assert record["log_prob"] == pytest.approx(score.log_prob, rel=1e-5)
        assert record["n_tokens"] == score.n_tokens
        assert record["score"] == pytest.approx(rank, rel=1e-5)
    assert expected[0].log_prob > expected[2].log_prob  # it was taught to copy
    (total,) = records(run(heed, "score", "-m", bundle, "--threads", 1, "--json", "--total", *files))
    assert total["score"] == pytest.approx(sum(ranked) / 3, rel=1e-5)
    assert total["log_prob"] == pytest.approx(sum(score.log_prob for score in expected), rel=1e-5)
    plain = run(heed, "score", "-m", bundle, "--threads", 1, "--length-penalty", 0, *files).stdout.splitlines()
    assert [line.split("\t")[0] == line.split("\t")[3] for line in plain] == [True] * 3


def test_files_that_do_not_correspond_are_refused(
    heed: Heed, bundle: Path, write_lines: Callable[[str, list[str]], str]
) -> None:
    src, tgt = write_lines("src", ["1", "2"]), write_lines("tgt", ["1"])
    result = heed("score", "-m", bundle, "--src", src, "--tgt", tgt)
    assert result.exit_code == 3
    assert result.stderr == f"Error: {src}: 2 lines, {tgt}: 1 lines; give files that correspond line by line\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["--src", "{0}"],
        ["--tgt", "{0}"],
        ["--length-penalty", "1"],
        ["--src", "{0}", "--tgt", "{0}", "--document"],
        ["--src", "{0}", "--tgt", "{0}", "-i", "{0}"],
        ["--src", "{0}", "--tgt", "{0}", "--end"],
        ["--pairs", "{0}", "-i", "{0}"],
        ["--pairs", "{0}", "--document"],
        ["-i", "nowhere"],
    ],
    ids=" ".join,
)
def test_what_does_not_go_together_is_a_usage_error(
    heed: Heed, scorer: Scorer, arguments: list[str], write_lines: Callable[[str, list[str]], str]
) -> None:
    name = write_lines("a", ["a"])
    result = heed("score", *[part.format(name) for part in arguments])
    assert result.exit_code == 2
    assert result.stdout_bytes == b""


def test_a_model_of_the_other_kind_is_refused(heed: Heed, bundle: Path) -> None:
    result = heed("score", "-m", bundle, stdin=b"a\n")
    assert result.exit_code == 4
    assert "is for heed translate, not for heed generate" in result.stderr
