"""An imported network against the original, where transformers is installed."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from heed.export.importers.texts import TEXTS
from heed.models.bundle.manifest import Comparison, Manifest
from heed.models.decoding.config import SpecialIds
from heed.models.errors import ModelError
from heed.models.runtime.protocol import Network
from heed.models.tasks.scorer import Passage
from heed.models.tokenizers.loading import line_tokenizers, text_tokenizer

LIMIT = 1e-3  # of a log-probability in float32; that of networks of a usual size is below 1e-4


def compare(
    path: Path, network: Network, passages: list[Passage], special: SpecialIds, directory: Path, manifest: Manifest
) -> Comparison | None:
    """Compare a network with that of a checkpoint's directory, as transformers computes it.

    Args:
        path: Of the checkpoint.
        network: As it was imported, in PyTorch.
        passages: Texts to predict.
        special: The special token ids.
        directory: Where the bundle's tokenizers are.
        manifest: The bundle's.

    Returns:
        What was found; None where transformers is not installed, or the checkpoint is no directory.

    Raises:
        ModelError: They differ.
    """
    if not path.is_dir():
        return None
    try:
        import transformers
    except ImportError:
        return None
    transformers.logging.disable_progress_bar()
    translates = manifest.network.encoder is not None
    kind = transformers.AutoModelForSeq2SeqLM if translates else transformers.AutoModelForCausalLM
    original = kind.from_pretrained(path, dtype=torch.float32, local_files_only=True).eval()
    state, difference, n_tokens, n_same = network.state(), 0.0, 0, 0
    longest = getattr(original.config, "max_position_embeddings", None) or max(map(_length, passages))
    passages = [passage for passage in passages if _length(passage) <= longest]
    for passage in passages:
        outputs = passage.given + passage.tokens
        read = np.array([[special.bos_id, *outputs[:-1]]])
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
        ids_identical=_same_ids(path, directory, manifest),
    )


def _length(passage: Passage) -> int:
    """Tokens of the longer side."""
    return max(len(passage.source or ()), len(passage.given) + len(passage.tokens))


@torch.inference_mode()
def _log_probs(original: Any, source: list[int] | None, read: Any) -> Any:
    tokens = torch.from_numpy(read)
    if source is None:
        logits = original(input_ids=tokens).logits
    else:
        logits = original(input_ids=torch.tensor([source]), decoder_input_ids=tokens).logits
    return logits[0].log_softmax(-1).numpy()


def _same_ids(path: Path, directory: Path, manifest: Manifest) -> int | None:
    """How many texts have the same token ids by the checkpoint's own tokenizer; None where transformers finds none."""
    import transformers

    try:
        theirs = transformers.AutoTokenizer.from_pretrained(path, local_files_only=True)
    except (OSError, ValueError, ImportError, KeyError, TypeError, AttributeError):
        return None
    conventions, spec = manifest.conventions, manifest.network
    assert conventions is not None
    lines = [" ".join(text.split()) for text in TEXTS]
    if spec.encoder is None:
        begin = [conventions.start_id] * conventions.starts_texts
        tokenizer = text_tokenizer(directory, spec, conventions)
        ours = [begin + ids for ids in tokenizer.encode_all(lines)]
    else:
        src, _ = line_tokenizers(directory, spec, conventions, (manifest.src_language, manifest.tgt_language))
        ours = [[*ids, src.eos_id] for ids in src.encode(lines)]
        if conventions.source_tag == "source":
            theirs.src_lang = manifest.src_language
        elif conventions.source_tag == "target" and manifest.tgt_language:
            lines = [f">>{manifest.tgt_language}<< {line}" for line in lines]
        lines = [(conventions.prefix or "") + line for line in lines]
    return sum(mine == list(theirs(line).input_ids) for mine, line in zip(ours, lines, strict=True))
