"""An estimate of what a training run would take."""

import math
import time

import torch

from heed.models.spec.network import NetworkSpec
from heed.models.spec.parameters import parameters
from heed.transformer.masks import padding_mask
from heed.transformer.model import Transformer
from heed.transformer.training.cost import activation_bytes, peak_flops, step_flops, training_bytes
from heed.transformer.training.engine import Engine, choose_precision
from heed.transformer.training.objectives.objectives import ComputeSettings, loss_of
from heed.transformer.training.runs.settings import TrainConfig
from heed.transformer.training.tasks import TASKS

PROBE_TOKENS = 2048  # tokens of the batch that measures the speed
BYTES_PER_TOKEN = 4.0  # approximate bytes of text per token, for vocabularies of thousands of pieces
GIB = 1 << 30


def estimate(task_name: str, spec: NetworkSpec, train: TrainConfig, engine: Engine) -> dict[str, str]:
    """Estimate parameters, memory, steps, tokens, operations and time of a run, by name.

    The time is extrapolated from a small batch of random tokens, measured here.

    Args:
        task_name: What the network is to be trained for.
        spec: The network.
        train: How it is to be trained.
        engine: What to compute with.
    """
    task = TASKS[task_name]
    n_parameters = sum(map(math.prod, parameters(spec).values()))
    precision, row_length = choose_precision(train.precision, engine.device), task.row_length(spec)
    flops = _flops(spec, train.batch_tokens, row_length)
    speed = engine.processes.size * _flops_per_second(spec, row_length, engine, precision)
    epoch = task.n_bytes(train) / BYTES_PER_TOKEN / train.batch_tokens
    n_steps, reason = _steps(train, epoch, flops / speed)
    part = train.batch_tokens // (engine.processes.size * engine.accumulate)
    state = training_bytes(n_parameters) + (4 * n_parameters if train.ema else 0)
    shared = engine.processes.size if engine.sharded else 1
    share = speed / (engine.processes.size * peak_flops(engine.device, precision))
    return {
        "parameters": f"{n_parameters:,}",
        "weights, gradients and moments": f"{state / shared / GIB:.2f} GiB a process",
        "activations": f"about {activation_bytes(spec, part, precision) / GIB:.2f} GiB a process",
        "tokens a step": f"{train.batch_tokens:,} a side, padding included",
        "operations a step": f"{flops:.3g}",
        "operations a second": f"{speed:.3g}, {share:.0%} of what {engine.device} can do",
        "steps": f"{n_steps:,.0f} {reason}",
        "tokens in all": f"{n_steps * train.batch_tokens:,.0f} a side",
        "operations in all": f"{n_steps * flops:.3g}",
        "time": f"about {_words(n_steps * flops / speed)}, without validation",
    }


def _flops(spec: NetworkSpec, n_tokens: int, row_length: int) -> float:
    """Operations of a step with this many tokens per side."""
    return step_flops(spec, n_tokens, n_tokens, max(1, n_tokens // row_length))


def _flops_per_second(spec: NetworkSpec, row_length: int, engine: Engine, precision: torch.dtype) -> float:
    """The speed of this device with this network, from the best of three small steps."""
    network = Transformer(spec).to(engine.device)
    shape = max(1, PROBE_TOKENS // row_length), row_length
    ids = torch.randint(1, min(len(network.output_weight), 1000), shape, device=engine.device)
    best = float("inf")
    for _ in range(3):
        begin = time.perf_counter()
        with ComputeSettings(engine.device, precision).autocast():
            states = network.states(ids, padding_mask(ids, 0), ids)
            loss, _ = loss_of(network, states, ids, ignored=0, label_smoothing=0.1)
        loss.backward()
        loss.item()  # synchronizes with a GPU
        best = min(best, time.perf_counter() - begin)
    return _flops(spec, ids.numel(), row_length) / best


def _steps(train: TrainConfig, epoch: float, seconds: float) -> tuple[float, str]:
    """How many steps there will be, and which limit says so, given the steps of an epoch and the seconds of a step."""
    limits = {
        "(--steps)": train.steps,
        f"(--epochs, of about {epoch:,.0f} steps)": None if train.epochs is None else train.epochs * max(1.0, epoch),
        "(--minutes)": None if train.minutes is None else train.minutes * 60 / seconds,
    }
    found = {reason: limit for reason, limit in limits.items() if limit is not None}
    reason = min(found, key=lambda name: found[name])
    return max(1.0, found[reason]), reason


def _words(seconds: float) -> str:
    """A duration in words."""
    for unit, size in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} seconds"
