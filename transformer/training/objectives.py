"""What a network is trained for: its loss, how it is judged, and how it is optimized."""

import contextlib
import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

import sacrebleu
import torch
from torch import Tensor, nn
from torch.optim import Adam, AdamW, Optimizer

from heed.models.decoding.config import DecodeConfig
from heed.models.tasks.translator import Translator
from heed.models.text.scripts import bleu_tokenizer
from heed.transformer.data.batching.batches import Batch, Batches
from heed.transformer.data.batching.packing import Packing, TextBatch
from heed.transformer.data.batching.pairs import AnyPairs
from heed.transformer.data.documents import tokens_of
from heed.transformer.data.parallel_text import tokenize
from heed.transformer.decoding import TorchNetwork
from heed.transformer.masks import padding_mask
from heed.transformer.model import Transformer
from heed.transformer.training.copy_probe import CopyProbe
from heed.transformer.training.cost import step_flops
from heed.transformer.training.loss import smoothed_cross_entropy
from heed.transformer.training.runs.run import TextRun, TranslationRun
from heed.transformer.training.schedule import cosine, learning_rate


@dataclasses.dataclass(frozen=True, kw_only=True)
class Judgement:
    """How good a network is."""

    loss: float  # validation: negative log-likelihood of a token, in nats
    figures: Mapping[str, float]  # others, by name
    example: Mapping[str, str]  # what it made of some of the validation text


AnyBatch = TypeVar("AnyBatch", contravariant=True)


class Objective(Protocol[AnyBatch]):
    """What a network is trained for."""

    clip: float  # the largest norm of the gradients; larger ones are scaled down to it

    def optimizer(self, network: Transformer) -> Optimizer:
        """What updates the weights."""
        ...

    def learning_rate(self, step: int, share_done: float) -> float:
        """Of a step, counted from 1, when training has come some way from 0 to 1."""
        ...

    def loss(self, network: Transformer, batch: AnyBatch) -> tuple[Tensor, Tensor]:
        """The loss to be minimized, and the negative log-likelihood in nats, summed over the batch's tokens."""
        ...

    def flops(self, batch: AnyBatch) -> float:
        """Operations that a step needs for a batch, without those on padding."""
        ...

    def judge(self, network: Transformer, number: int) -> Judgement:
        """How good a network is; the number of the validation chooses the example."""
        ...


class Loss(nn.Module):
    """The loss of a network as the one call that DDP and FSDP look out for.

    Args:
        network: To be trained.
        objective: For what.
    """

    def __init__(self, network: Transformer, objective: Objective[Any]) -> None:
        super().__init__()
        self.network, self._objective = network, objective

    def forward(self, batch: Batch | TextBatch) -> tuple[Tensor, Tensor]:
        """See `Objective.loss`."""
        return self._objective.loss(self.network, batch)


@dataclasses.dataclass(frozen=True)
class Computing:
    """Where and in what precision a network computes."""

    device: torch.device
    precision: torch.dtype  # of matrix products; weights, sums and the loss stay in float32

    def autocast(self) -> contextlib.AbstractContextManager[object]:
        """The context in which a network is called."""
        return torch.autocast(self.device.type, self.precision, enabled=self.precision != torch.float32)


class TranslationObjective:
    """To translate, by the paper's loss and optimizer (sections 5.3 and 5.4)."""

    clip = math.inf

    def __init__(self, run: TranslationRun, computing: Computing) -> None:
        self._run, self._computing = run, computing
        self._text = run.validation
        self._tokenize = bleu_tokenizer(self._text.tgt)
        tokenizers = run.src_tokenizer, run.tgt_tokenizer
        pairs = tokenize(self._text, *tokenizers, max_length=run.train.max_length)
        self._batches = Batches([pairs], *tokenizers, batch_tokens=run.train.batch_tokens)
        languages = run.train.src_language, run.train.tgt_language
        self._probe = CopyProbe(self._text, languages) if run.train.copy_augment else None

    def optimizer(self, network: Transformer) -> Optimizer:
        """Adam with β₁, β₂ and ε of section 5.3; the schedule sets the rate of each step."""
        return Adam(network.parameters(), lr=0.0, betas=(0.9, 0.98), eps=1e-9, fused=True)

    def learning_rate(self, step: int, share_done: float) -> float:  # noqa: ARG002 - the paper's does not know the end
        """See `Objective`."""
        train = self._run.train
        return train.learning_rate_scale * learning_rate(step, d_model=self._run.spec.d_model, warmup=train.warmup)

    def loss(self, network: Transformer, batch: Batch) -> tuple[Tensor, Tensor]:
        """See `Objective`."""
        src, tgt = (ids.to(self._computing.device) for ids in (batch.src, batch.tgt))
        mask, smoothing = padding_mask(src, self._run.src_tokenizer.pad_id), self._run.train.label_smoothing
        with self._computing.autocast():
            states = network.states(src, mask, tgt)
            return loss_of(network, states, batch.targets, self._run.tgt_tokenizer.pad_id, smoothing)

    def flops(self, batch: Batch) -> float:
        """See `Objective`."""
        return step_flops(self._run.spec, batch.n_filled - batch.n_tokens, batch.n_tokens, len(batch.src))

    def judge(self, network: Transformer, number: int) -> Judgement:
        """Loss over the held-out pairs, BLEU and chrF of their greedy translations, and whether names are copied."""
        nll, n_tokens = 0.0, 0
        for batch in self._batches.in_order():
            nll += self.loss(network, batch)[1].item()
            n_tokens += batch.n_tokens
        translator = Translator(TorchNetwork(network), self._run.src_tokenizer, self._run.tgt_tokenizer)
        with self._computing.autocast():
            translations = _texts(translator, self._text.src)
            probed = _texts(translator, self._probe.sources) if self._probe else []
        figures = {"bleu": self._bleu(translations), "chrf": self._chrf(translations)}
        if self._probe:
            figures["kept"] = self._probe.share_kept(probed)
        i = number % len(translations)
        return Judgement(
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

    def __init__(self, run: TextRun, computing: Computing) -> None:
        self._run, self._computing = run, computing
        documents = run.validation
        self._n_bytes = sum(len(document.text.encode("utf-8")) for document in documents)
        self._packing = packing(run, tokens_of(documents, run.tokenizer))

    def optimizer(self, network: Transformer) -> Optimizer:
        """AdamW, which lets matrices decay, and neither biases nor norms."""
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
        ids, pad_id = batch.ids.to(self._computing.device), self._run.tokenizer.pad_id
        with self._computing.autocast():
            states = network.states(tgt=ids, positions=batch.positions)
            return loss_of(network, states, batch.targets, pad_id)

    def flops(self, batch: TextBatch) -> float:
        """See `Objective`."""
        return step_flops(self._run.spec, 0, batch.n_filled, len(batch.ids))

    def judge(self, network: Transformer, number: int) -> Judgement:  # noqa: ARG002 - always the beginning
        """Loss over the held-out documents, in nats a token and in bits a byte."""
        nll, n_tokens = 0.0, 0
        for batch in self._packing.in_order():
            nll += self.loss(network, batch)[1].item()
            n_tokens += batch.n_tokens
        bits = nll / math.log(2) / max(self._n_bytes, 1)
        return Judgement(loss=nll / max(n_tokens, 1), figures={"bits_per_byte": bits}, example={})


def packing(run: TextRun, documents: AnyPairs, facts: Mapping[str, int] | None = None) -> Packing:
    """The batches of documents, as a run asks for them."""
    batch_tokens = run.train.batch_tokens
    return Packing(documents, run.tokenizer, context=run.context, batch_tokens=batch_tokens, facts=facts)


def loss_of(
    network: Transformer, states: Tensor, targets: Tensor, pad_id: int, label_smoothing: float = 0.0
) -> tuple[Tensor, Tensor]:
    """The loss of a network's states, (B, T, D), against targets, (B, T); see `smoothed_cross_entropy`."""
    return smoothed_cross_entropy(
        states,
        network.output_weight,
        targets,
        pad_id=pad_id,
        label_smoothing=label_smoothing,
        bias=network.projection.bias,
        soft_cap=network.spec.output_soft_cap,
    )


OBJECTIVES: Mapping[str, Callable[[Any, Computing], Objective[Any]]] = {
    TranslationRun.task: TranslationObjective,
    TextRun.task: TextObjective,
}
