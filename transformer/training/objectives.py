"""What a network is trained for: its loss, how it is judged, and how it is optimized."""

import contextlib
import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeVar

import sacrebleu
import torch
from torch import Tensor, nn
from torch.optim import Adam, AdamW, Optimizer

from heed.models.decoding.config import DecodeConfig
from heed.models.tasks.translator import Translator
from heed.transformer.data.batching.batches import Batch, Batches
from heed.transformer.data.batching.packing import Packing, TextBatch
from heed.transformer.data.batching.pairs import AnyPairs
from heed.transformer.data.documents import tokens_of
from heed.transformer.data.parallel_text import tokenize
from heed.transformer.decoding import TorchNetwork
from heed.transformer.language_model import LanguageModel
from heed.transformer.masks import padding_mask, text_mask
from heed.transformer.model import Transformer
from heed.transformer.training.copy_probe import CopyProbe
from heed.transformer.training.cost import text_flops, translation_flops
from heed.transformer.training.loss import smoothed_cross_entropy
from heed.transformer.training.runs.run import TextRun, TranslationRun
from heed.transformer.training.schedule import cosine, learning_rate


@dataclasses.dataclass(frozen=True, kw_only=True)
class Judgement:
    """How good a network is."""

    loss: float  # validation: negative log-likelihood of a token, in nats
    figures: Mapping[str, float]  # others, by name
    example: Mapping[str, str]  # what it made of some of the validation text


AnyNetwork = TypeVar("AnyNetwork", bound=nn.Module, contravariant=True)
AnyBatch = TypeVar("AnyBatch", contravariant=True)


class Objective(Protocol[AnyNetwork, AnyBatch]):
    """What a network is trained for."""

    clip: float  # the largest norm of the gradients; larger ones are scaled down to it

    def optimizer(self, network: AnyNetwork) -> Optimizer:
        """What updates the weights."""
        ...

    def learning_rate(self, step: int, share_done: float) -> float:
        """Of a step, counted from 1, when training has come some way from 0 to 1."""
        ...

    def loss(self, network: AnyNetwork, batch: AnyBatch) -> tuple[Tensor, Tensor]:
        """The loss to be minimized, and the negative log-likelihood in nats, summed over the batch's tokens."""
        ...

    def flops(self, batch: AnyBatch) -> float:
        """Operations that a step needs for a batch, without those on padding."""
        ...

    def judge(self, network: AnyNetwork, number: int) -> Judgement:
        """How good a network is; the number of the validation chooses the example."""
        ...


class Loss(nn.Module):
    """The loss of a network as the one call that DDP and FSDP look out for.

    Args:
        network: To be trained.
        objective: For what.
    """

    def __init__(self, network: nn.Module, objective: Objective[Any, Any]) -> None:
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
        return train.learning_rate_scale * learning_rate(step, d_model=self._run.model.d_model, warmup=train.warmup)

    def loss(self, network: Transformer, batch: Batch) -> tuple[Tensor, Tensor]:
        """See `Objective`."""
        src, tgt = (ids.to(self._computing.device) for ids in (batch.src, batch.tgt))
        pad_id, smoothing = self._run.tgt_tokenizer.pad_id, self._run.train.label_smoothing
        with self._computing.autocast():
            states = network.states(src, padding_mask(src, self._run.src_tokenizer.pad_id), tgt)
            weight = network.projection.weight
            return smoothed_cross_entropy(states, weight, batch.targets, pad_id=pad_id, label_smoothing=smoothing)

    def flops(self, batch: Batch) -> float:
        """See `Objective`."""
        return translation_flops(self._run.model, batch.n_filled - batch.n_tokens, batch.n_tokens, len(batch.src))

    def judge(self, network: Transformer, number: int) -> Judgement:
        """Loss over the held-out pairs, BLEU of their greedy translations, and how many keep names and numbers."""
        nll, n_tokens = 0.0, 0
        for batch in self._batches.in_order():
            nll += self.loss(network, batch)[1].item()
            n_tokens += batch.n_tokens
        translator = Translator(TorchNetwork(network), self._run.src_tokenizer, self._run.tgt_tokenizer)
        with self._computing.autocast():
            translations = _texts(translator, self._text.src)
            probed = _texts(translator, self._probe.sources) if self._probe else []
        figures = {"bleu": sacrebleu.corpus_bleu(translations, [self._text.tgt], force=True).score}
        if self._probe:
            figures["kept"] = self._probe.share_kept(probed)
        i = number % len(translations)
        return Judgement(
            loss=nll / max(n_tokens, 1),
            figures=figures,
            example={"source": self._text.src[i], "reference": self._text.tgt[i], "translation": translations[i]},
        )


def _texts(translator: Translator, lines: Sequence[str]) -> list[str]:
    return [found.text for found in translator.translate(lines, DecodeConfig(beam_size=1))]


class TextObjective:
    """To go on with a text, by GPT-3's optimizer (Brown et al., 2020, appendix B)."""

    clip = 1.0

    def __init__(self, run: TextRun, computing: Computing) -> None:
        self._run, self._computing = run, computing
        documents = run.validation
        self._n_bytes = sum(len(document.text.encode("utf-8")) for document in documents)
        self._packing = packing(run, tokens_of(documents, run.tokenizer))

    def optimizer(self, network: LanguageModel) -> Optimizer:
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

    def loss(self, network: LanguageModel, batch: TextBatch) -> tuple[Tensor, Tensor]:
        """See `Objective`."""
        ids, positions = (part.to(self._computing.device) for part in (batch.ids, batch.positions))
        pad_id = self._run.tokenizer.pad_id
        with self._computing.autocast():
            states = network.states(ids, positions, text_mask(positions))
            weight = network.embedding.weight
            return smoothed_cross_entropy(states, weight, batch.targets, pad_id=pad_id, label_smoothing=0.0)

    def flops(self, batch: TextBatch) -> float:
        """See `Objective`."""
        return text_flops(self._run.model, batch.n_filled, len(batch.ids))

    def judge(self, network: LanguageModel, number: int) -> Judgement:  # noqa: ARG002 - always the beginning
        """Loss over the held-out documents, in nats a token and in bits a byte."""
        nll, n_tokens = 0.0, 0
        for batch in self._packing.in_order():
            nll += self.loss(network, batch)[1].item()
            n_tokens += batch.n_tokens
        bits = nll / math.log(2) / max(self._n_bytes, 1)
        return Judgement(loss=nll / max(n_tokens, 1), figures={"bits_per_byte": bits}, example={})


def packing(run: TextRun, documents: AnyPairs, facts: Mapping[str, int] | None = None) -> Packing:
    """The batches of documents, as a run asks for them."""
    context, batch_tokens = run.model.context, run.train.batch_tokens
    return Packing(documents, run.tokenizer, context=context, batch_tokens=batch_tokens, facts=facts)
