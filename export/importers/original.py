"""An imported network against the original, where transformers is installed."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch

from heed.export.importers.formats.checkpoint import CONFIG, Checkpoint
from heed.export.importers.search import renormalized
from heed.export.importers.texts import VARIANTS, UnfinishedBundle
from heed.export.importers.weights import IMPOSSIBLE
from heed.export.proof.encoder_parity import compare_masked, compare_vectors
from heed.models.arrays import BoolArray, FloatArray, IntArray
from heed.models.bundle.manifest import Comparison
from heed.models.errors import ModelError
from heed.models.runtime.protocol import Encoder, Network
from heed.models.spec.network import NetworkSpec
from heed.models.tasks.scorer import ScoringInput

LIMIT = 1e-3  # of a log-probability in float32; that of networks of a usual size is below 1e-4


def compare(path: Path, network: Network, unfinished: UnfinishedBundle) -> Comparison | None:
    """Compare a network with that of a checkpoint's directory, as transformers computes it.

    Args:
        path: Of the checkpoint.
        network: As it was imported, in PyTorch.
        unfinished: The bundle that is made of it.

    Returns:
        What was found; None where transformers is not installed, or the checkpoint is none of its own.

    Raises:
        ModelError: They differ.
    """
    if (transformers := _transformers(path)) is None:
        return None
    translates = unfinished.spec.encoder is not None
    kind = transformers.AutoModelForSeq2SeqLM if translates else transformers.AutoModelForCausalLM
    original = kind.from_pretrained(path, dtype=torch.float32, local_files_only=True).eval()
    if forbidden := renormalized(Checkpoint(path)):  # as the search of the original sees probabilities
        original.final_logits_bias[:, list(forbidden)] = IMPOSSIBLE
    state, difference, n_tokens, n_same = network.state(), 0.0, 0, 0
    longest = getattr(original.config, "max_position_embeddings", None) or max(map(_length, unfinished.passages()))
    passages = [passage for passage in unfinished.passages() if _length(passage) <= longest]
    for passage in passages:
        outputs = passage.given + passage.tokens
        read = np.array([[unfinished.special.bos_id, *outputs[:-1]]])
        if passage.source is not None:
            source = np.array([passage.source])
            state.encode(source, np.ones(source.shape, dtype=bool))
        ours, theirs = state.forced(read)[0], _log_probs(original, passage.source, read)
        difference = float(np.maximum(difference, np.abs(ours - theirs).max()))
        n_tokens += len(ours)
        n_same += int((ours.argmax(axis=1) == theirs.argmax(axis=1)).sum())
    if not difference <= LIMIT:
        raise ModelError(
            f"the import is refused: a log-probability differs from that of transformers {transformers.__version__} "
            f"by {difference:.2g}, more than {LIMIT:g}; report it with the model's config.json"
        )
    return Comparison(
        reference=f"transformers {transformers.__version__}",
        texts=len(passages),
        tokens=n_tokens,
        likeliest_identical=n_same,
        log_prob_difference=difference,
        ids_texts=len(VARIANTS),
        ids_identical=_same_ids(path, unfinished),
    )


def _transformers(path: Path) -> Any | None:
    """The library, without its bars and reports; None where it is not installed, or the checkpoint is none of its."""
    if not (path / CONFIG).is_file():
        return None
    try:
        import transformers
    except ImportError:
        return None
    transformers.logging.disable_progress_bar()
    transformers.logging.set_verbosity_error()
    return transformers


def compare_encoder(path: Path, network: Encoder, unfinished: UnfinishedBundle) -> Comparison | None:
    """Compare an encoder alone with that of a checkpoint's directory; see `compare`.

    Raises:
        ModelError: They differ.
    """
    if (transformers := _transformers(path)) is None:
        return None
    predicts = unfinished.spec.output_transform is not None
    kind = transformers.AutoModelForMaskedLM if predicts else transformers.AutoModel
    original = kind.from_pretrained(path, dtype=torch.float32, local_files_only=True).eval()
    sides = network, _Original(original, unfinished.spec)
    rows = unfinished.rows()
    vectors = compare_vectors(sides, rows, unfinished.embedding)
    if not vectors.cosine_difference <= LIMIT:
        raise ModelError(
            f"the import is refused: the cosine of two texts differs from that of transformers "
            f"{transformers.__version__} by {vectors.cosine_difference:.2g}, more than {LIMIT:g}; report it with the "
            "model's config.json"
        )
    found = compare_masked(sides, rows, unfinished.conventions.mask_id) if predicts else None
    if found and not found.log_prob_difference <= LIMIT:
        raise ModelError(
            f"the import is refused: a log-probability differs from that of transformers {transformers.__version__} "
            f"by {found.log_prob_difference:.2g}, more than {LIMIT:g}; report it with the model's config.json"
        )
    return Comparison(
        reference=f"transformers {transformers.__version__}",
        texts=vectors.texts,
        tokens=vectors.tokens,
        likeliest_identical=found.n_likeliest if found else None,
        log_prob_difference=found.log_prob_difference if found else None,
        cosine_difference=vectors.cosine_difference,
        ids_texts=len(VARIANTS),
        ids_identical=_same_ids(path, unfinished),
    )


class _Original:
    """An encoder of transformers; see `heed.models.runtime.protocol.Encoder`."""

    def __init__(self, original: Any, spec: NetworkSpec) -> None:
        self._original, self.spec = original, spec

    @torch.inference_mode()
    def encode(self, src: IntArray, src_mask: BoolArray) -> FloatArray:
        """See `heed.models.runtime.protocol.Encoder`."""
        base = self._original.base_model
        padding = self._original.config.pad_token_id or 0  # where RoBERTa counts no positions
        ids, mask = torch.from_numpy(np.where(src_mask, src, padding)), torch.from_numpy(src_mask)
        inputs = {"input_ids": ids, "attention_mask": mask.long()} | self._segments(src_mask)
        states: FloatArray = base(**inputs).last_hidden_state.numpy()
        return states

    def _segments(self, src_mask: BoolArray) -> dict[str, torch.Tensor]:
        """The segments of tokens, where not all are in the first: XLNet's `<cls>` at the end is in the third."""
        if not getattr(self.spec.last.positions, "last_apart", False):
            return {}
        last = np.arange(src_mask.shape[1]) == src_mask.sum(axis=1, keepdims=True) - 1
        return {"token_type_ids": torch.from_numpy(2 * last)}

    @torch.inference_mode()
    def log_probs(self, states: FloatArray) -> FloatArray:
        """See `heed.models.runtime.protocol.Encoder`."""
        model, x = self._original, torch.from_numpy(states)
        if hasattr(model, "cls"):
            logits = model.cls(x)
        elif hasattr(model, "lm_head"):
            logits = model.lm_head(x)
        else:  # DistilBERT
            logits = model.vocab_projector(model.vocab_layer_norm(model.activation(model.vocab_transform(x))))
        found: FloatArray = logits.log_softmax(-1).numpy()
        return found


def _length(passage: ScoringInput) -> int:
    """Number of tokens of the longer side."""
    return max(len(passage.source or ()), len(passage.given) + len(passage.tokens))


@torch.inference_mode()
def _log_probs(original: Any, source: list[int] | None, read: Any) -> Any:
    tokens = torch.from_numpy(read)
    if source is None:
        logits = original(input_ids=tokens).logits
    else:
        logits = original(input_ids=torch.tensor([source]), decoder_input_ids=tokens).logits
    return logits[0].log_softmax(-1).numpy()


def _their_tokenizer(path: Path) -> Any:
    """The checkpoint's tokenizer as transformers loads it; None where it finds none."""
    import transformers

    try:
        with warnings.catch_warnings():  # of packages that would normalize punctuation, which transformers never does
            warnings.simplefilter("ignore")
            return transformers.AutoTokenizer.from_pretrained(path, local_files_only=True)
    except (OSError, ValueError, ImportError, KeyError, TypeError, AttributeError):
        return None


def _same_ids(path: Path, unfinished: UnfinishedBundle) -> int | None:
    """How many texts have the same token ids by the checkpoint's own tokenizer; None where transformers finds none."""
    theirs = _their_tokenizer(path)
    if theirs is None:
        return None
    lines = [" ".join(text.split()) for text in VARIANTS]
    ours = unfinished.read(lines)
    conventions, (source, target) = unfinished.conventions, unfinished.languages
    if conventions.source_tag == "source":
        theirs.src_lang = source
    elif conventions.source_tag == "target" and target:
        lines = [f">>{target}<< {line}" for line in lines]
    lines = [(conventions.prefix or "") + line for line in lines]
    return sum(mine == list(theirs(line).input_ids) for mine, line in zip(ours, lines, strict=True))
