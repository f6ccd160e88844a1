import dataclasses
import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import assume, example, given
from hypothesis import strategies as st

from heed.models.arrays import BoolArray, FloatArray, IntArray
from heed.models.decoding.batching import going_on
from heed.models.decoding.beam_search import search
from heed.models.decoding.config import DecodeConfig, SpecialIds
from heed.models.decoding.hypothesis import Hypothesis, length_penalty
from heed.models.errors import ModelError
from heed.models.runtime.protocol import Padded
from heed.models.spec.network import NetworkSpec
from heed.transformer.decoding import TorchNetwork
from heed.transformer.masks import padding_mask
from heed.transformer.model import Transformer

SPECIAL = SpecialIds(bos_id=2, eos_id=3, suppressed=(0, 1, 2))
BLANK = SPECIAL._replace(blank=(4,))
Tokens = tuple[int, ...]
Alive = tuple[Tokens, np.float32]


@dataclass(frozen=True)
class Language:
    """Next-token distributions that depend on the source and on every token so far."""

    seed: int
    vocab_size: int
    end: float = 0.0  # added to the end token's logit
    unknown: float = 0.0  # and to those of tokens that are never put out

    @functools.cache  # noqa: B019 - a language is as small as a test
    def log_probs(self, source: Tokens, prefix: Tokens) -> FloatArray:
        random = np.random.default_rng([self.seed, len(source), *source, *prefix])
        logits = 2 * random.standard_normal(self.vocab_size)
        logits[SPECIAL.eos_id] += self.end
        logits[list(SPECIAL.suppressed)] += self.unknown
        return (logits - np.log(np.exp(logits).sum())).astype(np.float32)

    def forced(self, source: Tokens, tokens: Tokens) -> float:
        """The log-probability of given tokens."""
        return sum(float(self.log_probs(source, tokens[:i])[token]) for i, token in enumerate(tokens))


class FakeState:
    """Reads each hypothesis back from the slots that the mask lets it see, as attention would."""

    def __init__(self, language: Language) -> None:
        self.language = language
        self.sources: list[Tokens] = []
        self.slots: dict[tuple[int, int], tuple[int, int]] = {}  # by row and slot: position and token
        self.most_slots = 0
        self.n_live: list[int] = []  # of each step

    def encode(self, src: IntArray, src_mask: BoolArray, needed: Padded | None = None) -> None:
        assert src.shape == src_mask.shape
        self.sources = [tuple(row[mask].tolist()) for row, mask in zip(src, src_mask, strict=True)]
        self.slots, self.most_slots = {}, 0

    def prefill(self, prompts: IntArray, prompt_mask: BoolArray, *, alone: bool = False) -> None:
        assert prompts.tolist() == [[SPECIAL.bos_id]] * len(self.sources)
        assert prompt_mask.all()
        assert not alone

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
        assert wanted is None
        assert live is not None
        self.n_live.append(int(live.sum()))
        (B, W), self.most_slots = tokens.shape, max(self.most_slots, mask.shape[2])
        assert len(self.sources) == B
        assert mask.shape == (B, W, self.most_slots)  # they never become fewer
        assert all(len(set(row)) == W for row in slots.tolist())
        self.slots.update({(b, int(slots[b, w])): (position, int(tokens[b, w])) for b, w in np.ndindex(B, W)})
        top = min(top, self.language.vocab_size)
        log_probs, ids = np.zeros((B, W, top), dtype=np.float32), np.zeros((B, W, top), dtype=np.int64)
        for b, w in np.ndindex(B, W):
            if not live[b, w]:  # what comes out counts no more
                log_probs[b, w] = np.nan
                continue
            assert mask[b, w, slots[b, w]]
            seen = sorted(self.slots[b, slot] for slot in np.flatnonzero(mask[b, w]).tolist())
            assert [place for place, _ in seen] == list(range(position + 1))  # one token of each step
            first, *prefix = [token for _, token in seen]
            assert first == SPECIAL.bos_id
            every = self.language.log_probs(self.sources[b], tuple(prefix))
            ids[b, w] = np.argsort(-every, kind="stable")[:top]
            log_probs[b, w] = every[ids[b, w]]
        return log_probs, ids

    def keep(self, rows: IntArray) -> None:
        self.sources = [self.sources[row] for row in rows]
        places = {old: new for new, old in enumerate(rows.tolist())}
        self.slots = {(places[b], slot): what for (b, slot), what in self.slots.items() if b in places}


def may_follow(tokens: Tokens, token: int, config: DecodeConfig, special: SpecialIds) -> bool:
    """Whether a token may come after others."""
    n = config.no_repeat_ngram
    whole = (*tokens, token)
    if n and whole[-n:] in [whole[i : i + n] for i in range(len(whole) - n)]:
        return False
    is_blank = special.blank is not None and all(each in special.blank for each in tokens)
    return token not in special.suppressed and not (token == special.eos_id and is_blank)


def following(
    language: Language, source: Tokens, tokens: Tokens, config: DecodeConfig, special: SpecialIds
) -> list[Alive]:
    """What may follow, the likeliest first, with what a penalty makes of its log-probability."""
    nexts = language.log_probs(source, tokens).copy()
    nexts[list(set(tokens))] *= np.float32(config.repetition_penalty or 1)
    order = np.argsort(-nexts, kind="stable").tolist()
    return [((*tokens, int(token)), nexts[token]) for token in order if may_follow(tokens, token, config, special)]


def beam_search(language: Language, source: Tokens, config: DecodeConfig, special: SpecialIds) -> list[Hypothesis]:
    """The search once more, in the words of its description: lists of hypotheses, one sentence, and no early end."""
    W = config.beam_size
    limit = room(config) or len(source) - 1 + 50
    alive: list[Alive] = [((), np.float32(0))]
    ended: list[Hypothesis] = []
    for length in range(1, limit + 1):
        longer = [
            (whole, log_prob + float(of_token))
            for tokens, log_prob in alive
            for whole, of_token in following(language, source, tokens, config, special)
        ]
        best = sorted(longer, key=lambda item: -item[1])[: 2 * W]
        ends = [(tokens[:-1], log_prob) for tokens, log_prob in best[:W] if tokens[-1] == SPECIAL.eos_id]
        alive = [(tokens, log_prob) for tokens, log_prob in best if tokens[-1] != SPECIAL.eos_id][:W]
        goes_on = length == limit and not (ends and W == 1)  # with one beam, what has ended has
        at_limit = [(length + bool(config.end_forced), each) for each in alive if goes_on]
        for n, (tokens, total) in [*((length, each) for each in ends), *at_limit]:
            divisor = np.float32(((5 + n) / 6) ** config.length_penalty)
            ended.append(Hypothesis(list(tokens), float(total), float(total / divisor)))
        if ended and W == 1:
            break
    return sorted(ended, key=lambda hypothesis: -hypothesis.score)[:W]


def room(config: DecodeConfig) -> int:
    """The most tokens that an output may have: one less where its end is forced. 0: without a limit."""
    return max(1, config.max_length - bool(config.end_forced)) if config.max_length else 0


def greedy(language: Language, source: Tokens, config: DecodeConfig, special: SpecialIds) -> Tokens:
    tokens: Tokens = ()
    while len(tokens) < room(config):
        (whole, _), *_ = following(language, source, tokens, config, special)
        if whole[-1] == SPECIAL.eos_id:
            break
        tokens = whole
    return tokens


LANGUAGES = st.builds(
    Language,
    seed=st.integers(0, 2**32),
    vocab_size=st.integers(6, 12),
    end=st.sampled_from([-3.0, 0.0, 2.0]),
    unknown=st.sampled_from([0.0, 5.0]),
)
SOURCES = st.lists(st.lists(st.integers(4, 9), max_size=4).map(lambda ids: [*ids, 3]), min_size=1, max_size=6)
CONFIGS = st.builds(
    DecodeConfig,
    beam_size=st.integers(1, 5),
    length_penalty=st.sampled_from([0.0, 0.6, 1.0, 2.0]),
    max_length=st.integers(1, 7),
    repetition_penalty=st.none() | st.sampled_from([1.0, 1.5]),
    no_repeat_ngram=st.none() | st.integers(2, 3),
    end_forced=st.none() | st.just(True),
)
SPECIALS = st.sampled_from([SPECIAL, BLANK])


@given(LANGUAGES, SOURCES, CONFIGS, SPECIALS, st.integers(1, 5))
def test_a_search_finds_what_the_plain_one_finds(
    language: Language, sources: list[list[int]], config: DecodeConfig, special: SpecialIds, n_best: int
) -> None:
    """It once stopped when as many had ended as the beam is wide, though one that went on was far better."""
    found = search(FakeState(language), sources, config, special, n_best=n_best)
    expected = [beam_search(language, tuple(source), config, special)[:n_best] for source in sources]
    assert [[h.tokens for h in hypotheses] for hypotheses in found] == [[h.tokens for h in x] for x in expected]
    assert found == expected


@given(LANGUAGES, SOURCES, CONFIGS)
def test_a_batch_is_decoded_as_one_by_one(language: Language, sources: list[list[int]], config: DecodeConfig) -> None:
    state = FakeState(language)
    alone = [search(state, [source], config, BLANK)[0] for source in sources]
    assert search(state, sources, config, BLANK) == alone


@given(LANGUAGES, SOURCES, CONFIGS, st.sampled_from([0.5, 2.0, 100.0]))
def test_a_batch_is_decoded_as_one_by_one_with_adaptive_beams(
    language: Language, sources: list[list[int]], config: DecodeConfig, threshold: float
) -> None:
    config = dataclasses.replace(config, beam_threshold=threshold)
    alone = [search(FakeState(language), [source], config, BLANK)[0] for source in sources]
    assert search(FakeState(language), sources, config, BLANK) == alone


@given(LANGUAGES, SOURCES, CONFIGS, SPECIALS)
def test_without_a_threshold_nothing_is_dropped(
    language: Language, sources: list[list[int]], config: DecodeConfig, special: SpecialIds
) -> None:
    off = dataclasses.replace(config, beam_threshold=np.inf)
    assert search(FakeState(language), sources, off, special) == search(FakeState(language), sources, config, special)


@given(LANGUAGES, SOURCES, CONFIGS, st.sampled_from([0.5, 2.0]))
def test_adaptive_beams_compute_fewer_hypotheses_and_tell_true_log_probabilities(
    language: Language, sources: list[list[int]], config: DecodeConfig, threshold: float
) -> None:
    config = dataclasses.replace(config, repetition_penalty=None)
    plain, adaptive = FakeState(language), FakeState(language)
    search(plain, sources, config, SPECIAL)
    found = search(adaptive, sources, dataclasses.replace(config, beam_threshold=threshold), SPECIAL)
    assert sum(adaptive.n_live) <= sum(plain.n_live)
    for source, (best, *_) in zip(sources, found, strict=True):
        ended = len(best.tokens) < room(config)
        whole = (*best.tokens, *[SPECIAL.eos_id] * ended)
        assert best.log_prob == pytest.approx(language.forced(tuple(source), whole), rel=1e-4, abs=1e-5)


def test_hypotheses_far_behind_the_best_are_dropped() -> None:
    """With a threshold near 0 one hypothesis of each sentence is alive: the search is greedy until one has ended."""
    language, state = Language(seed=3, vocab_size=9, end=-2.0), FakeState(Language(seed=3, vocab_size=9, end=-2.0))
    config = DecodeConfig(max_length=8)
    ((found,),) = search(state, [[5, 3]], dataclasses.replace(config, beam_threshold=1e-6), SPECIAL)
    assert set(state.n_live) == {1}
    ((greedy_one,),) = search(FakeState(language), [[5, 3]], dataclasses.replace(config, beam_size=1), SPECIAL)
    assert found.score >= greedy_one.score


@given(LANGUAGES, SOURCES, CONFIGS, st.lists(st.floats(-12, 0), min_size=6, max_size=6))
def test_a_search_with_a_floor_finds_the_same_where_that_is_above_it(
    language: Language, sources: list[list[int]], config: DecodeConfig, floors: list[float]
) -> None:
    floors = floors[: len(sources)]
    plain, bounded = FakeState(language), FakeState(language)
    expected = search(plain, sources, config, SPECIAL)
    found = search(bounded, sources, config, SPECIAL, floors=floors)
    assert sum(bounded.n_live) <= sum(plain.n_live)
    for (best,), above, floor in zip(expected, found, floors, strict=True):
        if best.log_prob >= np.float32(floor):
            assert above == [best]
        assert all(each.log_prob >= np.float32(floor) for each in above)


@example(
    Language(seed=547, vocab_size=6, end=-3.0, unknown=0.0),
    [[5, 5, 4, 4, 3]],
    DecodeConfig(max_length=3, end_forced=True),
    SpecialIds(bos_id=2, eos_id=3, suppressed=(0, 1, 2)),
)
@given(LANGUAGES, SOURCES, CONFIGS, SPECIALS)
def test_one_beam_is_greedy(
    language: Language, sources: list[list[int]], config: DecodeConfig, special: SpecialIds
) -> None:
    config = dataclasses.replace(config, beam_size=1)
    found = search(FakeState(language), sources, config, special)
    expected = [list(greedy(language, tuple(source), config, special)) for source in sources]
    assert [[h.tokens for h in hypotheses] for hypotheses in found] == [[tokens] for tokens in expected]


@example(
    Language(seed=4294967296, vocab_size=12, end=2.0, unknown=5.0),
    [[9, 6, 6, 8, 3]],
    DecodeConfig(beam_size=2, length_penalty=2.0, max_length=5, end_forced=True),
)
@given(LANGUAGES, SOURCES, CONFIGS)
def test_no_result_scores_below_greedy_s_where_that_was_in_the_beam(
    language: Language, sources: list[list[int]], config: DecodeConfig
) -> None:
    limit = room(config)
    for source in sources:
        ((one,),) = search(FakeState(language), [source], dataclasses.replace(config, beam_size=1), BLANK)
        ((best, *_),) = search(FakeState(language), [source], config, BLANK)
        alive: list[Alive] = [((), np.float32(0))]
        whole, top = (*one.tokens, BLANK.eos_id)[:limit], list[Tokens]()
        for length in range(1, len(whole) + 1):
            longer = [
                (tokens, log_prob + of_token)
                for before, log_prob in alive
                for tokens, of_token in following(language, tuple(source), before, config, BLANK)
            ]
            longer.sort(key=lambda item: -item[1])
            top = [tokens for tokens, _ in longer[: config.beam_size]]
            alive = [each for each in longer if each[0][-1] != BLANK.eos_id][: config.beam_size]
            if whole[:length] not in [*top, *(tokens for tokens, _ in alive)]:
                break  # greedy's was pruned
        else:
            if whole[-1] != BLANK.eos_id or whole in top:
                assert best.score >= one.score - 1e-5


@given(LANGUAGES, SOURCES, CONFIGS)
def test_a_log_probability_is_that_of_the_tokens_and_the_end(
    language: Language, sources: list[list[int]], config: DecodeConfig
) -> None:
    config = dataclasses.replace(config, repetition_penalty=None)
    found = search(FakeState(language), sources, config, SPECIAL, n_best=config.beam_size)
    for source, hypotheses in zip(sources, found, strict=True):
        assert 1 <= len(hypotheses) <= config.beam_size
        assert hypotheses == sorted(hypotheses, key=lambda hypothesis: -hypothesis.score)
        for hypothesis in hypotheses:
            whole = tuple(hypothesis.tokens)
            at_limit = len(whole) == room(config)
            if not at_limit:  # else it counts as it stood there
                whole = (*whole, SPECIAL.eos_id)
            log_prob = language.forced(tuple(source), whole)
            assert hypothesis.log_prob == pytest.approx(log_prob, rel=1e-5, abs=1e-5)
            length = len(whole) + (at_limit and bool(config.end_forced))
            penalty = ((5 + length) / 6) ** config.length_penalty
            assert hypothesis.score == pytest.approx(log_prob / penalty, rel=1e-5, abs=1e-5)


@given(LANGUAGES, SOURCES, CONFIGS)
def test_no_special_token_but_those_of_the_text_is_put_out(
    language: Language, sources: list[list[int]], config: DecodeConfig
) -> None:
    for hypotheses in search(FakeState(language), sources, config, SPECIAL, n_best=config.beam_size):
        for hypothesis in hypotheses:
            assert not {*SPECIAL.suppressed, SPECIAL.eos_id} & set(hypothesis.tokens)
        assert len({tuple(hypothesis.tokens) for hypothesis in hypotheses}) == len(hypotheses)


@given(LANGUAGES, SOURCES, CONFIGS)
def test_no_output_is_blank(language: Language, sources: list[list[int]], config: DecodeConfig) -> None:
    """Lists of the best once had an empty translation of a full line."""
    assume(room(config) > 1)  # a single token may be blank
    language = dataclasses.replace(language, end=4.0)
    for hypotheses in search(FakeState(language), sources, config, BLANK, n_best=config.beam_size):
        for hypothesis in hypotheses:
            at_limit = len(hypothesis.tokens) == room(config)
            assert at_limit or any(token != 4 for token in hypothesis.tokens)


@given(LANGUAGES, SOURCES, CONFIGS, st.integers(1, 3))
def test_no_n_gram_comes_twice(language: Language, sources: list[list[int]], config: DecodeConfig, n: int) -> None:
    assume(language.vocab_size > 4 + (config.max_length or 0))
    config = dataclasses.replace(config, no_repeat_ngram=n)
    for hypotheses in search(FakeState(language), sources, config, SPECIAL, n_best=config.beam_size):
        for tokens in (hypothesis.tokens for hypothesis in hypotheses):
            n_grams = [tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1)]
            assert len(set(n_grams)) == len(n_grams)


@given(LANGUAGES, st.integers(1, 3))
def test_a_beam_as_wide_as_the_language_finds_the_best(language: Language, limit: int) -> None:
    """Where nothing can be pruned, the search is exhaustive."""
    assume(language.vocab_size <= 8)
    source, words = (5, 3), range(4, language.vocab_size)
    outputs: list[Tokens] = [()]
    whole: list[Tokens] = []
    for _ in range(limit):
        whole += [(*tokens, SPECIAL.eos_id) for tokens in outputs]
        outputs = [(*tokens, word) for tokens in outputs for word in words]
    best = max([*whole, *outputs], key=lambda tokens: language.forced(source, tokens))
    config = DecodeConfig(beam_size=len(whole) + len(outputs), length_penalty=0.0, max_length=limit)
    (found,) = search(FakeState(language), [list(source)], config, SPECIAL)
    assert found[0].log_prob == pytest.approx(language.forced(source, best), rel=1e-5)
    assert found[0].tokens == [token for token in best if token != SPECIAL.eos_id]


def test_without_a_limit_an_output_has_50_tokens_more_than_its_source() -> None:
    endless = Language(seed=1, vocab_size=6, end=-100.0)
    config = DecodeConfig(beam_size=2)
    found = search(FakeState(endless), [[5, 3], [5, 6, 7, 3]], config, SPECIAL, n_best=2)
    assert [[len(h.tokens) for h in hypotheses] for hypotheses in found] == [[51, 51], [53, 53]]


def test_a_longer_output_may_win_by_the_penalty() -> None:
    language = Language(seed=3, vocab_size=7, end=1.0)
    lengths = []
    for alpha in (0.0, 5.0):
        config = DecodeConfig(length_penalty=alpha, max_length=9)
        ((best, *_),) = search(FakeState(language), [[5, 3]], config, SPECIAL)
        lengths.append(len(best.tokens))
    assert lengths[0] < lengths[1]


def test_an_impossible_search_is_refused_by_name() -> None:
    with pytest.raises(ModelError) as caught:
        DecodeConfig(beam_size=0, length_penalty=float("nan"), max_length=0)
    for part in ("beam_size must be at least 1, not 0", "length_penalty must be ", "max_length must be at least 1"):
        assert part in str(caught.value)
    with pytest.raises(ModelError, match="length_penalty"):
        DecodeConfig(length_penalty=-0.1)


@given(st.lists(st.booleans(), min_size=1, max_size=9))
def test_who_goes_on_takes_the_places_of_the_done(done: list[bool]) -> None:
    rows = going_on(np.array(done)).tolist()
    alive = [row for row, is_done in enumerate(done) if not is_done]
    assert sorted(rows) == alive
    assert [row for place, row in enumerate(rows) if row == place] == [row for row in alive if row < len(alive)]


def test_slots_are_used_again() -> None:
    """Of 30 steps of 4 hypotheses far fewer tokens are still seen than the 120 that were read."""
    language = Language(seed=1, vocab_size=9, end=-100.0)
    state = FakeState(language)
    search(state, [[5, 3]], DecodeConfig(max_length=30), SPECIAL)
    assert 30 <= state.most_slots <= 70


def test_the_length_penalty_is_1_at_length_1_and_without_alpha() -> None:
    assert length_penalty(1, 0.6) == 1
    assert length_penalty(9, 0.0) == 1
    assert length_penalty(7, 0.5) == pytest.approx(2**0.5)


V = 11


@pytest.fixture
def network(describe: Callable[..., NetworkSpec]) -> Transformer:
    return Transformer(describe(vocab_size=V)).eval()


TORCH_SOURCES = [[5, 6, 7, 8, 3], [9, 3], [4, 4, 10, 3], [8, 3], [6, 5, 4, 6, 5, 4, 3], [3]]


@pytest.mark.parametrize("beam_size", [1, 4, V + 2])
def test_pytorch_s_log_probability_is_that_of_the_full_forward_pass(network: Transformer, beam_size: int) -> None:
    """With more beams than the vocabulary has tokens, too."""
    config = DecodeConfig(beam_size=beam_size, max_length=8)
    found = search(TorchNetwork(network).state(), TORCH_SOURCES, config, SPECIAL)
    for source, hypotheses in zip(TORCH_SOURCES, found, strict=True):
        src = torch.tensor([source])
        for hypothesis in hypotheses:
            whole = hypothesis.tokens + [SPECIAL.eos_id] * (len(hypothesis.tokens) < 8)
            tgt = torch.tensor([[SPECIAL.bos_id, *whole[:-1]]])
            log_probs = network(src, padding_mask(src, 0), tgt).log_softmax(-1)
            forced = log_probs[0].gather(1, torch.tensor(whole)[:, None]).sum().item()
            assert hypothesis.log_prob == pytest.approx(forced, rel=1e-5)


@pytest.mark.parametrize("beam_size", [1, 4])
def test_pytorch_decodes_a_batch_as_one_by_one(network: Transformer, beam_size: int) -> None:
    """One sentence, one beam: the mask was once an array that PyTorch may not write to, and warned of."""
    config = DecodeConfig(beam_size=beam_size)
    together = search(TorchNetwork(network).state(), TORCH_SOURCES, config, SPECIAL)
    assert len({len(hypotheses[0].tokens) for hypotheses in together}) > 2  # they leave the batch one after another
    for source, hypotheses in zip(TORCH_SOURCES, together, strict=True):
        (alone,) = search(TorchNetwork(network).state(), [source], config, SPECIAL)
        assert [h.tokens for h in hypotheses] == [h.tokens for h in alone]
        assert [h.log_prob for h in hypotheses] == pytest.approx([h.log_prob for h in alone], rel=1e-5)


def test_a_network_that_computes_no_numbers_is_told() -> None:
    class Broken(FakeState):
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
            log_probs, ids = super().step(tokens, position, slots, mask, top, wanted, live)
            return np.full_like(log_probs, np.nan), ids

    with pytest.raises(ModelError, match="computed NaN or infinity"):
        search(Broken(Language(seed=1, vocab_size=6)), [[5, 3]], DecodeConfig(beam_size=1, max_length=2), SPECIAL)
