"""The language model in PyTorch as samples and searches see it, against its own full forward pass."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from heed.models.arrays import FloatArray, IntArray
from heed.models.decoding.batching import padded, place
from heed.models.decoding.beam_search import search
from heed.models.decoding.config import DecodeConfig, SpecialIds
from heed.transformer.decoding import TorchTextNetwork
from heed.transformer.language_model import LanguageModel
from heed.transformer.masks import causal_mask

V, CONTEXT = 13, 24
SPECIAL = SpecialIds(bos_id=None, eos_id=3, suppressed=(0, 1, 2))
PROMPTS = [[2, 5, 6, 7, 8], [2], [2, 9, 9], [2, 4, 12], [2, 7, 6, 5, 4, 4, 4]]
FORMS: dict[str, dict[str, object]] = {
    "gpt2": {},
    "modern": {"positions": "rotary", "norm": "rms", "activation": "swiglu", "n_kv_heads": 1, "biases": False},
}


@pytest.fixture(params=FORMS)
def network(request: pytest.FixtureRequest, draw_language_model: Callable[..., LanguageModel]) -> LanguageModel:
    return draw_language_model(vocab_size=V, context=CONTEXT, **FORMS[request.param])


@torch.inference_mode()
def full(network: LanguageModel, tokens: list[int]) -> FloatArray:
    """The log-probabilities after each token of a text, (T, V), in one pass and alone."""
    T = len(tokens)
    logits = network(torch.tensor([tokens]), torch.arange(T)[None], causal_mask(T, torch.device("cpu")))
    found: FloatArray = logits[0].log_softmax(-1).numpy()
    return found


def close(found: FloatArray, expected: FloatArray) -> None:
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_samples_of_a_prompt_see_the_prompt_and_themselves(network: LanguageModel) -> None:
    """Prompts of other lengths beside each other, and three samples of each, that go on in other ways."""
    state, random = TorchTextNetwork(network).state(), np.random.default_rng(3)
    state.read(*padded(PROMPTS))
    texts = [[list(prompt) for _ in range(3)] for prompt in PROMPTS]
    tokens: IntArray = np.array([[prompt[-1]] for prompt in PROMPTS])
    seen = np.zeros((len(PROMPTS), 1, 0), dtype=bool)
    for position in range(6):
        slots, mask = place(seen)
        found = state.predict(tokens, position, slots, mask)
        assert found.shape == (*tokens.shape, V)
        for row, of_row in zip(found, texts, strict=True):
            for w, text in enumerate(of_row):
                close(row[w if position else 0], full(network, text)[-1])
        tokens = random.integers(4, V, (len(texts), 3))
        for i, j in np.ndindex(tokens.shape):
            texts[i][j].append(int(tokens[i, j]))
        seen = np.broadcast_to(mask, (len(texts), 3, mask.shape[2]))
        if position == 2:
            rows = np.array([4, 0, 2])
            state.keep(rows)
            texts, tokens, seen = [texts[row] for row in rows], tokens[rows], seen[rows]


def test_candidates_are_the_best_of_all(network: LanguageModel) -> None:
    state = TorchTextNetwork(network).state()
    slots, mask = place(np.zeros((len(PROMPTS), 1, 0), dtype=bool))
    last = np.array([[prompt[-1]] for prompt in PROMPTS])
    state.read(*padded(PROMPTS))
    log_probs, ids = state.step(last, 0, slots, mask, 4)
    for prompt, best, chosen in zip(PROMPTS, log_probs, ids, strict=True):
        expected = full(network, prompt)[-1]
        close(best[0], np.sort(expected)[::-1][:4])
        close(expected[chosen[0]], best[0])


def test_a_score_is_that_of_the_full_forward_pass(network: LanguageModel) -> None:
    texts = [[2, 5, 6, 7, 8, 3], [2, 3], [2, *[4, 5] * 12]]  # the last fills the context
    ids, _ = padded([text[:-1] for text in texts])
    targets, mask = padded([text[1:] for text in texts])
    found = TorchTextNetwork(network).state().score(ids, targets)
    assert found.shape == targets.shape
    for row, counts, text in zip(found, mask, texts, strict=True):
        expected = full(network, text[:-1])[np.arange(len(text) - 1), text[1:]]
        close(row[counts], expected)


@pytest.mark.parametrize("beam_size", [1, 4])
def test_a_search_goes_on_from_the_prompts(network: LanguageModel, beam_size: int) -> None:
    config = DecodeConfig(beam_size=beam_size, max_length=9)
    together = search(TorchTextNetwork(network).state(), PROMPTS, config, SPECIAL, n_best=beam_size)
    for prompt, hypotheses in zip(PROMPTS, together, strict=True):
        (alone,) = search(TorchTextNetwork(network).state(), [prompt], config, SPECIAL, n_best=beam_size)
        assert [hypothesis.tokens for hypothesis in hypotheses] == [hypothesis.tokens for hypothesis in alone]
        for hypothesis in hypotheses:
            whole = hypothesis.tokens + [SPECIAL.eos_id] * (len(hypothesis.tokens) < 9)
            rows = full(network, [*prompt, *whole[:-1]])[len(prompt) - 1 :]
            expected = float(rows[np.arange(len(whole)), whole].sum())
            assert hypothesis.log_prob == pytest.approx(expected, rel=1e-4)


def test_a_search_ends_where_the_context_does(network: LanguageModel) -> None:
    """The last token of an output is not read. Rows that are done stay for some steps beside those that go on."""
    endless = SpecialIds(bos_id=None, eos_id=V, suppressed=(0, 1, 2))  # no token is the end
    prompts = [[2, *[7] * (CONTEXT - 1)], [2, 7], [2, 8], [2, 9], [2, 10], [2, 11, 12, 5]]
    found = search(TorchTextNetwork(network).state(), prompts, DecodeConfig(max_length=50), endless, context=CONTEXT)
    assert [len(prompt) + len(best.tokens) for prompt, (best, *_) in zip(prompts, found, strict=True)] == [
        CONTEXT + 1
    ] * 6
    limited = search(TorchTextNetwork(network).state(), prompts, DecodeConfig(max_length=3), endless, context=CONTEXT)
    assert [len(best.tokens) for best, *_ in limited] == [1, 3, 3, 3, 3, 3]
