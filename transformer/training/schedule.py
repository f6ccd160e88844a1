"""Learning-rate schedules."""

import math


def learning_rate(step: int, *, d_model: int, warmup: int) -> float:
    """The paper's schedule (section 5.3, equation 3): linear warmup, then decay with the root of the step.

    It is d_model^-0.5 · min(step^-0.5, step · warmup^-1.5).

    Args:
        step: Counted from 1.
        d_model: Width of the network.
        warmup: Steps until the peak.
    """
    return float(d_model**-0.5 * min(step**-0.5, step * warmup**-1.5))


def cosine(step: int, share_done: float, *, warmup: int) -> float:
    """Linear warmup to 1, then half a cosine down to a tenth at the end (Brown et al., 2020, appendix B).

    Args:
        step: Counted from 1.
        share_done: Share of training that is done, from 0 to 1.
        warmup: Steps until the peak.
    """
    fall = 0.1 + 0.45 * (1 + math.cos(math.pi * min(share_done, 1.0)))
    return min(step / warmup, 1.0) * fall
