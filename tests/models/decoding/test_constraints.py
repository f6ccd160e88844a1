"""The constrained search, against every output that there is."""

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from heed.export.exporter import write_graphs
from heed.models.arrays import BoolArray, FloatArray, IntArray
from heed.models.decoding.beam_search import search
from heed.models.decoding.config import DecodeConfig, SpecialIds
from heed.models.decoding.constraints import Form, Requirement
from heed.models.runtime.network import OnnxNetwork
from heed.models.runtime.protocol import Padded, SearchState
from heed.models.spec.network import NetworkSpec
from heed.transformer.decoding import TorchNetwork
from heed.transformer.model import Transformer

BOS = 2
SPECIAL = SpecialIds(bos_id=BOS, eos_id=3, suppressed=(0, 1, 2))
V = 9
# Of the tokens 4 to 8, the last goes on with a word.
BEGINS_WORD = np.array([token != V - 1 for token in range(V)])
Phrases = list[list[Form]]


class RandomState:
    """Next-token distributions that depend on the source and on every token so far."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.sources: list[list[int]] = []
        self.slots: list[dict[int, tuple[int, int]]] = []

    def encode(self, src: IntArray, src_mask: BoolArray, needed: Padded | None = None) -> None:
        self.sources = [row[mask].tolist() for row, mask in zip(src, src_mask, strict=True)]
        self.slots = [{} for _ in self.sources]

    def prefill(self, prompts: IntArray, prompt_mask: BoolArray, *, alone: bool = False) -> None:
        assert prompts.tolist() == [[BOS]] * len(self.sources)

    def every(self, source: Sequence[int], prefix: Sequence[int]) -> FloatArray:
        logits = 2 * np.random.default_rng([self.seed, len(source), *source, *prefix]).standard_normal(V)
        return (logits - np.log(np.exp(logits).sum())).astype(np.float32)

    def forced(self, source: Sequence[int], tokens: Sequence[int]) -> float:
        return sum(float(self.every(source, tokens[:i])[token]) for i, token in enumerate(tokens))

    def step(
        self,
        tokens: IntArray,
        position: int,
        slots: IntArray,
        mask: BoolArray,
        top: int,
        wanted: IntArray | None = None,
        live: BoolArray | None = None,
    ) -> tuple[FloatArray, IntArray]:
        B, W = tokens.shape
        every = np.zeros((B, W, V), dtype=np.float32)
        for b, w in np.ndindex(B, W):
            self.slots[b][int(slots[b, w])] = (position, int(tokens[b, w]))
        for b, w in np.ndindex(B, W):
            seen = sorted(self.slots[b].get(slot, (0, 0)) for slot in np.flatnonzero(mask[b, w]).tolist())
            every[b, w] = self.every(self.sources[b], [token for _, token in seen[1:]])
        ids = np.argsort(-every, axis=2, kind="stable")[:, :, :top]
        if wanted is not None:
            ids = np.concatenate([ids, wanted], axis=2)
        return np.take_along_axis(every, ids, axis=2), ids

    def keep(self, rows: IntArray) -> None:
        self.sources, self.slots = [self.sources[row] for row in rows], [self.slots[row] for row in rows]


def has(tokens: Sequence[int], phrases: Phrases) -> bool:
    """Whether tokens have one form of each phrase, after which no word goes on: by looking at every place."""

    def appears(form: Form) -> bool:
        whole = (BOS, *tokens, SPECIAL.eos_id)
        ends = (i + len(form) for i in range(len(whole)) if whole[i : i + len(form)] == form)
        return any(BEGINS_WORD[whole[end]] for end in ends)

    return all(any(map(appears, forms)) for forms in phrases)


def required(phrases: Phrases) -> Requirement:
    return Requirement(phrases, BEGINS_WORD, BOS)


def constrained(
    state: SearchState, sources: list[list[int]], phrases: list[Phrases], config: DecodeConfig, n_best: int = 1
) -> list[list[tuple[list[int], float]]]:
    found = search(state, sources, config, SPECIAL, n_best=n_best, requirements=[required(each) for each in phrases])
    return [[(hypothesis.tokens, hypothesis.log_prob) for hypothesis in best] for best in found]


WORDS = range(4, V)
FORMS = st.lists(st.sampled_from(WORDS), min_size=0, max_size=2).flatmap(
    lambda rest: st.sampled_from(range(4, V - 1)).map(lambda first: (first, *rest))
)
PHRASES = st.lists(st.lists(FORMS, min_size=1, max_size=2), min_size=1, max_size=3)
# Of which none begins within another, so that what lacks can be counted.
APART = st.lists(
    st.lists(st.lists(st.sampled_from([6, 7, 8]), max_size=2), min_size=1, max_size=2), min_size=1, max_size=2
).map(lambda phrases: [[(4 + i, *rest) for rest in forms] for i, forms in enumerate(phrases)])
SOURCES = st.lists(st.integers(4, 8), max_size=3).map(lambda ids: [*ids, 3])


@given(PHRASES, st.lists(st.sampled_from(WORDS), max_size=12))
def test_the_automaton_knows_when_all_phrases_have_appeared(phrases: Phrases, tokens: list[int]) -> None:
    requirement, state = required(phrases), 0
    for token in tokens:
        state = requirement.after(state, token)
    assert (requirement.lacks(state) == 0) == has(tokens, phrases)


@given(FORMS, st.lists(st.sampled_from(WORDS), max_size=6))
def test_what_one_phrase_lacks_is_the_shortest_way_to_it(form: Form, tokens: list[int]) -> None:
    requirement, state = required([[form]]), 0
    for token in tokens:
        state = requirement.after(state, token)
    ways = (
        n for n in range(len(form) + 1) for more in itertools.product(form, repeat=n) if has([*tokens, *more], [[form]])
    )
    assert requirement.lacks(state) == next(ways)
    if requirement.lacks(state):
        nexts = [requirement.lacks(requirement.after(state, token)) for token in requirement.wanted(state)]
        assert min(nexts) == requirement.lacks(state) - 1


def test_a_form_for_the_beginning_counts_there_alone() -> None:
    phrases: Phrases = [[(4, 5), (BOS, 6)]]
    requirement = required(phrases)
    assert requirement.lacks(0) == 1
    assert requirement.lacks(requirement.after(0, 6)) == 0
    elsewhere = requirement.after(requirement.after(0, 7), 6)
    assert requirement.lacks(elsewhere) == 2
    assert requirement.wanted(elsewhere) == [4]


# Where the network would end every hypothesis, what lacks something goes on up to the limit, too.
@example(1296754, [3], [[(4, 6), (4, 6, 6)], [(5,), (5, 6, 6)]], 2)
@given(st.integers(0, 2**32), SOURCES, APART, st.integers(1, 4))
def test_every_output_has_its_phrases(seed: int, source: list[int], phrases: Phrases, beam_size: int) -> None:
    limit = sum(max(len(form) for form in forms) for forms in phrases) + 3
    config = DecodeConfig(beam_size=beam_size, max_length=limit)
    (found,) = constrained(RandomState(seed), [source], [phrases], config, n_best=beam_size)
    assert all(has(tokens, phrases) for tokens, _ in found)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32), SOURCES, APART, st.integers(2, 3))
def test_a_beam_as_wide_as_the_language_finds_the_best_that_has_them(
    seed: int, source: list[int], phrases: Phrases, limit: int
) -> None:
    state = RandomState(seed)
    outputs = [list(tokens) for n in range(limit + 1) for tokens in itertools.product(WORDS, repeat=n)]

    def is_over(tokens: list[int]) -> bool:
        """Whether the network would end an output that lacks something."""
        every = state.every(source, tokens)
        every[list(SPECIAL.suppressed)] = -np.inf
        return not has(tokens, phrases) and int(every.argmax()) == SPECIAL.eos_id

    over = {tuple(tokens) for tokens in outputs if is_over(tokens)}
    reached = [tokens for tokens in outputs if not any(tuple(tokens[:n]) in over for n in range(len(tokens)))]
    possible = [tokens for tokens in reached if has(tokens, phrases)]
    assume(possible)
    whole = [[*tokens, SPECIAL.eos_id] if len(tokens) < limit else tokens for tokens in possible]
    best = max(whole, key=lambda tokens: state.forced(source, tokens))
    config = DecodeConfig(beam_size=len(outputs), length_penalty=0.0, max_length=limit)
    (((tokens, log_prob),),) = constrained(state, [source], [phrases], config)
    assert tokens == [token for token in best if token != SPECIAL.eos_id]
    assert log_prob == pytest.approx(state.forced(source, best), rel=1e-5, abs=1e-5)


@settings(deadline=None)
@given(
    st.integers(0, 2**32),
    st.lists(st.tuples(SOURCES, st.none() | PHRASES), min_size=1, max_size=5),
    st.integers(1, 4),
    st.none() | st.floats(0.5, 2),
)
def test_a_batch_is_decoded_as_one_by_one(
    seed: int, sentences: list[tuple[list[int], Phrases | None]], beam_size: int, threshold: float | None
) -> None:
    """Whether anything is required of each or not."""
    config = DecodeConfig(beam_size=beam_size, max_length=8, beam_threshold=threshold)
    sources, requirements = (
        [source for source, _ in sentences],
        [required(each) if each else None for _, each in sentences],
    )
    together = search(RandomState(seed), sources, config, SPECIAL, requirements=requirements)
    for source, requirement, best in zip(sources, requirements, together, strict=True):
        assert search(RandomState(seed), [source], config, SPECIAL, requirements=[requirement]) == [best]


@given(st.integers(0, 2**32), st.lists(SOURCES, min_size=1, max_size=4), st.integers(1, 4))
def test_where_nothing_is_required_the_search_is_the_plain_one(
    seed: int, sources: list[list[int]], beam_size: int
) -> None:
    """The end is a candidate there even where others are better; that changes nothing, for it would be the last."""
    config = DecodeConfig(beam_size=beam_size, max_length=6)
    plain = search(RandomState(seed), sources, config, SPECIAL)
    assert search(RandomState(seed), sources, config, SPECIAL, requirements=[required([])] * len(sources)) == plain


def test_without_room_for_a_phrase_the_search_goes_as_far_as_it_can() -> None:
    config = DecodeConfig(beam_size=2, max_length=2)
    (((tokens, _),),) = constrained(RandomState(1), [[5, 3]], [[[(4, 5, 6)]]], config)
    assert len(tokens) == 2


def test_pytorch_and_onnx_find_the_same(tmp_path: Path, describe: Callable[..., NetworkSpec]) -> None:
    torch.manual_seed(3)
    network = Transformer(describe(vocab_size=V)).eval()
    files = write_graphs(network, "float32", tmp_path)
    sources = [[5, 6, 7, 3], [8, 3], [4, 4, 5, 6, 8, 3]]
    phrases: list[Phrases] = [[[(4, 8)], [(5,)]], [[(6, 6)]], [[(7, 4)]]]
    search_config = DecodeConfig(max_length=9)
    onnx = OnnxNetwork(tmp_path, network.spec, files, device="cpu", threads=1)
    ours, theirs = (
        constrained(each.state(), sources, phrases, search_config) for each in (onnx, TorchNetwork(network))
    )
    for (tokens, log_prob), (reference, expected) in zip((x[0] for x in ours), (x[0] for x in theirs), strict=True):
        assert tokens == reference
        assert log_prob == pytest.approx(expected, rel=1e-4)
    assert all(has(best[0][0], each) for best, each in zip(ours, phrases, strict=True))


@settings(deadline=None)
@given(st.integers(0, 2**32), SOURCES, PHRASES, st.sets(st.sampled_from(WORDS), max_size=3), st.integers(1, 4))
def test_what_is_refused_comes_in_phrases_alone(
    seed: int, source: list[int], phrases: Phrases, refused: set[int], beam_size: int
) -> None:
    requirement = Requirement(phrases, BEGINS_WORD, BOS, refused)
    needed = {token for forms in phrases for form in forms for token in form}
    config = DecodeConfig(beam_size=beam_size, max_length=8)
    for best in search(RandomState(seed), [source], config, SPECIAL, n_best=beam_size, requirements=[requirement]):
        assert all(not (refused - needed).intersection(hypothesis.tokens) for hypothesis in best)
