"""What a training run would take, before it is begun."""

import time
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from heed.models.spec.config import LanguageModelConfig, ModelConfig
from heed.models.tokenizers.subwords import Tokenizer
from heed.transformer.data import preparation, text_preparation
from heed.transformer.data.lines import FORMATS
from heed.transformer.language_model import LanguageModel
from heed.transformer.masks import padding_mask, text_mask
from heed.transformer.model import Transformer
from heed.transformer.training.cost import activation_bytes, peak_flops, text_flops, training_bytes, translation_flops
from heed.transformer.training.engine import Engine, choose_precision
from heed.transformer.training.loss import smoothed_cross_entropy
from heed.transformer.training.objectives import Computing
from heed.transformer.training.runs.settings import TextConfig, TrainConfig, TranslationConfig

PROBE_TOKENS = 2048  # of the batch by which the speed is measured
SENTENCE = 25  # tokens of a pair's side, about
BYTES_PER_TOKEN = 4.0  # of text, about, for vocabularies of thousands of pieces
COMPRESSION = 3.0  # of .gz and .zst, about
GIB = 1 << 30


def estimate(network: Mapping[str, object], train: TrainConfig, engine: Engine) -> dict[str, str]:
    """Parameters, memory, steps, tokens, operations and time of a run, by name.

    The time is that of a small batch of random tokens, computed here, for as many operations.

    Args:
        network: The table of the network's configuration; its vocabulary has the size asked for.
        train: How it is to be trained.
        engine: What to compute with.
    """
    model = _model(network, train)
    with torch.device("meta"):
        n_parameters = sum(parameter.numel() for parameter in _new(model).parameters())
    precision = choose_precision(train.precision, engine.device)
    flops = _flops(model, train.batch_tokens)
    speed = engine.processes.size * _flops_per_second(model, engine, precision)
    n_steps, reason = _steps(train, flops / speed)
    part = train.batch_tokens // (engine.processes.size * engine.accumulate)
    state = training_bytes(n_parameters) + (4 * n_parameters if train.ema else 0)
    shared = engine.processes.size if engine.sharded else 1
    share = speed / (engine.processes.size * peak_flops(engine.device, precision))
    return {
        "parameters": f"{n_parameters:,}",
        "weights, gradients and moments": f"{state / shared / GIB:.2f} GiB a process",
        "activations": f"about {activation_bytes(model, part, precision) / GIB:.2f} GiB a process",
        "tokens a step": f"{train.batch_tokens:,} a side, padding included",
        "operations a step": f"{flops:.3g}",
        "operations a second": f"{speed:.3g}, {share:.0%} of what {engine.device} can do",
        "steps": f"{n_steps:,.0f} {reason}",
        "tokens in all": f"{n_steps * train.batch_tokens:,.0f} a side",
        "operations in all": f"{n_steps * flops:.3g}",
        "time": f"about {_words(n_steps * flops / speed)}, without validation",
    }


def _model(network: Mapping[str, object], train: TrainConfig) -> ModelConfig | LanguageModelConfig:
    sizes = [len(Tokenizer.load(Path(path))) for path in train.tokenizer] or [train.vocab_size]
    if isinstance(train, TextConfig):
        return text_preparation.sized(network, sizes[0])
    assert isinstance(train, TranslationConfig)
    return preparation.sized(network, sizes[0], sizes[-1], joint=train.joint and len(sizes) == 1)


def _new(model: ModelConfig | LanguageModelConfig) -> Transformer | LanguageModel:
    return LanguageModel(model) if isinstance(model, LanguageModelConfig) else Transformer(model)


def _flops(model: ModelConfig | LanguageModelConfig, n_tokens: int) -> float:
    """Operations of a step on so many tokens a side."""
    if isinstance(model, LanguageModelConfig):
        return text_flops(model, n_tokens, max(1, n_tokens // model.context))
    return translation_flops(model, n_tokens, n_tokens, max(1, n_tokens // SENTENCE))


def _flops_per_second(model: ModelConfig | LanguageModelConfig, engine: Engine, precision: torch.dtype) -> float:
    """What this device reaches with this network, by the best of three small steps."""
    network = _new(model).to(engine.device)
    length = model.context if isinstance(model, LanguageModelConfig) else SENTENCE
    rows = max(1, PROBE_TOKENS // length)
    vocabulary = model.vocab_size if isinstance(model, LanguageModelConfig) else model.tgt_vocab_size
    ids = torch.randint(1, min(vocabulary, 1000), (rows, length), device=engine.device)
    best = float("inf")
    for _ in range(3):
        begin = time.perf_counter()
        with Computing(engine.device, precision).autocast():
            states, weight = _states(network, ids)
            loss, _ = smoothed_cross_entropy(states, weight, ids, pad_id=0, label_smoothing=0.1)
        loss.backward()
        loss.item()  # waits for a GPU
        best = min(best, time.perf_counter() - begin)
    return _flops(model, ids.numel()) / best


def _states(network: Transformer | LanguageModel, ids: Tensor) -> tuple[Tensor, Tensor]:
    """What the network makes of some tokens, and the matrix that makes logits of it."""
    if isinstance(network, LanguageModel):
        positions = torch.arange(ids.shape[1], device=ids.device).expand_as(ids)
        return network.states(ids, positions, text_mask(positions)), network.embedding.weight
    return network.states(ids, padding_mask(ids, 0), ids), network.projection.weight


def _steps(train: TrainConfig, seconds: float) -> tuple[float, str]:
    """How many steps there will be, and which limit says so."""
    epoch = _n_tokens(train) / train.batch_tokens
    limits = {
        "(--steps)": train.steps,
        f"(--epochs, of about {epoch:,.0f} steps)": None if train.epochs is None else train.epochs * max(1.0, epoch),
        "(--minutes)": None if train.minutes is None else train.minutes * 60 / seconds,
    }
    found = {reason: limit for reason, limit in limits.items() if limit is not None}
    reason = min(found, key=lambda name: found[name])
    return max(1.0, found[reason]), reason


def _n_tokens(train: TrainConfig) -> float:
    """Tokens of a pass over the text, a side, by the size of the files."""
    if isinstance(train, TextConfig):
        return sum(map(_text_bytes, (*train.text, *train.pairs))) / BYTES_PER_TOKEN
    assert isinstance(train, TranslationConfig)
    sizes = (source.weight * sum(map(_text_bytes, source.paths)) / 2 for source in preparation.sources_of(train))
    return sum(sizes) / BYTES_PER_TOKEN


def _text_bytes(path: str) -> float:
    return Path(path).stat().st_size * (COMPRESSION if Path(path).suffix in FORMATS else 1)


def _words(seconds: float) -> str:
    """A duration as a person would say it."""
    for unit, size in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} seconds"
