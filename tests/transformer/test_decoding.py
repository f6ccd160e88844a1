"""Networks as searches and samples see them, against their own full forward pass."""

from collections.abc import Callable
from typing import Protocol

import numpy as np
import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from heed.models.arrays import FloatArray, IntArray
from heed.models.decoding.batching import padded, place
from heed.models.decoding.beam_search import search
from heed.models.decoding.config import DecodeConfig, SpecialIds
from heed.models.spec.network import NetworkSpec
from heed.transformer.decoding import TorchNetwork, TorchState
from heed.transformer.masks import padding_mask
from heed.transformer.model import Transformer

V, CONTEXT = 13, 24
SPECIAL = SpecialIds(bos_id=2, eos_id=3, unk_id=1)
SOURCES = [[5, 6, 7, 8, 3], [9, 3], [4, 4, 10, 3], [3], [6, 5, 4, 6, 5, 4, 3]]
PROMPTS = [[2, 5, 6, 7, 8], [2], [2, 9, 9], [2, 4, 7], [2, 7, 6, 5, 4, 4, 4]]
Describe = Callable[..., NetworkSpec]
Draw = Callable[[NetworkSpec], Transformer]
FORMS: dict[str, tuple[str, dict[str, object]]] = {
    "paper": ("translate", {}),
    "relative": ("translate", {"positions": "relative"}),
    "gpt2": ("generate", {}),
    "modern": (
        "generate",
        {"positions": "rotary", "norm_kind": "rms", "activation": "silu", "gated": True, "n_kv_heads": 1},
    ),
}


@pytest.fixture(params=FORMS)
def network(request: pytest.FixtureRequest, describe: Describe, draw: Draw) -> Transformer:
    task, options = FORMS[request.param]
    return draw(describe(task, vocab_size=V, **options))


class Full(Protocol):
    def __call__(self, row: int, tokens: list[int]) -> FloatArray: ...


def full(network: Transformer) -> Full:
    """Gives the log-probabilities after each token of an output of a row, (T, V), in one pass and alone."""

    @torch.inference_mode()
    def log_probs(row: int, tokens: list[int]) -> FloatArray:
        src = torch.tensor([SOURCES[row]])
        found: FloatArray = network(src, padding_mask(src, 0), torch.tensor([tokens]))[0].log_softmax(-1).numpy()
        return found

    return log_probs


def begun(network: Transformer, prompts: list[list[int]]) -> TorchState:
    state = TorchNetwork(network).state()
    if network.encoder is not None:
        state.encode(*padded(SOURCES))
    state.prefill(*padded(prompts))
    return state


def close(found: FloatArray, expected: FloatArray) -> None:
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


def follow(network: Transformer) -> None:
    """Three outputs of each prompt, that go other ways, in rows that leave and change places."""
    state, random = begun(network, PROMPTS), np.random.default_rng(3)
    rows, texts = np.arange(len(PROMPTS)), [[list(prompt) for _ in range(3)] for prompt in PROMPTS]
    found: list[FloatArray] = []  # of each step, (B, 3, V)
    tokens: IntArray = np.array([[prompt[-1]] for prompt in PROMPTS])
    seen = np.zeros((len(PROMPTS), 1, 0), dtype=bool)
    for position in range(6):
        slots, mask = place(seen)
        log_probs = state.log_probs(tokens, position, slots, mask)
        found.append(np.broadcast_to(log_probs, (len(rows), 3, log_probs.shape[2])).copy())
        tokens = random.integers(4, log_probs.shape[2], (len(rows), 3))
        for i, j in np.ndindex(tokens.shape):
            texts[i][j].append(int(tokens[i, j]))
        seen = np.broadcast_to(mask, (len(rows), 3, mask.shape[2]))
        if position == 2:
            kept = np.array([4, 0, 2])
            state.keep(kept)
            rows, tokens, seen = rows[kept], tokens[kept], seen[kept]
            texts, found = [texts[row] for row in kept], [each[kept] for each in found]
    src, src_mask = padded([SOURCES[row] for row in rows for _ in range(3)])
    tgt, _ = padded([text[:-1] for of_row in texts for text in of_row])
    with torch.inference_mode():
        mask = torch.from_numpy(src_mask)[:, None, None]
        whole = network(torch.from_numpy(src), mask, torch.from_numpy(tgt)).log_softmax(-1).numpy()
    for number, row in enumerate(rows):
        last = len(PROMPTS[row]) - 1
        expected = whole[3 * number : 3 * number + 3, last : last + 6]
        close(np.stack([step[number] for step in found], axis=1), expected)


def test_outputs_of_a_prompt_see_the_prompt_and_themselves(network: Transformer) -> None:
    follow(network)


@given(data=st.data())
@settings(max_examples=40, deadline=None, phases=[Phase.reuse, Phase.generate])  # to shrink takes minutes
def test_cached_is_uncached_in_every_form(
    specs: st.SearchStrategy[NetworkSpec], draw: Draw, data: st.DataObject
) -> None:
    follow(draw(data.draw(specs.filter(lambda spec: spec.decoder is not None))))


def test_one_output_alone_needs_no_slots(network: Transformer) -> None:
    state, whole = TorchNetwork(network).state(), full(network)
    if network.encoder is not None:
        state.encode(*padded(SOURCES[:1]))
    state.prefill(*padded(PROMPTS[:1]), alone=True)
    text = list(PROMPTS[0])
    for position, token in enumerate([4, 7, 4]):
        found = state.log_probs(np.array([text[-1:]]), position, None, np.zeros((1, 1, 0), dtype=bool))
        close(found[0, 0], whole(0, text)[-1])
        text.append(token)


def test_candidates_are_the_best_of_all(network: Transformer) -> None:
    state, whole = begun(network, PROMPTS), full(network)
    slots, mask = place(np.zeros((len(PROMPTS), 1, 0), dtype=bool))
    last = np.array([[prompt[-1]] for prompt in PROMPTS])
    wanted = np.full((len(PROMPTS), 1, 1), 7)
    log_probs, ids = state.step(last, 0, slots, mask, 4, wanted)
    for row, (prompt, best, chosen) in enumerate(zip(PROMPTS, log_probs, ids, strict=True)):
        expected = whole(row, prompt)[-1]
        close(best[0, :4], np.sort(expected)[::-1][:4])
        close(expected[chosen[0]], best[0])
        assert chosen[0, 4] == 7


def test_scores_are_those_of_the_full_forward_pass(network: Transformer) -> None:
    texts = [[2, 5, 6, 7, 8, 3], [2, 3], [2, *[4, 5] * 12], [2, 7], [2, 9, 9]]  # the third fills the context
    tgt, _ = padded([text[:-1] for text in texts])
    targets, mask = padded([text[1:] for text in texts])
    state, whole = TorchNetwork(network).state(), full(network)
    if network.encoder is not None:
        state.encode(*padded(SOURCES))
    scores, forced = state.score(tgt, targets), state.forced(tgt)
    assert scores.shape == targets.shape
    assert forced.shape == (*tgt.shape, V)
    for row, (found, every, counts, text) in enumerate(zip(scores, forced, mask, texts, strict=True)):
        expected = whole(row, text[:-1])
        close(every[counts], expected)
        close(found[counts], expected[np.arange(len(text) - 1), text[1:]])


def test_a_hidden_word_of_a_source_is_read_but_not_seen(describe: Describe, draw: Draw) -> None:
    network = draw(describe(vocab_size=V))
    state = TorchNetwork(network).state()
    state.encode(np.array([[5, 6, 7, 3]]), np.ones((1, 4), dtype=bool))
    hidden = np.array([[True, False, True, True]])
    found, tgt = state.forced(np.array([[2, 4, 5]]), hidden), torch.tensor([[2, 4, 5]])
    assert not np.allclose(found, state.forced(np.array([[2, 4, 5]])), atol=1e-3)
    with torch.inference_mode():
        src = torch.tensor([[5, 6, 7, 3]])
        memory = network.encode(src, padding_mask(src, 0))[:, hidden[0]]
        network.encode = lambda *_: memory  # type: ignore[method-assign]
        expected = network(src[:, hidden[0]], torch.ones(1, 1, 1, 3, dtype=torch.bool), tgt).log_softmax(-1)
    close(found, expected.numpy())


@pytest.mark.parametrize("beam_size", [1, 4])
def test_a_search_continues_the_prompts(network: Transformer, beam_size: int) -> None:
    config, whole = DecodeConfig(beam_size=beam_size, max_length=9), full(network)

    def decode(rows: list[int]) -> list[list[tuple[list[int], float]]]:
        sources = None if network.encoder is None else [SOURCES[row] for row in rows]
        prompts = [PROMPTS[row] for row in rows]
        found = search(TorchNetwork(network).state(), sources, config, SPECIAL, prompts=prompts, n_best=beam_size)
        return [[(hypothesis.tokens, hypothesis.log_prob) for hypothesis in hypotheses] for hypotheses in found]

    for row, hypotheses in enumerate(decode(list(range(len(PROMPTS))))):
        (alone,) = decode([row])
        assert [tokens for tokens, _ in hypotheses] == [tokens for tokens, _ in alone]
        for tokens, log_prob in hypotheses:
            ended = tokens + [SPECIAL.eos_id] * (len(tokens) < 9)
            rows = whole(row, [*PROMPTS[row], *ended[:-1]])[len(PROMPTS[row]) - 1 :]
            assert log_prob == pytest.approx(float(rows[np.arange(len(ended)), ended].sum()), rel=1e-3)


@pytest.mark.parametrize("form", ["gpt2", "modern"])
def test_a_search_ends_where_the_context_does(describe: Describe, draw: Draw, form: str) -> None:
    """The last token of an output is not read. Rows that are done stay for some steps beside those that go on."""
    task, options = FORMS[form]
    network = TorchNetwork(draw(describe(task, vocab_size=V, **options)))
    assert network.context == CONTEXT
    endless = SpecialIds(bos_id=2, eos_id=V, unk_id=1)  # no token is the end
    prompts = [[2, *[7] * (CONTEXT - 1)], [2, 7], [2, 8], [2, 9], [2, 10], [2, 11, 12, 5]]

    def lengths(max_length: int) -> list[int]:
        config = DecodeConfig(max_length=max_length)
        found = search(network.state(), None, config, endless, prompts=prompts, context=network.context)
        return [len(best.tokens) for best, *_ in found]

    assert [len(prompt) + n for prompt, n in zip(prompts, lengths(50), strict=True)] == [CONTEXT + 1] * 6
    assert lengths(3) == [1, 3, 3, 3, 3, 3]
