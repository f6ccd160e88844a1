"""The protocol of networks for decoding and scoring, implemented with PyTorch and with ONNX Runtime."""

from typing import Protocol

from heed.models.arrays import BoolArray, FloatArray, IntArray
from heed.models.spec.network import NetworkSpec

Padded = tuple[IntArray, BoolArray]  # rows of token ids, and which of them are real, (B, N)


class SearchState(Protocol):
    """Room to search in a batch at a time, for one source, one prompt or both in each of B rows.

    A batch begins with `encode`, where the network has an encoder, and `prefill`; then `step` reads one more token of
    each of W outputs a row.

    The keys and values of a row are in C slots, in any order. A mask says which slots a token attends to, and a slot
    that no output needs is reused, so keys and values never move between steps. Slots and masks refer only to tokens
    read in steps; the state stores those of prompts separately, and all W outputs attend to them.
    """

    def encode(self, src: IntArray, src_mask: BoolArray, needed: Padded | None = None) -> None:
        """Read sources, for a network with an encoder.

        Args:
            src: Token ids, (B, S), right-padded.
            src_mask: True at real tokens, (B, S).
            needed: Tokens that a shortlist of each source must have, if it can: it has copies of what is in a source
                where both languages share a vocabulary. Token ids and mask, (B, N).
        """
        ...

    def prefill(self, prompts: IntArray, prompt_mask: BoolArray, *, alone: bool = False) -> None:
        """Read prompts except their last tokens, which the first step reads.

        Args:
            prompts: Token ids, starting with the beginning token, (B, P), right-padded.
            prompt_mask: True at real tokens, (B, P).
            alone: Whether each row will have only one output, read by `log_probs` without slots.
        """
        ...

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
        """Read one more token of each output and predict the next.

        Args:
            tokens: (B, W); W may differ from step to step.
            position: Number of steps since `prefill`. A row with ended outputs may stay beyond the network's positions;
                its position is then clamped, and its predictions do not count.
            slots: Slots for their keys and values, (B, W).
            mask: Slots that each token attends to, including its own, (B, W, C); C may grow from step to step.
            top: Number of candidates to return, at most the vocabulary.
            wanted: Additional candidate tokens, (B, W, N); what a shortlist lacks has the log-probability -inf.
            live: Which outputs count, (B, W); what is returned for others is of no account, and they need not be
                computed. None: all.

        Returns:
            The log-probabilities of the best candidates, (B, W, top), best first, and their token ids; with `wanted`,
            those follow, (B, W, top + N).
        """
        ...

    def keep(self, rows: IntArray) -> None:
        """Keep only these rows, in this order."""
        ...


class State(SearchState, Protocol):
    """Room to decode by beam search or to draw samples, and to score.

    `log_probs` is `step` among all tokens; `score` and `forced` need no `prefill`, and end what was begun.
    """

    def log_probs(self, tokens: IntArray, position: int, slots: IntArray | None, mask: BoolArray) -> FloatArray:
        """Read one more token of each output, or several of a lone one, and return the distribution of the next.

        Args:
            tokens: See `step`.
            position: See `step`; of several tokens of an output, that of the first.
            slots: See `step`. None: the prompts were read `alone`, and tokens attend to everything before them,
                regardless of the mask. A lone row may then have several tokens that follow each other; what a later
                call reads at their positions takes their place, so drafts may be read.
            mask: See `step`.

        Returns:
            The log-probabilities of the whole vocabulary after each token, (B, W, V), valid until the next call; the
            caller may overwrite them.
        """
        ...

    def forced(self, tgt: IntArray, src_mask: BoolArray | None = None) -> FloatArray:
        """Teacher forcing: the log-probabilities of all tokens after each position of given outputs.

        Args:
            tgt: Token ids, starting with the beginning token, (B, T), right-padded; attention is causal, so padding
                does not affect the rest.
            src_mask: True at source tokens that the decoder attends to, (B, S); the encoder read all. None: all.

        Returns:
            Log-probabilities, (B, T, V).
        """
        ...

    def score(self, tgt: IntArray, targets: IntArray, src_mask: BoolArray | None = None) -> FloatArray:
        """Teacher forcing: the log-probability of given next tokens, in bounded memory.

        Args:
            tgt: See `forced`.
            targets: The token after each of them, (B, T); any token where none follows.
            src_mask: See `forced`.

        Returns:
            The log-probability of each target, (B, T).
        """
        ...


class Network(Protocol):
    """A network in PyTorch or ONNX Runtime."""

    @property
    def spec(self) -> NetworkSpec:
        """Its description."""
        ...

    @property
    def context(self) -> int | None:
        """Maximum number of tokens of an output, including the beginning token; None: no limit."""
        ...

    def state(self) -> State:
        """A new state, reusable for batch after batch, for one thread at a time."""
        ...


class Encoder(Protocol):
    """An encoder alone, in PyTorch or ONNX Runtime."""

    @property
    def spec(self) -> NetworkSpec:
        """Its description."""
        ...

    def encode(self, src: IntArray, src_mask: BoolArray) -> FloatArray:
        """The states of token ids, (B, S), right-padded, with a mask that is True at real tokens: (B, S, D)."""
        ...

    def log_probs(self, states: FloatArray) -> FloatArray:
        """What some states, (N, D), predict of their own tokens: log-probabilities, (N, V)."""
        ...
