import dataclasses
import errno
import os
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import Result
from hypothesis import given, settings
from hypothesis import strategies as st

from heed.export.exporter import write_graphs
from heed.models.arrays import IntArray
from heed.models.decoding.beam_search import search
from heed.models.decoding.config import DecodeConfig, SpecialIds
from heed.models.runtime.network import OnnxNetwork
from heed.models.spec.preset import complete, preset, sized
from heed.models.tasks.translation.translator import Translator
from heed.transformer.data import shortlist as module
from heed.transformer.data.batching.pairs import Pairs
from heed.transformer.data.shortlist import Shortlist, learn_shortlist, translation_probabilities
from heed.transformer.model import Transformer
from heed.transformer.training.runs.run import TranslationRun

EOS = 3
SPECIAL = SpecialIds(bos_id=2, eos_id=EOS, suppressed=(0, 1, 2))
V = 40


def corpus(pairs: list[tuple[list[int], list[int]]]) -> Pairs:
    return Pairs.of([src for src, _ in pairs], [tgt for _, tgt in pairs])


def dictionary_corpus(n_pairs: int) -> tuple[Pairs, dict[int, int]]:
    """Pairs that a dictionary makes word by word, shuffled, with a frequent word that translates nothing."""
    chosen = random.Random(1)
    words = dict(zip(range(10, 25), chosen.sample(range(10, 25), 15), strict=True))
    pairs = []
    for _ in range(n_pairs):
        src = chosen.sample(sorted(words), 5)
        tgt = [words[word] for word in src] + [9]
        chosen.shuffle(tgt)
        pairs.append((src, tgt))
    return corpus(pairs), words


def test_the_likeliest_translation_is_that_of_the_dictionary() -> None:
    text, words = dictionary_corpus(300)
    src, tgt, probability = translation_probabilities(text, V)
    for word, translation in words.items():
        mine = src == word
        assert tgt[mine][probability[mine].argmax()] in (translation, 9)
        assert probability[mine].sum() == pytest.approx(1)
        without_the_frequent = np.where(tgt[mine] == 9, 0, probability[mine])
        assert tgt[mine][without_the_frequent.argmax()] == translation


def plain_model_1(pairs: list[tuple[list[int], list[int]]], rounds: int) -> dict[tuple[int, int], float]:
    """IBM Model 1 as the book has it: dictionaries and loops."""
    t = {(s, e): 1.0 for src, tgt in pairs for s in src for e in tgt}
    for _ in range(rounds):
        count = dict.fromkeys(t, 0.0)
        for src, tgt in pairs:
            for e in tgt:
                total = sum(t[s, e] for s in src)
                for s in src:
                    count[s, e] += t[s, e] / total
        sums: dict[int, float] = {}
        for (s, _), value in count.items():
            sums[s] = sums.get(s, 0.0) + value
        t = {(s, e): value / sums[s] for (s, e), value in count.items()}
    return t


SENTENCES = st.lists(st.integers(4, 9), min_size=1, max_size=5)


@given(st.lists(st.tuples(SENTENCES, SENTENCES), min_size=1, max_size=6))
def test_the_probabilities_are_those_of_ibm_model_1(pairs: list[tuple[list[int], list[int]]]) -> None:
    src, tgt, probability = translation_probabilities(corpus(pairs), V)
    found = dict(zip(zip(src.tolist(), tgt.tolist(), strict=True), probability.tolist(), strict=True))
    assert found == pytest.approx(plain_model_1(pairs, module.ROUNDS))


def test_a_shortlist_has_the_likeliest_translations_and_the_most_frequent_tokens() -> None:
    text, words = dictionary_corpus(300)
    found = learn_shortlist(text, V, V, EOS, joint=False, n_likely=1, n_always=2)
    assert found.always.tolist() == [EOS, 9]
    assert found.likely.tolist() == [[words.get(word, EOS)] for word in range(V)]  # 9 needs no second place


def test_of_more_text_than_the_limit_every_source_token_is_still_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that only the last pair has, too."""
    pairs = [([10, 11, 12], [20, 21, 22])] * 400 + [([13], [23])]
    monkeypatch.setattr(module, "LIMIT", 300)  # of 400 · 9 + 1
    src, tgt, _ = translation_probabilities(corpus(pairs), V)
    assert (13, 23) in zip(src.tolist(), tgt.tolist(), strict=True)


def test_the_shortest_pairs_fill_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each source token has been seen thirty times in the long pairs, which come first."""
    long, short = ([10, 11, 12, 13], [20, 21, 22]), ([10, 11], [21, 24])
    pairs = [long] * 100 + [short] * 50
    monkeypatch.setattr(module, "LIMIT", 30 * 12 + 10 * 4 + 3)
    src, tgt, _ = translation_probabilities(corpus(pairs), V)
    assert (11, 24) in zip(src.tolist(), tgt.tolist(), strict=True)
    taken = list(module._telling_pairs(corpus(pairs)))
    assert taken == [*range(30), *range(100, 110)]


def test_keys_beyond_32_bits_are_told_apart() -> None:
    """A large vocabulary's, of which the numbers of pairs do not fit."""
    far = 60_000
    src, tgt, _ = translation_probabilities(corpus([([far], [far - 1]), ([10], [11])]), far + 1)
    assert list(zip(src.tolist(), tgt.tolist(), strict=True)) == [(10, 11), (far, far - 1)]


def test_with_one_vocabulary_every_token_can_be_copied() -> None:
    text, words = dictionary_corpus(300)
    found = learn_shortlist(text, V, V, EOS, joint=True, n_likely=3, n_always=2)
    assert all(token in {*found.likely[token], *found.always} for token in range(V))
    assert all(translation in found.likely[word] for word, translation in words.items())


def test_a_run_keeps_its_shortlist(tmp_path: Path) -> None:
    assert Shortlist.load(tmp_path) is None
    text, _ = dictionary_corpus(30)
    written = learn_shortlist(text, V, V, EOS, joint=True, n_likely=4, n_always=5)
    written.save(tmp_path)
    found = Shortlist.load(tmp_path)
    assert found is not None
    assert np.array_equal(found.likely, written.likely)
    assert np.array_equal(found.always, written.always)


# In the graphs


def make(directory: Path, shortlist: Shortlist, precision: str) -> tuple[OnnxNetwork, OnnxNetwork]:
    """The same network over the whole vocabulary, and over the shortlist."""
    torch.manual_seed(3)
    network = Transformer(sized(complete(preset("tiny")["network"]), V, V, joint=True)).eval()
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if "cross_attention" in name:
                parameter.mul_(4)  # so that outputs depend on the source
    files = write_graphs(network, precision, directory, shortlist)
    whole, narrowed = (
        OnnxNetwork(directory, network.spec, files, device="cpu", threads=1, shortlist=narrow)
        for narrow in (False, True)
    )
    return whole, narrowed


def random_shortlist(n_likely: int = 3, n_always: int = 4) -> Shortlist:
    generator = np.random.default_rng(5)
    always = np.array([EOS, *generator.choice(np.arange(4, V), n_always - 1, replace=False)], dtype=np.int32)
    return Shortlist(generator.integers(4, V, (V, n_likely)).astype(np.int32), always)


def padded(sources: list[list[int]]) -> IntArray:
    longest = max(len(source) for source in sources)
    return np.array([source + [0] * (longest - len(source)) for source in sources])


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_log_probabilities_are_those_of_the_whole_vocabulary_without_the_rest(tmp_path: Path, precision: str) -> None:
    """Each sentence over its own shortlist, whatever its neighbours need."""
    shortlist = random_shortlist()
    whole, narrowed = make(tmp_path, shortlist, precision)
    sources = [[5, 6, EOS], [20, EOS], [7, 8, 9, 10, EOS]]
    src = padded(sources)
    states = whole.state(), narrowed.state()
    for state in states:
        state.encode(src, src != 0)
    tgt = np.array([[2, 11, 12]] * 3)
    every = states[0].forced(tgt)
    states[1].prefill(tgt[:, :1], tgt[:, :1] > 0)
    mask, slots = np.ones((3, 1, 1), dtype=bool), np.zeros((3, 1), dtype=np.int64)
    log_probs, ids = states[1].step(tgt[:, :1], 0, slots, mask, V)
    for row, source in enumerate(sources):
        own = sorted(set(shortlist.always.tolist()) | set(shortlist.likely[source].ravel().tolist()))
        possible = np.isfinite(log_probs[row, 0])
        found = dict(zip(ids[row, 0][possible].tolist(), log_probs[row, 0][possible].tolist(), strict=True))
        assert sorted(found) == own
        expected = every[row, 0, own] - np.logaddexp.reduce(every[row, 0, own])
        np.testing.assert_allclose([found[token] for token in own], expected, atol=1e-5)


def test_a_shortlist_of_everything_changes_nothing(tmp_path: Path) -> None:
    everything = Shortlist(np.full((V, 1), EOS, dtype=np.int32), np.arange(V, dtype=np.int32))
    whole, narrowed = make(tmp_path, everything, "float32")
    sources = [[5, 6, EOS], [20, EOS], [7, 8, 9, 10, EOS]]
    results = [
        search(network.state(), sources, DecodeConfig(max_length=12), SPECIAL, n_best=4)
        for network in (whole, narrowed)
    ]
    for ours, theirs in zip(*results, strict=True):
        assert [h.tokens for h in ours] == [h.tokens for h in theirs]
        assert [h.log_prob for h in ours] == pytest.approx([h.log_prob for h in theirs], abs=1e-4)


# Through the commands


@pytest.fixture(scope="module")
def run_with_shortlist(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The digits' run; its vocabulary is too small to need a shortlist, so it gets one that leaves digits out."""
    import shutil

    path = tmp_path_factory.mktemp("narrow") / "run"
    shutil.copytree(trained, path)
    tokenizer = TranslationRun.open(path).tgt_tokenizer
    own = np.arange(len(tokenizer), dtype=np.int32)[:, None]  # every digit is its own translation
    Shortlist(own, np.array([tokenizer.eos_id], dtype=np.int32)).save(path)
    return path


def test_translate_decodes_over_the_shortlist_unless_told_not_to(
    heed: Callable[..., Result], run_with_shortlist: Path, tmp_path: Path
) -> None:
    model, lines = tmp_path / "model", tmp_path / "lines"
    lines.write_text("1 2 3\n4 5\n9 9 8 7\n")
    result = heed("export", run_with_shortlist, "-o", model, "--test-src", lines, "--test-tgt", lines)
    assert result.exit_code == 0, result.stderr
    assert "over the whole vocabulary" in result.stderr
    assert "BLEU over the whole vocabulary" in (model / "README.md").read_text("utf-8")
    narrowed = heed("translate", "-m", model, "-i", lines, "--max-length", "9")
    whole = heed("translate", "-m", model, "-i", lines, "--max-length", "9", "--no-shortlist")
    assert narrowed.exit_code == whole.exit_code == 0
    for source, line in zip(lines.read_text().splitlines(), narrowed.stdout.splitlines(), strict=True):
        assert set(line.split()) <= set(source.split())
    for path in (model / "shortlist.onnx", model / "shortlist_decoder.onnx"):
        assert path.is_file()


def test_what_is_learnt_on_top_keeps_the_words_that_were_needed(
    heed: Callable[..., Result], run_with_shortlist: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From a run as from its bundle."""
    monkeypatch.setattr("heed.transformer.data.preparation.translation_run.ALWAYS", 1)  # else too small for one
    before, (text, bundle) = Shortlist.load(run_with_shortlist), (tmp_path / name for name in ("text", "bundle"))
    assert before is not None
    text.write_text("1 2\n2 1\n1 1 2\n" * 10)
    assert heed("export", run_with_shortlist, "-o", bundle).exit_code == 0
    for initial in (run_with_shortlist, bundle):
        run = tmp_path / f"on {initial.name}"
        training = ["--steps", 1, "--precision", "float32", "--device", "cpu", "--threads", 1]
        result = heed("train", "--init-from", initial, "--src", text, "--tgt", text, *training, "-o", run)
        assert result.exit_code == 0, result.stderr
        after = Shortlist.load(run)
        assert after is not None
        assert set(before.always) <= set(after.always)
        assert all(set(old) <= set(new) for old, new in zip(before.likely, after.likely, strict=True))
        assert after.always[0] == EOS
        assert after.likely.shape[1] > before.likely.shape[1]  # and those of the new text


@pytest.fixture(scope="module")
def int8_translator(run_with_shortlist: Path, heed: Callable[..., Result]) -> Translator:
    path = run_with_shortlist.with_name("int8")
    result = heed("export", run_with_shortlist, "-o", path, "--precision", "int8")
    assert result.exit_code == 0, result.stderr
    return Translator.load(path, threads=2)


LINES = st.lists(st.text("0123456789 ", min_size=1, max_size=14), min_size=1, max_size=12)


@settings(deadline=None, max_examples=30)
@given(LINES, st.integers(1, 5), st.sampled_from([1, 4]), st.randoms(use_true_random=False))
def test_an_int8_translation_is_the_same_alone_and_among_any_neighbours(
    int8_translator: Translator, lines: list[str], batch_size: int, beam_size: int, chosen: random.Random
) -> None:
    """Whatever the batch's size and order. Scores may differ by a rounding: padding changes the order of sums."""
    config = DecodeConfig(beam_size=beam_size, max_length=12)
    alone = {line: int8_translator.translate([line], config)[0] for line in lines}
    shuffled = chosen.sample(lines, len(lines))
    together = int8_translator.translate(shuffled, config, batch_size=batch_size)
    for line, found in zip(shuffled, together, strict=True):
        assert found.text == alone[line].text
        assert dataclasses.replace(found, log_prob=0, score=0) == dataclasses.replace(alone[line], log_prob=0, score=0)
        assert found.log_prob == pytest.approx(alone[line].log_prob, abs=0.05)


def test_another_user_may_read_it_and_is_told_if_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of mode 600 was told as "No such file"."""
    shortlist = Shortlist(np.zeros((3, 2), dtype=np.int32), np.arange(2, dtype=np.int32))
    shortlist.save(tmp_path)
    file = tmp_path / "shortlist.safetensors"
    (tmp_path / "other").touch()
    assert file.stat().st_mode == (tmp_path / "other").stat().st_mode

    def refuse(path: Path) -> bytes:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(PermissionError):
        Shortlist.load(tmp_path)


def test_a_smaller_vocabulary_s_shortlist_can_be_joined() -> None:
    """That of a network whose vocabulary was extended."""
    new = Shortlist(np.array([[1], [2], [3]], dtype=np.int32), np.array([0], dtype=np.int32))
    old = Shortlist(np.array([[5, 6]], dtype=np.int32), np.array([0, 4], dtype=np.int32))
    joined = new.joined(old)
    assert joined.likely.tolist() == [[1, 5, 6], [2, 0, 0], [3, 0, 0]]
    assert joined.always.tolist() == [0, 4]
