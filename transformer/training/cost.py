"""The cost of training: floating-point operations and memory."""

import math
import time

import torch

from heed.models.spec.network import NetworkSpec
from heed.models.spec.parameters import parameters
from heed.models.spec.stack import StackSpec
from heed.transformer.kernels.linear import product

# Peak dense bfloat16 operations per second from data sheets, by a part of the device's name.
PEAKS = {"H100": 989e12, "H200": 989e12, "A100": 312e12, "L40S": 362e12, "L4": 121e12, "4090": 165e12}
PROBE = 1024  # size of the matrix product that measures other devices
OF_MEMORY = ("cross_attention.key.weight", "cross_attention.value.weight")  # computed once for each source token


def step_flops(spec: NetworkSpec, n_src: int, n_tgt: int, n_rows: int) -> float:
    """Operations of a training step: two for each weight and token in the forward pass, twice as many in the backward.

    Embeddings, norms and softmax are not counted, as usual (Kaplan et al., 2020, section 2.1); attention's products
    with all keys are counted, assuming rows of similar length.

    Args:
        spec: The network.
        n_src: Number of tokens that the encoder reads, without padding.
        n_tgt: Number of tokens that the decoder reads.
        n_rows: Number of pairs, or of rows of text.
    """
    n_tokens = {"encoder": n_src, "decoder": n_tgt}
    products = 0.0
    for name, shape in parameters(spec).items():
        stack = name.partition(".")[0]
        if len(shape) == 2 and ".layers." in name:
            products += math.prod(shape) * (n_src if name.endswith(OF_MEMORY) else n_tokens[stack])
    for stack, of in spec.stacks.items():
        crossed = n_src if stack == "decoder" else 0  # 0, too, without an encoder
        own = n_tokens[stack] if of.recurrence is None else 0
        per_row = (own + crossed) / max(n_rows, 1)
        products += 2 * of.n_layers * of.attention.d_heads * n_tokens[stack] * per_row
    last, of = list(spec.stacks.items())[-1]
    return 6.0 * (products + of.vocab_size * spec.d_model * n_tokens[last])


def peak_flops(device: torch.device, precision: torch.dtype) -> float:
    """Peak operations per second of a device: from its data sheet, or measured with a large matrix product."""
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
        known = next((peak for part, peak in PEAKS.items() if part in name), None)
        if known is not None and precision == torch.bfloat16:
            return known
    a, b = (torch.ones(PROBE, PROBE, device=device, dtype=precision) for _ in range(2))
    best = float("inf")
    for _ in range(4):  # the first call is slow: it allocates memory and chooses a kernel
        begin = time.perf_counter()
        product(a, b)[0, 0].item()
        best = min(best, time.perf_counter() - begin)
    return 2 * PROBE**3 / best


def training_bytes(n_parameters: int) -> int:
    """Memory of weights, gradients and Adam's two moments in float32, in bytes."""
    return 16 * n_parameters


def activation_bytes(spec: NetworkSpec, n_tokens: int, precision: torch.dtype) -> int:
    """Approximate memory of the activations kept for the backward pass, in bytes.

    For each sub-layer: its input, the normalized input and what dropout keeps, each as wide as the network or its
    feed-forward layer. Attention matrices are not kept (or are small, for sentences).

    Args:
        spec: The network.
        n_tokens: Number of tokens per side computed at a time.
        precision: Of products.
    """
    width = 2 if precision == torch.bfloat16 else 4
    crosses = {"encoder": False, "decoder": spec.encoder is not None}
    return n_tokens * sum(_layer_bytes(spec, stack, width, crosses[name]) for name, stack in spec.stacks.items())


def _layer_bytes(spec: NetworkSpec, stack: StackSpec, width: int, crosses: bool) -> int:
    """Of all layers of a stack, a token."""
    D, heads, feed = spec.d_model, stack.attention, stack.feed_forward
    attention = (D + 2 * heads.d_heads + 2 * heads.d_kv_heads) * width + 8 * D  # residuals and norms stay in float32
    inner = (3 if feed.gated else 2) * feed.d_ff * width + 8 * D
    return stack.n_layers * (attention * (2 if crosses else 1) + inner)
