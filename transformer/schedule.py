"""The learning rate of a step (section 5.3, equation 3)."""


def learning_rate(step: int, *, d_model: int, warmup: int) -> float:
    """d_model^-0.5 · min(step^-0.5, step · warmup^-1.5): a linear rise, then decay by the root of the step.

    Args:
        step: Counted from 1.
        d_model: Width of the network.
        warmup: Steps until the peak.
    """
    return float(d_model**-0.5 * min(step**-0.5, step * warmup**-1.5))
