"""The proof of a language model's export: ONNX Runtime against PyTorch, on real text."""

import math

import numpy as np

from heed.export.proof.parity import LOG_PROB_LIMIT, LOSS_LIMIT
from heed.models.bundle.manifest import TextParity
from heed.models.decoding.sampling import SampleConfig
from heed.models.errors import ModelError
from heed.models.runtime.protocol import TextNetwork
from heed.models.tasks.generator import Generator
from heed.models.tokenizers.lossless import TextTokenizer
from heed.transformer.data.documents import Document

TEXTS = 100
PROMPT, CONTINUATION = 16, 32  # tokens that a text begins with, and that both sides go on for
# Four bits round a weight to one of sixteen values: the loss of a token may grow by this many nats.
INT4_LOSS_LIMIT = 0.2


def compare(
    network: TextNetwork, exported: TextNetwork, tokenizer: TextTokenizer, documents: list[Document]
) -> TextParity:
    """Compare an exported network with the one it came from, on the first texts of some documents.

    A document longer than the context counts as several. Loss is that of what training predicts: no prompts.
    """
    pieces, given = first_texts(network.context, tokenizer, documents, TEXTS)
    states = network.state(), exported.state()
    difference, losses = 0.0, np.zeros(2)
    for piece, n_given in zip(pieces, given, strict=True):
        ids, targets = np.array([[tokenizer.bos_id, *piece[:-1]]]), np.array([piece])
        theirs, ours = (state.score(ids, targets)[0] for state in states)
        difference = float(np.maximum(difference, np.abs(ours - theirs).max()))  # keeps a NaN
        losses -= theirs[n_given:].sum(), ours[n_given:].sum()
    predicted = [piece[n_given:] for piece, n_given in zip(pieces, given, strict=True)]
    n_tokens = max(sum(map(len, predicted)), 1)
    n_bytes = sum(map(len, map(tokenizer.token_bytes, predicted)))
    return TextParity(
        texts=len(pieces),
        tokens=n_tokens,
        greedy_identical=_identical(network, exported, tokenizer, pieces),
        log_prob_difference=difference,
        loss_torch=losses[0] / n_tokens,
        loss_bundle=losses[1] / n_tokens,
        bits_per_byte=losses[1] / math.log(2) / max(n_bytes, 1),
    )


def first_texts(
    context: int, tokenizer: TextTokenizer, documents: list[Document], n: int
) -> tuple[list[list[int]], list[int]]:
    """The first n texts, each as long as the context at most, and how many tokens of each are a prompt's."""
    pieces: list[list[int]] = []
    given: list[int] = []
    for document in documents:
        prompt = tokenizer.encode(document.prompt)
        tokens = [*prompt, *tokenizer.encode(document.text), tokenizer.eos_id]
        for start in range(0, len(tokens), context):
            pieces.append(tokens[start : start + context])
            given.append(min(max(len(prompt) - start, 0), context))
        if len(pieces) >= n:
            break
    return pieces[:n], given[:n]


def _identical(network: TextNetwork, exported: TextNetwork, tokenizer: TextTokenizer, pieces: list[list[int]]) -> int:
    """How many texts both sides go on with by the same tokens."""
    length = min(PROMPT, network.context // 2)
    prompts = [tokenizer.decode(piece[: length - 1]) for piece in pieces]
    config = SampleConfig(temperature=0, max_tokens=CONTINUATION)
    theirs, ours = (Generator(side, tokenizer).generate(prompts, config, truncate=True) for side in (network, exported))
    return sum(a.tokens == b.tokens for (a,), (b,) in zip(theirs, ours, strict=True))


def require(parity: TextParity, precision: str) -> None:
    """Refuse an export that is not the network it came from.

    Raises:
        ModelError: With the figure that is off.
    """
    if precision == "float32":
        if parity.greedy_identical < parity.texts or not parity.log_prob_difference <= LOG_PROB_LIMIT:
            raise ModelError(
                f"the export is refused: of {parity.texts} texts, {parity.greedy_identical} go on as in PyTorch, and a "
                f"log-probability differs by {parity.log_prob_difference:.2g}; this is a bug in heed: report it"
            )
        return
    limit = INT4_LOSS_LIMIT if precision == "int4" else LOSS_LIMIT
    if not parity.loss_bundle - parity.loss_torch <= limit:
        raise ModelError(
            f"the export is refused: in {precision} the loss is {parity.loss_bundle:.4f} and in float32 "
            f"{parity.loss_torch:.4f}, more than {limit:g} apart; export with a higher --precision"
        )
