"""Whether training still learns: gradients that are no numbers, and a loss that runs away."""

import dataclasses

from heed.transformer.training.runs.checkpoint import Progress

SMOOTHING = 0.99  # how much of the running mean of the loss stays in a step
MARGIN = 1.0  # nats a token that the mean may stand above its lowest; an epoch's hard batches move it by tenths
SKIPS = 5  # steps in a row without a usable gradient, after which training goes back
ROLLBACKS = 3  # how often it goes back before it gives up
SLOWER = 0.5  # times the learning rate, each time


def followed(progress: Progress, nll: float) -> Progress:
    """Progress after a step whose negative log-likelihood of a token, in nats, was this."""
    trend = nll if progress.trend is None else SMOOTHING * progress.trend + (1 - SMOOTHING) * nll
    lowest = trend if progress.lowest is None else min(progress.lowest, trend)
    return dataclasses.replace(progress, trend=trend, lowest=lowest, n_skipped=0)


def skipped(progress: Progress) -> Progress:
    """Progress after a step that was left out, for its gradient was no number."""
    return dataclasses.replace(progress, n_skipped=progress.n_skipped + 1)


def is_lost(progress: Progress) -> bool:
    """Whether training must go back to where it was good."""
    if progress.n_skipped >= SKIPS:
        return True
    return progress.trend is not None and progress.lowest is not None and progress.trend > progress.lowest + MARGIN


def gone_back(progress: Progress, earlier: Progress) -> Progress:
    """Progress from an earlier checkpoint on: with the text that comes next, and not again with what did the harm."""
    return dataclasses.replace(
        earlier,
        epoch=progress.epoch,
        batch=progress.batch,
        share=progress.share,
        seconds=progress.seconds,
        n_rollbacks=progress.n_rollbacks + 1,
    )


def slowed(progress: Progress) -> float:
    """What the learning rate is multiplied by."""
    return SLOWER**progress.n_rollbacks
