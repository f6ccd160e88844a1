"""Distillation: the student's text is what the teacher makes of its sources, however often it was interrupted."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from sacrebleu.metrics.chrf import CHRF

from heed.models.tasks.translation.translation import Translation
from heed.models.tasks.translation.translator import Translator
from heed.transformer.data import distillation
from heed.transformer.data.distillation import Teacher, choose, teach
from heed.transformer.data.text.sources import Source


@pytest.fixture
def pairs(digit_lines: Callable[[int, int], list[str]], tmp_path: Path) -> Source:
    """Digits, some of them twice, and a blank line."""
    lines = [*digit_lines(60, 9), "", *digit_lines(10, 9)]
    for name in ("en", "de"):
        (tmp_path / f"train.{name}").write_text("".join(f"{line}\n" for line in lines), "utf-8")
    return Source((str(tmp_path / "train.en"), str(tmp_path / "train.de")))


def records(path: str) -> list[dict[str, str]]:
    return [json.loads(line) for line in Path(path.rpartition(":")[0]).read_text("utf-8").splitlines()]


def test_the_text_is_the_teachers_but_for_what_is_held_out(bundle: Path, pairs: Source, tmp_path: Path) -> None:
    counts = list[int]()
    teacher = Teacher(bundles=(bundle,), mixed=True, threads=1)
    taught, again = (
        teach([pairs], teacher, tmp_path / "cache", seed=3, hold_out=True, told=counts.append) for _ in range(2)
    )
    assert again == taught
    assert taught.validation
    held, references = (Path(path).read_text("utf-8").splitlines() for path in taught.validation)
    every = [pair for pair in pairs if pair[0]]
    assert set(zip(held, references, strict=True)) < set(every)
    translations, originals = map(records, taught.data)
    learnt = [pair for pair in every if pair[0] not in held]
    assert [(each["src"], each["tgt"]) for each in originals] == learnt
    assert sum(counts) == len(learnt)  # the second time nothing is translated
    with Translator.load(bundle, threads=1) as translator:
        found = translator.translate([src for src, _ in learnt])
    expected = [(src, tgt if each.looped else each.text) for (src, tgt), each in zip(learnt, found, strict=True)]
    assert [(each["src"], each["tgt"]) for each in translations] == expected


def test_an_interrupted_translation_continues(
    bundle: Path, pairs: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(distillation, "WINDOW", 1)
    monkeypatch.setattr(distillation, "BATCH_SIZE", 16)
    teacher, counts = Teacher(bundles=(bundle,), threads=1), list[int]()

    def interrupted(n_lines: int) -> None:
        counts.append(n_lines)
        if len(counts) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        teach([pairs], teacher, tmp_path / "cache", seed=3, hold_out=False, told=interrupted)
    taught = teach([pairs], teacher, tmp_path / "cache", seed=3, hold_out=False, told=counts.append)
    assert sum(counts) == len(records(taught.data[0])) == 70
    whole = teach([pairs], teacher, tmp_path / "other", seed=3, hold_out=False)
    assert records(taught.data[0]) == records(whole.data[0])


def test_the_choice_is_the_best_by_score_or_by_chrf() -> None:
    reference, texts = "a small brown dog", ["the dogs", "a small dog", "brown"]
    best = [Translation(text, [], -number, -number) for number, text in enumerate(texts)]
    assert choose(best, reference, "score") == texts[0]
    chrf = [CHRF().sentence_score(text, [reference]).score for text in texts]
    assert choose(best, reference, "chrf") == texts[chrf.index(max(chrf))] == "a small dog"


@pytest.mark.parametrize("choice", ["score", "chrf"])
def test_loops_are_not_learnt(choice: str) -> None:
    looped = Translation("dog dog dog", [], -1, -1, looped=True)
    assert choose([looped], "a dog", choice) == "a dog"
    assert choose([looped, Translation("dog", [], -2, -2)], "a dog", choice) == "dog"


def test_a_student_is_trained_with_one_command_and_resumed_with_it(
    bundle: Path, pairs: Source, heed: Callable[..., Result], tmp_path: Path
) -> None:
    run = tmp_path / "student"
    sizes = ["--preset", "tiny", "--d-model", "16", "--d-ff", "32", "--n-heads", "2", "--n-layers", "1"]
    training = ["--tokenizer", bundle / "tokenizer.model", "--batch-tokens", "512", "--valid-every", "2"]
    where = ["--precision", "float32", "--device", "cpu", "--threads", "1"]
    src, tgt = pairs.paths
    command = ["train", "--src", src, "--tgt", tgt, "--teacher", bundle, "--resume", run, *sizes, *training, *where]
    for steps in ("2", "3"):
        result = heed(*command, "--steps", steps)
        assert result.exit_code == 0, result.stderr
    assert "step 3" in result.stderr
    config = (run / "config.toml").read_text("utf-8")
    assert "student.teacher" in config
    assert src not in config


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--teacher-choice", "chrf"], "need a --teacher"),
        (["--teacher", "en-de", "--text", __file__], "--teacher translates training text"),
        (["--teacher", "en-de", "--resume", "nowhere"], "--teacher translates training text"),
    ],
)
def test_a_teacher_needs_pairs(options: list[str], words: str, heed: Callable[..., Result], tmp_path: Path) -> None:
    output = [] if "--resume" in options else ["-o", tmp_path / "run"]
    result = heed("train", *output, *options)
    assert (result.exit_code, words in result.stderr) == (2, True), result.stderr
    assert list(tmp_path.iterdir()) == []
