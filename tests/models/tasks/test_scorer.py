import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from heed.models.decoding.config import DecodeConfig
from heed.models.decoding.sampling import SampleConfig
from heed.models.errors import ModelError
from heed.models.tasks.generator import Generator
from heed.models.tasks.scorer import Score, Scorer, ScoringInput, windows
from heed.models.tasks.translation.translator import Translator
from heed.models.tokenizers.lossless import TextTokenizer
from heed.models.tokenizers.subwords import load_tokenizers
from heed.transformer.decoding import TorchNetwork
from heed.transformer.model import Transformer

V, CONTEXT = 290, 24
TEXTS = ["the cat", "", "a hat, a rat", "é \U0001f600\n", "the dog ate the cat"]


@pytest.fixture(scope="module")
def network(draw_language_model: Callable[..., Transformer]) -> Transformer:
    return draw_language_model(vocab_size=V, context=CONTEXT)


@pytest.fixture(scope="module")
def scorer(network: Transformer, verbatim: TextTokenizer) -> Scorer:
    return Scorer(TorchNetwork(network), verbatim.pieces, verbatim.encode_all)


@torch.inference_mode()
def predicted(network: Transformer, verbatim: TextTokenizer, tokens: list[int]) -> list[float]:
    """The log-probability of each token after those before it, by one pass over all of them."""
    ids = torch.tensor([[verbatim.bos_id, *tokens[:-1]]])
    positions = torch.arange(ids.shape[1])
    logits = network(tgt=ids)
    found: list[float] = logits[0].log_softmax(-1)[positions, torch.tensor(tokens)].tolist()
    return found


def test_a_text_s_log_probability_is_that_of_its_tokens(
    scorer: Scorer, network: Transformer, verbatim: TextTokenizer
) -> None:
    passages = [scorer.passage(text, end=end) for text in TEXTS for end in (False, True)]
    for passage, found in zip(passages, scorer.score(passages), strict=True):
        expected = sum(predicted(network, verbatim, passage.tokens)) if passage.tokens else 0.0
        assert found.log_prob == pytest.approx(expected, rel=1e-4)
        assert found.n_tokens == len(passage.tokens)
    assert [*passages[0].tokens, verbatim.eos_id] == passages[1].tokens


def test_a_prompt_is_given_and_not_scored(scorer: Scorer, network: Transformer, verbatim: TextTokenizer) -> None:
    passage = scorer.passage(" sat", prompt="the cat")
    (found,) = scorer.score([passage])
    every = predicted(network, verbatim, passage.given + passage.tokens)
    assert found.log_prob == pytest.approx(sum(every[len(passage.given) :]), rel=1e-4)
    (apart,) = scorer.score([scorer.passage(" sat")])
    assert abs(found.log_prob - apart.log_prob) > 0.1


@given(st.integers(0, 80), st.integers(0, 80), st.integers(1, 30))
def test_windows_predict_each_token_once_and_from_enough(given_tokens: int, n_tokens: int, context: int) -> None:
    total = given_tokens + n_tokens
    predicted_ones: list[int] = []
    for begin, first, end in windows(given_tokens, total, context):
        assert 0 <= begin <= first < end <= total
        assert end - begin <= context
        assert begin == 0 or first - begin >= context // 2  # from half the context, or from all there is
        predicted_ones += range(first, end)
    assert predicted_ones == list(range(given_tokens, total))


def test_a_text_longer_than_the_context_is_read_in_windows(
    scorer: Scorer, network: Transformer, verbatim: TextTokenizer
) -> None:
    tokens = verbatim.encode("the cat sat on the mat, and the dog ate the hat; a rat.")[:40]
    assert len(tokens) > CONTEXT
    expected = sum(predicted(network, verbatim, tokens[:CONTEXT]))
    end = min(len(tokens), CONTEXT + CONTEXT // 2)
    expected += sum(predicted(network, verbatim, tokens[end - CONTEXT : end])[CONTEXT - end :])
    (found,) = scorer.score([ScoringInput([], tokens[:end])])
    assert found.log_prob == pytest.approx(expected, rel=1e-4)


def test_neighbours_change_no_score(scorer: Scorer, monkeypatch: pytest.MonkeyPatch) -> None:
    passages = [scorer.passage(text * repeated) for text in TEXTS for repeated in (1, 7)]
    together = scorer.score(passages)
    alone = [scorer.score([passage])[0] for passage in passages]
    monkeypatch.setattr("heed.models.tasks.scorer.LOGITS", 1)
    one_by_one = scorer.score(passages)
    for found in (alone, one_by_one):
        assert [each.log_prob for each in found] == pytest.approx([each.log_prob for each in together], rel=1e-4)
    assert scorer.score([]) == []


@pytest.mark.parametrize(
    "config", [SampleConfig(seed=1, n=4), SampleConfig(temperature=0), SampleConfig(seed=2, top_k=3)]
)
def test_what_was_generated_has_the_score_that_it_was_generated_with(
    scorer: Scorer, network: Transformer, verbatim: TextTokenizer, config: SampleConfig
) -> None:
    """For its very tokens, of which its text, encoded anew, may have others."""
    generator = Generator(TorchNetwork(network), verbatim)
    for prompt in TEXTS:
        rows = generator.generate([prompt], config) + generator.search([prompt], DecodeConfig(beam_size=3), n_best=3)
        for generation in [generation for row in rows for generation in row]:
            passage = scorer.passage(generation.text, prompt=prompt, end=generation.ended == "end")
            (found,) = scorer.score([scorer.drawn(passage, generation.tokens)])
            assert found.log_prob == pytest.approx(generation.log_prob, abs=1e-4 * max(1, found.n_tokens))


def test_tokens_of_another_model_are_refused(scorer: Scorer) -> None:
    for wrong in ([V], [-1], [True], ["a"]):
        with pytest.raises(ModelError, match="not this model's"):
            scorer.drawn(scorer.passage("a"), wrong)  # type: ignore[arg-type]


def test_perplexity() -> None:
    assert Score(-6 * math.log(7), 6).perplexity == pytest.approx(7)
    assert math.isnan(Score(0.0, 0).perplexity)
    assert Score(-math.inf, 3).perplexity == Score(-1e6, 3).perplexity == math.inf


# Translations


@pytest.mark.parametrize("beam_size", [1, 4])
def test_what_was_translated_has_the_score_that_it_was_translated_with(
    bundle: Path, digit_lines: Callable[[int, int], list[str]], beam_size: int
) -> None:
    lines = ["", *digit_lines(40, 5)]
    translator = Translator.load(bundle, threads=1, shortlist=False)
    config = DecodeConfig(beam_size=beam_size, length_penalty=0.8)
    translated = translator.translate(lines, config)
    scorer = Scorer.load(bundle, "translate", threads=1)
    found = scorer.score(scorer.pairs(lines, [translation.text for translation in translated]))
    _, tgt = load_tokenizers(bundle)
    n_same = 0
    for line, translation, score in zip(lines, translated, found, strict=True):
        # Where its text has the tokens that it was made of, and it came to its end.
        (again,) = tgt.encode([translation.text])
        if again == translation.tokens and len(again) < len(line.split()) + 50:
            n_same += 1
            assert score.log_prob == pytest.approx(translation.log_prob, abs=1e-4)
            assert score.penalized(0.8) == pytest.approx(translation.score, abs=1e-4)
    assert n_same > 10


def test_neighbours_change_no_score_of_a_translation(
    bundle: Path, digit_lines: Callable[[int, int], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [*digit_lines(9, 5), "", "1", " ".join("123456789" * 5)]
    scorer = Scorer.load(bundle, "translate", threads=1)
    pairs = scorer.pairs(lines, lines[::-1])
    together = scorer.score(pairs)
    monkeypatch.setattr("heed.models.tasks.scorer.LOGITS", 1)
    alone = scorer.score(pairs)
    assert np.allclose([each.log_prob for each in alone], [each.log_prob for each in together], rtol=1e-4)
    assert [each.n_tokens for each in alone] == [each.n_tokens for each in together]
