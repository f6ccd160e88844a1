"""What a language model is to those who generate text with it or score text by it."""

from typing import Protocol

from heed.models.arrays import BoolArray, FloatArray, IntArray


class State(Protocol):
    """Room to decode a batch of sources at a time, one in each of B rows.

    The keys and values of a row's tokens stand in C slots, in any order: what a token sees is said by a mask, and a
    slot that no hypothesis sees any more is used again. So from step to step no key or value moves.
    """

    def read(self, src: IntArray, src_mask: BoolArray) -> None:
        """Begin with new sources.

        Args:
            src: Token ids, (B, S).
            src_mask: True where they are no padding, (B, S).
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
    ) -> tuple[FloatArray, IntArray]:
        """Read one more token of each hypothesis and predict the next.

        Args:
            tokens: (B, W).
            position: Where in the output they stand.
            slots: Where their keys and values are put, (B, W).
            mask: Which slots each one sees, its own among them, (B, W, C); C may grow from step to step.
            top: How many candidates to return; all there are, where they are fewer.
            wanted: Tokens to return as candidates too, (B, W, N); not with a shortlist, which may not have them.

        Returns:
            The log-probabilities of the best candidates, (B, W, top), best first, and their token ids; those of the
            wanted ones after them, (B, W, top + N).
        """
        ...

    def keep(self, rows: IntArray) -> None:
        """Go on with these rows alone, in this order."""
        ...


class Network(Protocol):
    """What decodes: a network in PyTorch or in ONNX Runtime."""

    def state(self) -> State:
        """Room to decode in, for one thread at a time and batch after batch."""
        ...


class TextState(State, Protocol):
    """Room to go on with a batch of prompts at a time, one in each of B rows; the search takes it as it is.

    `read` keeps the keys and values of all of each prompt but its last token.

    - The first step reads the last token of each prompt. `position` counts steps from 0: the state adds the place of
      the last token of each prompt. A row whose texts have ended may stay for some steps beyond the context: its
      position is then the last there is, and what is predicted for it counts no more.
    - `slots` and `mask` speak of the tokens read in steps alone: the state keeps a prompt's own keys and values
      apart, and shows them to all W tokens of its row.
    """

    def read(self, src: IntArray, src_mask: BoolArray, *, alone: bool = False) -> None:
        """Begin with new prompts.

        Args:
            src: Token ids from the beginning token on, each row at least that one, (B, S); what fills the shorter ones
                stands at their ends.
            src_mask: True where they are no filling, (B, S).
            alone: Whether each row will have one text throughout, and be gone on with by `predict` without slots.
        """
        ...

    def predict(self, tokens: IntArray, position: int, slots: IntArray | None, mask: BoolArray) -> FloatArray:
        """Read one more token of each sample and predict the next, among all.

        Args:
            tokens: (B, W); W may differ from step to step.
            position: How many steps were taken since `read`.
            slots: Where their keys and values are put, (B, W). None: the prompts were read `alone`, and tokens see all
                that came before, whatever the mask.
            mask: Which slots each one sees, its own among them, (B, W, C); C may grow from step to step.

        Returns:
            The log-probabilities of every token of the vocabulary, (B, W, V), until the next call; the caller may
            write to them.
        """
        ...

    def score(self, ids: IntArray, targets: IntArray) -> FloatArray:
        """The log-probabilities of given tokens, each after those before it; needs no `read`, and ends what was read.

        Args:
            ids: Rows of token ids from the beginning token on, (B, T), T at most the context. Each token sees itself
                and those before it, so what fills a shorter row at its end changes nothing that counts.
            targets: The tokens that follow each of them, (B, T); any where nothing does.

        Returns:
            The log-probability of each target, (B, T).
        """
        ...


class TextNetwork(Protocol):
    """A language model, in PyTorch or in ONNX Runtime."""

    @property
    def context(self) -> int:
        """Tokens that it can see at a time, the beginning included: positions run from 0 to this less 1."""
        ...

    @property
    def vocab_size(self) -> int:
        """Tokens that it predicts (V)."""
        ...

    def state(self) -> TextState:
        """Room to generate or to score in, for one thread at a time and batch after batch."""
        ...
