"""Divergence: gradients that are not finite, and a loss that rises."""

import dataclasses

from heed.transformer.training.runs.checkpoint import Progress

SMOOTHED = 100  # steps that the running mean of the loss remembers
FIRST = 20  # steps before its minimum counts: a batch or two may be far easier than the rest of the text
MARGIN = 1.0  # nats per token that the mean may exceed its minimum; hard batches of an epoch move it by tenths
SKIPS = 5  # consecutive steps without a finite gradient before training rolls back
ROLLBACKS = 3  # maximum number of rollbacks
SLOWER = 0.5  # factor of the learning rate at each rollback


def followed(progress: Progress, nll: float) -> Progress:
    """Progress after a step with this negative log-likelihood per token, in nats."""
    before, share = progress.trend, 1 / max(1, min(progress.step, SMOOTHED))
    trend = nll if before is None else (1 - share) * before + share * nll
    lowest = progress.lowest
    if progress.step >= FIRST:
        lowest = trend if lowest is None else min(lowest, trend)
    return dataclasses.replace(progress, trend=trend, lowest=lowest, n_skipped=0)


def skipped(progress: Progress) -> Progress:
    """Progress after a step that was skipped, because its gradient was not finite."""
    return dataclasses.replace(progress, n_skipped=progress.n_skipped + 1)


def is_lost(progress: Progress) -> bool:
    """Whether training has diverged and must roll back."""
    if progress.n_skipped >= SKIPS:
        return True
    return progress.trend is not None and progress.lowest is not None and progress.trend > progress.lowest + MARGIN


def gone_back(progress: Progress, earlier: Progress) -> Progress:
    """Progress after a rollback to an earlier checkpoint; it continues with the text that comes next."""
    return dataclasses.replace(
        earlier,
        epoch=progress.epoch,
        batch=progress.batch,
        share=progress.share,
        seconds=progress.seconds,
        n_rollbacks=progress.n_rollbacks + 1,
    )


def slowed(progress: Progress) -> float:
    """The factor of the learning rate after rollbacks."""
    return SLOWER**progress.n_rollbacks
