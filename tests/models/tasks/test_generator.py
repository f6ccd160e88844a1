import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from heed.models.arrays import BoolArray, FloatArray, IntArray
from heed.models.decoding.config import DecodeConfig
from heed.models.decoding.drafts import Drafts
from heed.models.decoding.sampling import SampleConfig
from heed.models.errors import DataError, ModelError
from heed.models.spec.network import NetworkSpec
from heed.models.spec.stack import StackSpec
from heed.models.tasks.generator import Generation, Generator
from heed.models.tokenizers.lossless import TextTokenizer
from heed.transformer.decoding import TorchNetwork
from heed.transformer.model import Transformer

if TYPE_CHECKING:
    from heed.models.runtime.protocol import Network

V, CONTEXT = 290, 24
PROMPTS = ["the cat", "", "a", "the dog ate the hat", "at at", "é"]


@dataclass
class FakeState:
    """Says what it is told to say: the tokens of a text, one after another, and the end."""

    tokenizer: TextTokenizer
    says: str
    most_rows: int = 0
    n_calls: int = 0

    def prefill(self, prompts: IntArray, prompt_mask: BoolArray, *, alone: bool = False) -> None:
        assert (prompts[:, 0] == self.tokenizer.bos_id).all()
        self.n_rows, self.most_rows = len(prompts), max(self.most_rows, len(prompts))

    def log_probs(self, tokens: IntArray, position: int, slots: IntArray | None, mask: BoolArray) -> FloatArray:
        assert len(tokens) == self.n_rows
        every = [*self.tokenizer.encode(self.says), self.tokenizer.eos_id]
        found = np.full((*tokens.shape, len(self.tokenizer)), -1000.0, dtype=np.float32)
        steps = np.arange(position, position + tokens.shape[1]).clip(max=len(every) - 1)
        found[:, np.arange(tokens.shape[1]), np.take(every, steps)] = -0.5
        self.n_calls += 1
        return found

    def keep(self, rows: IntArray) -> None:
        self.n_rows = len(rows)


@dataclass
class FakeNetwork:
    fake: FakeState
    context: int = 1000

    @property
    def spec(self) -> NetworkSpec:
        return NetworkSpec(encoder=None, decoder=StackSpec(vocab_size=V), shared_embedding=False)

    def state(self) -> FakeState:
        return self.fake


def parrot(verbatim: TextTokenizer, says: str, context: int = 1000) -> Generator:
    network = FakeNetwork(FakeState(verbatim, says), context)
    return Generator(cast("Network", network), verbatim)


@pytest.fixture(scope="module")
def network(draw_language_model: Callable[..., Transformer]) -> Transformer:
    return draw_language_model(vocab_size=V, context=CONTEXT)


@pytest.fixture(scope="module")
def generator(network: Transformer, verbatim: TextTokenizer) -> Generator:
    return Generator(TorchNetwork(network), verbatim)


@torch.inference_mode()
def forced(network: Transformer, prompt: list[int], tokens: list[int]) -> FloatArray:
    """The log-probabilities of all that may follow, at each token after a prompt, (T, V): one pass, alone."""
    ids = torch.tensor([[*prompt, *tokens[:-1]]])
    logits = network(tgt=ids)
    found: FloatArray = logits[0, len(prompt) - 1 :].log_softmax(-1).numpy()
    return found


def whole(generation: Generation, verbatim: TextTokenizer) -> list[int]:
    return generation.tokens + [verbatim.eos_id] * (generation.ended == "end")


# What it says


def test_a_text_is_what_the_network_says_up_to_its_end(verbatim: TextTokenizer) -> None:
    text = "the cat\nsat é \U0001f600\u2581."
    ((found,),) = parrot(verbatim, text).generate(["on"], SampleConfig(seed=1))
    assert found == Generation(text, verbatim.encode(text), -0.5 * (len(verbatim.encode(text)) + 1), "end")


@settings(max_examples=50)
@given(st.text(max_size=20), st.lists(st.text("ab é", min_size=1, max_size=3), max_size=2))
def test_pieces_of_a_stream_are_the_text_at_once(verbatim: TextTokenizer, text: str, stop: list[str]) -> None:
    config = SampleConfig(temperature=0, stop=tuple(stop))
    ((found,),) = parrot(verbatim, text).generate([""], config)
    assert "".join(parrot(verbatim, text).stream("", config)) == found.text
    assert not any(each in found.text for each in stop)
    assert found.ended == ("stop" if any(each in text for each in stop) else "end")
    if not stop:
        assert found.text == text


def test_a_stop_string_ends_a_sample_and_costs_no_more_tokens(verbatim: TextTokenizer) -> None:
    ((found,),) = parrot(verbatim, "the cat sat on the mat").generate([""], SampleConfig(stop=("t s",), temperature=0))
    assert (found.text, found.ended) == ("the ca", "stop")
    assert verbatim.decode(found.tokens).startswith("the cat s")
    assert not verbatim.decode(found.tokens[:-1]).startswith("the cat s")
    assert found.log_prob == -0.5 * len(found.tokens)


def test_a_limit_ends_a_sample(verbatim: TextTokenizer) -> None:
    ids = verbatim.encode("the cat sat")
    for limit in range(1, len(ids) + 2):
        config = SampleConfig(max_tokens=limit, temperature=0)
        ((found,),) = parrot(verbatim, "the cat sat").generate([""], config)
        assert found.tokens == ids[:limit]
        assert found.ended == ("length" if limit <= len(ids) else "end")


def test_a_full_context_ends_a_sample(verbatim: TextTokenizer) -> None:
    """It reads the beginning, the prompt and all of the sample but its last token."""
    says = "the cat sat on the mat and ate"
    n_prompt = len(verbatim.encode("a dog"))
    for room in range(1, 6):
        fake = parrot(verbatim, says, context=n_prompt + room)
        for limit in (None, 5):
            ((found,),) = fake.generate(["a dog"], SampleConfig(temperature=0, max_tokens=limit))
            assert len(found.tokens) == room
            assert found.ended == ("length" if room == limit else "context")


@pytest.mark.parametrize("text", ["the cat sat on the mat", "\U0001f600" * 8])
def test_a_prompt_longer_than_the_context_says_both_lengths(verbatim: TextTokenizer, text: str) -> None:
    n_tokens = len(verbatim.encode(text)) + 1
    assert parrot(verbatim, "", context=n_tokens).encode(text)[1:] == verbatim.encode(text)
    generator = parrot(verbatim, "", context=n_tokens - 1)
    for refused in (
        lambda: generator.generate([text]),
        lambda: generator.search([text]),
        lambda: list(generator.stream(text)),
    ):
        with pytest.raises(DataError) as caught:
            refused()
        assert f"the prompt has {n_tokens} tokens" in str(caught.value)
        assert f"context is {n_tokens - 1};" in str(caught.value)
        assert "--truncate" in str(caught.value)


@given(st.integers(0, 30), st.integers(1, 20), st.none() | st.integers(1, 30))
def test_a_prompt_is_cut_from_the_left(
    verbatim: TextTokenizer, length: int, context: int, max_tokens: int | None
) -> None:
    ids = verbatim.encode("ab" * 30)[:length]
    text = verbatim.decode(ids)
    ids = verbatim.encode(text)
    found = parrot(verbatim, "", context=context).encode(text, max_tokens=max_tokens, truncate=True)
    assert found[0] == verbatim.bos_id
    assert found[1:] == ids[len(ids) - len(found) + 1 :]  # its end
    room = context + 1 - len(found)
    wanted = min(max_tokens or context, max(1, context // 2))
    assert room >= wanted
    assert room == wanted or found[1:] == ids  # no more than must be


def test_what_repeats_itself_is_read_in_fewer_passes(verbatim: TextTokenizer) -> None:
    prompt = "the cat sat on the mat and ate the hat"
    for says, fewer in ((prompt, True), ("a dog", False)):
        fake = FakeState(verbatim, says)
        ((found,),) = Generator(cast("Network", FakeNetwork(fake)), verbatim).generate([prompt], SampleConfig())
        n_tokens = len(found.tokens) + 1  # and the end
        assert found.text == says
        assert fake.n_calls == n_tokens if not fewer else fake.n_calls < n_tokens / 3


@pytest.mark.parametrize("temperature", [0, 0.7])
def test_drafts_change_nothing(generator: Generator, temperature: float, monkeypatch: pytest.MonkeyPatch) -> None:
    prompts = ["abcabcabc", "the cat the cat", "at at at at at a"]
    config = SampleConfig(seed=3, temperature=temperature, max_tokens=12)
    drafted = [generator.generate([prompt], config) for prompt in prompts]
    assert any(drafts_of(generator.encode(prompt)) for prompt in prompts)
    monkeypatch.setattr(Drafts, "next", lambda *_: [])
    assert [approx(generator.generate([prompt], config)) for prompt in prompts] == drafted


def drafts_of(tokens: list[int]) -> list[int]:
    return Drafts().next(tokens, 8)


# Samples


@pytest.mark.parametrize("temperature", [0, 1.0])
def test_a_batch_is_gone_on_with_as_one_by_one(generator: Generator, temperature: float) -> None:
    config = SampleConfig(seed=3, n=3, temperature=temperature, max_tokens=12)
    together = generator.generate(PROMPTS, config)
    assert len({len(sample.tokens) for row in together for sample in row}) > 1 or temperature == 0
    for batch_size in (1, 4):
        assert generator.generate(PROMPTS, config, batch_size=batch_size) == approx(together)
    for number, (prompt, expected) in enumerate(zip(PROMPTS, together, strict=True)):
        (alone,) = generator.generate([prompt], config, numbers=[number])
        assert [alone] == approx([expected])


def approx(rows: list[list[Generation]]) -> list[list[Generation]]:
    """Equal but for how log-probabilities are rounded."""

    class Near(Generation):
        def __eq__(self, other: object) -> bool:
            assert isinstance(other, Generation)
            same = (self.text, self.tokens, self.ended) == (other.text, other.tokens, other.ended)
            return same and math.isclose(self.log_prob, other.log_prob, rel_tol=1e-4, abs_tol=1e-4)

        __hash__ = None  # type: ignore[assignment]

    return [[Near(each.text, each.tokens, each.log_prob, each.ended) for each in row] for row in rows]


def test_the_same_seed_gives_the_same_text_and_another_another(generator: Generator) -> None:
    config = SampleConfig(seed=4, n=2, max_tokens=10)
    found = generator.generate(["the cat"], config)
    assert found == generator.generate(["the cat"], config)
    assert found[0][0] != found[0][1]
    assert found != generator.generate(["the cat"], SampleConfig(seed=5, n=2, max_tokens=10))
    assert generator.generate(["a"], SampleConfig()) != generator.generate(["a"], SampleConfig())


def test_the_first_sample_does_not_depend_on_how_many_there_are(generator: Generator) -> None:
    samples = [generator.generate(["the cat"], SampleConfig(seed=4, n=n, max_tokens=10))[0] for n in (1, 5)]
    assert [samples[0]] == approx([samples[1][:1]])


def test_a_stream_is_the_first_sample(generator: Generator) -> None:
    config = SampleConfig(seed=4, n=3, max_tokens=10)
    ((expected, *_),) = generator.generate(["the cat"], config)
    assert "".join(generator.stream("the cat", config)) == expected.text


def test_top_k_1_is_greedy(generator: Generator) -> None:
    greedy = generator.generate(PROMPTS, SampleConfig(temperature=0))
    assert generator.generate(PROMPTS, SampleConfig(top_k=1, seed=4, temperature=1.3)) == approx(greedy)
    found = generator.search(PROMPTS, DecodeConfig(beam_size=1))
    assert found == approx(greedy)


def test_greedy_is_the_likeliest_token_each_time(
    generator: Generator, network: Transformer, verbatim: TextTokenizer
) -> None:
    for prompt, (found,) in zip(PROMPTS, generator.generate(PROMPTS, SampleConfig(temperature=0)), strict=True):
        tokens = whole(found, verbatim)
        rows = forced(network, generator.encode(prompt), tokens)
        rows[:, [verbatim.pad_id, verbatim.bos_id, verbatim.pieces.unk_id]] = -np.inf
        assert rows.argmax(axis=1).tolist() == tokens


@pytest.mark.parametrize(
    "config",
    [
        SampleConfig(seed=1, n=4),
        SampleConfig(seed=1, n=2, temperature=0.7, top_k=9, top_p=0.9, min_p=0.01, repetition_penalty=1.3),
        SampleConfig(seed=1, temperature=0, no_repeat_ngram=2, max_tokens=5),
    ],
)
def test_a_log_probability_is_the_network_s_own(
    generator: Generator, network: Transformer, verbatim: TextTokenizer, config: SampleConfig
) -> None:
    """Not that of what the token was drawn by."""
    for prompt, row in zip(PROMPTS, generator.generate(PROMPTS, config), strict=True):
        for found in row:
            tokens = whole(found, verbatim)
            rows = forced(network, generator.encode(prompt), tokens)
            assert found.log_prob == pytest.approx(float(rows[np.arange(len(tokens)), tokens].sum()), rel=1e-4)


def test_special_tokens_are_no_text(generator: Generator, verbatim: TextTokenizer) -> None:
    special = {verbatim.pad_id, verbatim.bos_id, verbatim.eos_id, verbatim.pieces.unk_id}
    for row in generator.generate(PROMPTS, SampleConfig(seed=1, n=20, temperature=100)):
        assert not any(special & set(sample.tokens) for sample in row)


# Search


def test_a_search_finds_likelier_texts_than_greed(generator: Generator) -> None:
    greedy = generator.generate(PROMPTS, SampleConfig(temperature=0, max_tokens=6))
    wide = generator.search(PROMPTS, DecodeConfig(beam_size=20, length_penalty=0.0, max_length=6), n_best=3)
    for (plain,), found in zip(greedy, wide, strict=True):
        assert len(found) == 3
        assert [each.log_prob for each in found] == sorted((each.log_prob for each in found), reverse=True)
        assert found[0].log_prob >= plain.log_prob - 1e-4


def test_a_search_says_why_it_ended(generator: Generator) -> None:
    for limit in (3, None):
        config = DecodeConfig(beam_size=3, max_length=limit)
        for prompt, row in zip(PROMPTS, generator.search(PROMPTS, config, n_best=3), strict=True):
            room = CONTEXT + 1 - len(generator.encode(prompt))
            for found in row:
                full = len(found.tokens) == (room if limit is None else min(room, limit))
                assert found.ended == (("context" if limit is None else "length") if full else "end")


def test_more_hypotheses_than_places_are_refused(generator: Generator) -> None:
    with pytest.raises(ModelError, match=f"^beam_size must be at most the model's context, {CONTEXT}, not 25$"):
        generator.search(["a"], DecodeConfig(beam_size=CONTEXT + 1))
