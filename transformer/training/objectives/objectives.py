"""Training objectives: loss, validation and optimizer."""

import contextlib
import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

import numpy as np
import sacrebleu
import torch
from torch import Tensor, nn
from torch.optim import Adam, AdamW, Optimizer

from heed.models.decoding.config import DecodeConfig
from heed.models.tasks.translation.translator import Translator
from heed.models.text.scripts import bleu_tokenizer
from heed.models.tokenizers.lossless import TextTokenizer
from heed.models.tokenizers.subwords import Tokenizer
from heed.transformer.data.batching.batches import Batch, Batches
from heed.transformer.data.batching.masking import MaskedPacking
from heed.transformer.data.batching.noise import Noise
from heed.transformer.data.batching.packing import IGNORED, Packing, TextBatch
from heed.transformer.data.batching.pairs import AnyPairs, Pairs
from heed.transformer.data.text.documents import tokens_of
from heed.transformer.data.text.parallel_text import tokenize
from heed.transformer.decoding import TorchNetwork
from heed.transformer.masks import padding_mask
from heed.transformer.model import Transformer
from heed.transformer.training.cost import step_flops
from heed.transformer.training.objectives.copy_probe import CopyProbe
from heed.transformer.training.objectives.guided_alignment import GuidedHead, copies
from heed.transformer.training.objectives.loss import smoothed_cross_entropy
from heed.transformer.training.runs.run import DenoisingRun, MaskedRun, TextRun, TranslationRun
from heed.transformer.training.runs.settings import DenoisingConfig, MaskedConfig
from heed.transformer.training.schedule import cosine, learning_rate


@dataclasses.dataclass(frozen=True, kw_only=True)
class ValidationResult:
    """The result of a validation."""

    loss: float  # negative log-likelihood per token, in nats
    figures: Mapping[str, float]  # other figures, by name
    example: Mapping[str, str]  # an example of the network's output


AnyBatch = TypeVar("AnyBatch", contravariant=True)


class Objective(Protocol[AnyBatch]):
    """A training objective."""

    clip: float  # gradients are clipped to this norm

    def optimizer(self, network: Transformer) -> Optimizer:
        """The optimizer."""
        ...

    def learning_rate(self, step: int, share_done: float) -> float:
        """The learning rate of a step, counted from 1, when this share of training is done."""
        ...

    def loss(self, network: Transformer, batch: AnyBatch) -> tuple[Tensor, Tensor]:
        """The loss to minimize, and the negative log-likelihood in nats, summed over the batch's tokens."""
        ...

    def flops(self, batch: AnyBatch) -> float:
        """Operations of a step for a batch, without padding."""
        ...

    def validate(self, network: Transformer, number: int) -> ValidationResult:
        """Validate a network; the number of the validation selects the example."""
        ...


class Loss(nn.Module):
    """The loss of a network as a module, whose forward call DDP and FSDP wrap.

    Args:
        network: The network in training.
        objective: The objective.
    """

    def __init__(self, network: Transformer, objective: Objective[Any]) -> None:
        super().__init__()
        self.network, self._objective = network, objective

    def forward(self, batch: Batch | TextBatch) -> tuple[Tensor, Tensor]:
        """See `Objective.loss`."""
        return self._objective.loss(self.network, batch)

    def validate(self, number: int) -> ValidationResult:
        """See `Objective.validate`."""
        return self._objective.validate(self.network, number)


@dataclasses.dataclass(frozen=True)
class ComputeSettings:
    """The device and precision of a network."""

    device: torch.device
    precision: torch.dtype  # precision of matrix products; weights, sums and the loss stay in float32

    def autocast(self) -> contextlib.AbstractContextManager[object]:
        """The context in which a network is called."""
        return torch.autocast(self.device.type, self.precision, enabled=self.precision != torch.float32)


class TranslationObjective:
    """Translation, with the paper's loss and optimizer (sections 5.3 and 5.4)."""

    clip = math.inf

    def __init__(self, run: TranslationRun, compute: ComputeSettings) -> None:
        self._run, self._compute = run, compute
        self._text = run.validation
        self._tokenize = bleu_tokenizer(self._text.tgt)
        tokenizers = run.src_tokenizer, run.tgt_tokenizer
        pairs = tokenize(self._text, *tokenizers, max_length=run.train.max_length)
        self._batches = Batches([pairs], *tokenizers, batch_tokens=run.train.batch_tokens)
        languages = run.train.src_language, run.train.tgt_language
        self._probe = CopyProbe(self._text, languages) if run.train.copy_augment else None
        self._guided = GuidedHead(run.spec) if run.train.guided_alignment else None

    def optimizer(self, network: Transformer) -> Optimizer:
        """Adam with β₁, β₂ and ε of section 5.3; the schedule sets the rate of each step."""
        return Adam(network.parameters(), lr=0.0, betas=(0.9, 0.98), eps=1e-9, fused=True)

    def learning_rate(self, step: int, share_done: float) -> float:  # noqa: ARG002 - the paper's does not know the end
        """See `Objective`."""
        train = self._run.train
        return train.learning_rate_scale * learning_rate(step, d_model=self._run.spec.d_model, warmup=train.warmup)

    def loss(self, network: Transformer, batch: Batch) -> tuple[Tensor, Tensor]:
        """See `Objective`."""
        src, tgt = (ids.to(self._compute.device) for ids in (batch.src, batch.tgt))
        mask, smoothing = padding_mask(src, self._run.src_tokenizer.pad_id), self._run.train.label_smoothing
        with self._compute.autocast(), self._watched(network):
            states = network.states(src, mask, tgt)
            loss, nll = loss_of(network, states, batch.targets, self._run.tgt_tokenizer.pad_id, smoothing)
            return loss + self._guidance(batch), nll

    def _watched(self, network: Transformer) -> contextlib.AbstractContextManager[None]:
        return self._guided.watched(network) if self._guided and network.training else contextlib.nullcontext()

    def _guidance(self, batch: Batch) -> Tensor | float:
        """What is added to the loss where one head is guided; see `GuidedHead`."""
        if self._guided is None or not self._guided.has_seen:
            return 0.0
        tokenizer = self._run.tgt_tokenizer
        copied = copies(batch.src, batch.targets, (tokenizer.pad_id, tokenizer.eos_id)).to(self._compute.device)
        return self._run.train.guided_alignment * self._guided.loss(copied)

    def flops(self, batch: Batch) -> float:
        """See `Objective`."""
        return step_flops(self._run.spec, batch.n_filled - batch.n_tokens, batch.n_tokens, len(batch.src))

    def validate(self, network: Transformer, number: int) -> ValidationResult:
        """Loss over the held-out pairs, BLEU and chrF of their greedy translations, and whether names are copied."""
        nll, n_tokens = 0.0, 0
        for batch in self._batches.in_order():
            nll += self.loss(network, batch)[1].item()
            n_tokens += batch.n_tokens
        translator = Translator(TorchNetwork(network), self._run.src_tokenizer, self._run.tgt_tokenizer)
        with self._compute.autocast():
            translations = _texts(translator, self._text.src)
            probed = _texts(translator, self._probe.sources) if self._probe else []
        figures = {"bleu": self._bleu(translations), "chrf": self._chrf(translations)}
        if self._probe:
            figures["kept"] = self._probe.share_kept(probed)
        i = number % len(translations)
        return ValidationResult(
            loss=nll / max(n_tokens, 1),
            figures=figures,
            example={"source": self._text.src[i], "reference": self._text.tgt[i], "translation": translations[i]},
        )

    def _bleu(self, translations: list[str]) -> float:
        metric = sacrebleu.BLEU(tokenize=self._tokenize, force=True)
        return float(metric.corpus_score(translations, [self._text.tgt]).score)

    def _chrf(self, translations: list[str]) -> float:
        return float(sacrebleu.CHRF().corpus_score(translations, [self._text.tgt]).score)


def _texts(translator: Translator, lines: Sequence[str]) -> list[str]:
    return [found.text for found in translator.translate(lines, DecodeConfig(beam_size=1))]


class TextObjective:
    """To continue a text, by GPT-3's optimizer (Brown et al., 2020, appendix B)."""

    clip = 1.0

    def __init__(self, run: TextRun, compute: ComputeSettings) -> None:
        self._run, self._compute = run, compute
        documents = run.validation
        self._n_bytes = sum(len(document.text.encode("utf-8")) for document in documents)
        self._packing = packing(run, tokens_of(documents, run.tokenizer))

    def optimizer(self, network: Transformer) -> Optimizer:
        """AdamW with weight decay of matrices, but not of biases and norms."""
        parameters = list(network.parameters())
        groups = [
            {"params": [p for p in parameters if p.dim() > 1], "weight_decay": self._run.train.weight_decay},
            {"params": [p for p in parameters if p.dim() == 1], "weight_decay": 0.0},
        ]
        return AdamW(groups, lr=0.0, betas=(0.9, 0.95), fused=True)

    def learning_rate(self, step: int, share_done: float) -> float:
        """See `Objective`."""
        train = self._run.train
        return train.learning_rate * cosine(step, share_done, warmup=train.warmup)

    def loss(self, network: Transformer, batch: TextBatch) -> tuple[Tensor, Tensor]:
        """See `Objective`."""
        ids = batch.ids.to(self._compute.device)
        with self._compute.autocast():
            states = network.states(tgt=ids, positions=batch.positions)
            return loss_of(network, states, batch.targets, IGNORED)

    def flops(self, batch: TextBatch) -> float:
        """See `Objective`."""
        return step_flops(self._run.spec, 0, batch.n_filled, len(batch.ids))

    def validate(self, network: Transformer, number: int) -> ValidationResult:  # noqa: ARG002 - always the beginning
        """Loss on the held-out documents, in nats per token and bits per byte."""
        nll, n_tokens = 0.0, 0
        for batch in self._packing.in_order():
            nll += self.loss(network, batch)[1].item()
            n_tokens += batch.n_tokens
        bits = nll / math.log(2) / max(self._n_bytes, 1)
        return ValidationResult(loss=nll / max(n_tokens, 1), figures={"bits_per_byte": bits}, example={})


class DenoisingObjective(TranslationObjective):
    """To restore text whose spans were replaced; judged by the loss on held-out lines, always with the same noise."""

    def __init__(self, run: TranslationRun, compute: ComputeSettings) -> None:
        super().__init__(run, compute)
        noise, random = noise_of(run), np.random.default_rng(run.train.seed)
        rows = run.tgt_tokenizer.encode(self._text.tgt)
        pairs = [noise(tokens[: run.train.max_length], random) for tokens in rows if tokens]
        noised = Pairs.of([read for read, _ in pairs], [written for _, written in pairs])
        tokenizers = run.src_tokenizer, run.tgt_tokenizer
        self._batches = Batches([noised], *tokenizers, batch_tokens=run.train.batch_tokens)

    def validate(self, network: Transformer, number: int) -> ValidationResult:  # noqa: ARG002 - no example
        """Loss over the held-out lines."""
        return ValidationResult(loss=_mean_loss(self, network, self._batches.in_order()), figures={}, example={})


class MaskedObjective(TextObjective):
    """To predict masked tokens (BERT; Devlin et al., 2018, arXiv 1810.04805), without a task about pairs (RoBERTa)."""

    def __init__(self, run: TextRun, compute: ComputeSettings) -> None:
        super().__init__(run, compute)
        self._masked = masked(run, self._packing)

    def loss(self, network: Transformer, batch: TextBatch) -> tuple[Tensor, Tensor]:
        """See `Objective`."""
        ids, pad_id = batch.ids.to(self._compute.device), self._run.tokenizer.pad_id
        with self._compute.autocast():
            return loss_of(network, network.states(ids, padding_mask(ids, pad_id)), batch.targets, IGNORED)

    def flops(self, batch: TextBatch) -> float:
        """See `Objective`."""
        spec = self._run.spec
        unpredicted = spec.last.vocab_size * spec.d_model * (batch.n_filled - batch.n_tokens)
        return step_flops(spec, batch.n_filled, 0, len(batch.ids)) - 6.0 * unpredicted

    def validate(self, network: Transformer, number: int) -> ValidationResult:  # noqa: ARG002 - no example
        """Loss on masked tokens of the held-out documents, in nats, always with the same masks."""
        return ValidationResult(loss=_mean_loss(self, network, self._masked.in_order()), figures={}, example={})


def _mean_loss(objective: Objective[Any], network: Transformer, batches: Iterable[Any]) -> float:
    """Negative log-likelihood per target token of batches, in nats."""
    nll, n_tokens = 0.0, 0
    for batch in batches:
        nll += objective.loss(network, batch)[1].item()
        n_tokens += batch.n_tokens
    return nll / max(n_tokens, 1)


def masked(run: TextRun, rows: Packing) -> MaskedPacking:
    """Rows with masks by a run's settings."""
    assert isinstance(run.train, MaskedConfig), "a masked run"
    assert isinstance(run.tokenizer, TextTokenizer), "whose vocabulary heed learnt"
    return MaskedPacking(rows, run.tokenizer, run.train.mask_share)


def noise_of(run: TranslationRun) -> Noise:
    """The noise of a run that learns to restore text.

    Raises:
        ModelError: Its vocabulary lacks the pieces that stand for spans.
    """
    train = run.train
    tokenizer = run.tgt_tokenizer
    assert isinstance(train, DenoisingConfig), "a denoising run"
    assert isinstance(tokenizer, Tokenizer), "whose vocabulary heed learnt"
    return Noise(train.noise, train.mask_share, train.span_length, tokenizer)


def packing(run: TextRun, documents: AnyPairs, facts: Mapping[str, int] | None = None) -> Packing:
    """The batches of documents with a run's settings."""
    batch_tokens = run.train.batch_tokens
    return Packing(documents, run.tokenizer, context=run.context, batch_tokens=batch_tokens, facts=facts)


def loss_of(
    network: Transformer, states: Tensor, targets: Tensor, ignored: int, label_smoothing: float = 0.0
) -> tuple[Tensor, Tensor]:
    """The loss of a network's states, (B, T, D), against targets, (B, T); see `smoothed_cross_entropy`."""
    return smoothed_cross_entropy(
        states,
        network.output_weight,
        targets,
        ignored=ignored,
        label_smoothing=label_smoothing,
        bias=network.projection.bias,
        soft_cap=network.spec.output_soft_cap,
    )


OBJECTIVES: Mapping[str, Callable[[Any, ComputeSettings], Objective[Any]]] = {
    TranslationRun.task: TranslationObjective,
    DenoisingRun.task: DenoisingObjective,
    TextRun.task: TextObjective,
    MaskedRun.task: MaskedObjective,
}
