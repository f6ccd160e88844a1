"""What a network is to those who decode with it or score by it: in PyTorch or in ONNX Runtime, of every form."""

from typing import Protocol

from heed.models.arrays import BoolArray, FloatArray, IntArray
from heed.models.spec.network import NetworkSpec


class Steps(Protocol):
    """Room to search in a batch at a time, for one source, one prompt or both in each of B rows.

    A batch begins with `encode`, where the network has an encoder, and `prefill`; then `step` reads one more token of
    each of W outputs a row.

    The keys and values of a row's tokens stand in C slots, in any order: what a token sees is said by a mask, and a
    slot that no output sees any more is used again. So from step to step no key or value moves. Slots and masks speak
    of the tokens read in steps alone: the state keeps those of the prompts apart, and shows them to all W outputs.
    """

    def encode(self, src: IntArray, src_mask: BoolArray) -> None:
        """Read sources, for a network with an encoder.

        Args:
            src: Token ids, (B, S); the shorter rows are padded at their ends.
            src_mask: True where they are no padding, (B, S).
        """
        ...

    def prefill(self, prompts: IntArray, prompt_mask: BoolArray, *, alone: bool = False) -> None:
        """Begin outputs: keep the keys and values of all of each prompt but its last token, which the first step reads.

        Args:
            prompts: Token ids from the beginning token on, at least that one, (B, P); padded at their ends.
            prompt_mask: True where they are no padding, (B, P).
            alone: Whether each row will have one output throughout, and be read by `log_probs` without slots.
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
            position: How many steps were taken since `prefill`. A row whose outputs have ended may stay for some steps
                beyond the positions that the network knows: its position is then the last there is, and what is
                predicted for it counts no more.
            slots: Where their keys and values are put, (B, W).
            mask: Which slots each one sees, its own among them, (B, W, C); C may grow from step to step.
            top: How many candidates to return; all there are, where they are fewer.
            wanted: Tokens to return as candidates too, (B, W, N); not with a shortlist, which may not have them.
            live: Which outputs count, (B, W); what is returned for others is of no account, and they need not be
                computed. None: all.

        Returns:
            The log-probabilities of the best candidates, (B, W, top), best first, and their token ids; those of the
            wanted ones after them, (B, W, top + N).
        """
        ...

    def keep(self, rows: IntArray) -> None:
        """Continue with these rows alone, in this order."""
        ...


class State(Steps, Protocol):
    """Room to decode by beam search or to draw samples, and to score.

    `log_probs` is `step` among all tokens; `score` and `forced` need no `prefill`, and end what was begun.
    """

    def log_probs(self, tokens: IntArray, position: int, slots: IntArray | None, mask: BoolArray) -> FloatArray:
        """Read one more token of each output and predict the next, among all tokens.

        Args:
            tokens: See `step`.
            position: See `step`.
            slots: See `step`. None: the prompts were read `alone`, and tokens see all that came before, whatever the
                mask.
            mask: See `step`.

        Returns:
            The log-probabilities of every token of the vocabulary, (B, W, V), until the next call; the caller may
            write to them.
        """
        ...

    def forced(self, tgt: IntArray, src_mask: BoolArray | None = None) -> FloatArray:
        """The log-probabilities of all tokens after each position of given outputs.

        Args:
            tgt: Token ids from the beginning token on, (B, T). Each sees itself and those before it, so what fills a
                shorter row at its end changes nothing that counts.
            src_mask: What the decoder sees of the sources, (B, S), each of which was read whole; None: all.

        Returns:
            Log-probabilities, (B, T, V).
        """
        ...

    def score(self, tgt: IntArray, targets: IntArray, src_mask: BoolArray | None = None) -> FloatArray:
        """The log-probability of given tokens, each after those before it, in bounded memory.

        Args:
            tgt: See `forced`.
            targets: The tokens that follow each of them, (B, T); any where nothing does.
            src_mask: See `forced`.

        Returns:
            The log-probability of each target, (B, T).
        """
        ...


class Network(Protocol):
    """A network, in PyTorch or in ONNX Runtime."""

    @property
    def spec(self) -> NetworkSpec:
        """Its description."""
        ...

    @property
    def context(self) -> int | None:
        """Tokens of an output, its beginning included, that the network can read; None: any number."""
        ...

    def state(self) -> State:
        """Room to decode or score in, for one thread at a time and batch after batch."""
        ...
