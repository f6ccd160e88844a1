"""What a network costs to train: floating-point operations and memory."""

import time

import torch

from heed.models.spec.config import LanguageModelConfig, ModelConfig
from heed.transformer.kernels.linear import product

# Dense bfloat16 products a second as the makers' data sheets have them, by a part of the device's name.
PEAKS = {"H100": 989e12, "H200": 989e12, "A100": 312e12, "L40S": 362e12, "L4": 121e12, "4090": 165e12}
PROBE = 1024  # rows and columns of the product by which other devices are measured


def translation_flops(config: ModelConfig, n_src: int, n_tgt: int, n_pairs: int) -> float:
    """Operations of a training step: two for each weight and token forwards, twice as many backwards.

    Embeddings, norms and softmax are left out, as is usual (Kaplan et al., 2020, section 2.1); attention's products
    with all keys are counted, for pairs of about equal length.

    Args:
        config: The network's.
        n_src: Source tokens of the step that are no padding, over all its pairs.
        n_tgt: Target tokens.
        n_pairs: Pairs.
    """
    D, F = config.d_model, config.d_ff
    attention, feed = 4 * D * D, 2 * D * F
    of_src = config.n_layers * (attention + feed + 2 * D * D)  # the last: keys and values of the memory
    of_tgt = config.n_layers * (attention + 2 * D * D + feed) + D * config.tgt_vocab_size
    src, tgt = n_src / max(n_pairs, 1), n_tgt / max(n_pairs, 1)
    products = 2 * D * config.n_layers * (n_src * src + n_tgt * tgt + n_tgt * src)
    return 6.0 * (of_src * n_src + of_tgt * n_tgt + products)


def text_flops(config: LanguageModelConfig, n_tokens: int, n_rows: int) -> float:
    """Operations of a training step of a language model; see `translation_flops`."""
    D = config.d_model
    d_kv = D * config.n_kv_heads // config.n_heads
    feed = (3 if config.activation == "swiglu" else 2) * D * config.d_ff
    weights = config.n_layers * (2 * D * D + 2 * D * d_kv + feed) + D * config.vocab_size
    return 6.0 * (weights * n_tokens + 2 * D * config.n_layers * n_tokens * n_tokens / max(n_rows, 1))


def peak_flops(device: torch.device, precision: torch.dtype) -> float:
    """Operations a second that a device can do: by its maker, or else as a large matrix product reaches here."""
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
        known = next((peak for part, peak in PEAKS.items() if part in name), None)
        if known is not None and precision == torch.bfloat16:
            return known
    a, b = (torch.ones(PROBE, PROBE, device=device, dtype=precision) for _ in range(2))
    best = float("inf")
    for _ in range(4):  # the first is slow: it finds memory and a kernel
        begin = time.perf_counter()
        product(a, b)[0, 0].item()
        best = min(best, time.perf_counter() - begin)
    return 2 * PROBE**3 / best


def training_bytes(n_parameters: int) -> int:
    """Memory of weights, gradients and Adam's two moments, in float32."""
    return 16 * n_parameters


def activation_bytes(config: ModelConfig | LanguageModelConfig, n_tokens: int, precision: torch.dtype) -> int:
    """Memory of what a step keeps for its backward pass, about.

    Of each layer's sub-layers the inputs, the normalized ones and what dropout keeps, each as wide as the network or
    its feed-forward part; attention's own matrices are not kept (or small, for sentences).

    Args:
        config: The network's.
        n_tokens: Of a side, computed at a time.
        precision: Of products.
    """
    width = 2 if precision == torch.bfloat16 else 4
    D, F = config.d_model, config.d_ff
    self_attention, feed = 5 * D * width + 8 * D, 2 * F * width + 8 * D  # residuals and norms are in float32
    layer = self_attention + feed
    if isinstance(config, ModelConfig):
        layer += layer + self_attention  # an encoder's and a decoder's, with attention to the memory
    return n_tokens * config.n_layers * layer
