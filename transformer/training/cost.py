"""What a network costs to train: floating-point operations and memory."""

import math
import time

import torch

from heed.models.spec.network import NetworkSpec
from heed.models.spec.parameters import parameters
from heed.models.spec.stack import StackSpec
from heed.transformer.kernels.linear import product

# Dense bfloat16 products a second as the makers' data sheets have them, by a part of the device's name.
PEAKS = {"H100": 989e12, "H200": 989e12, "A100": 312e12, "L40S": 362e12, "L4": 121e12, "4090": 165e12}
PROBE = 1024  # rows and columns of the product by which other devices are measured
OF_MEMORY = ("cross_attention.key.weight", "cross_attention.value.weight")  # computed once for each source token


def step_flops(spec: NetworkSpec, n_src: int, n_tgt: int, n_rows: int) -> float:
    """Operations of a training step: two for each weight and token forwards, twice as many backwards.

    Embeddings, norms and softmax are left out, as is usual (Kaplan et al., 2020, section 2.1); attention's products
    with all keys are counted, for rows of about equal length.

    Args:
        spec: The network.
        n_src: Tokens of the step that the encoder reads and that are no padding, over all rows.
        n_tgt: Tokens that the decoder reads.
        n_rows: Pairs, or rows of text.
    """
    n_tokens = {"encoder": n_src, "decoder": n_tgt}
    products = 0.0
    for name, shape in parameters(spec).items():
        stack = name.partition(".")[0]
        if len(shape) == 2 and ".layers." in name:
            products += math.prod(shape) * (n_src if name.endswith(OF_MEMORY) else n_tokens[stack])
    for stack, of in spec.stacks.items():
        crossed = n_src if stack == "decoder" else 0  # 0, too, without an encoder
        per_row = (n_tokens[stack] + crossed) / max(n_rows, 1)
        products += 2 * of.n_layers * of.attention.d_heads * n_tokens[stack] * per_row
    last, of = list(spec.stacks.items())[-1]
    return 6.0 * (products + of.vocab_size * spec.d_model * n_tokens[last])


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


def activation_bytes(spec: NetworkSpec, n_tokens: int, precision: torch.dtype) -> int:
    """Memory of what a step keeps for its backward pass, about.

    Of each layer's sub-layers the inputs, the normalized ones and what dropout keeps, each as wide as the network or
    its feed-forward part; attention's own matrices are not kept (or small, for sentences).

    Args:
        spec: The network.
        n_tokens: Of a side, computed at a time.
        precision: Of products.
    """
    width = 2 if precision == torch.bfloat16 else 4
    crosses = {"encoder": False, "decoder": spec.encoder is not None}
    return n_tokens * sum(_layer_bytes(spec, stack, width, crosses[name]) for name, stack in spec.stacks.items())


def _layer_bytes(spec: NetworkSpec, stack: StackSpec, width: int, crosses: bool) -> int:
    """Of all layers of a stack, a token."""
    D, heads, feed = spec.d_model, stack.attention, stack.feed_forward
    attention = (D + 2 * heads.d_heads + 2 * heads.d_kv_heads) * width + 8 * D  # residuals and norms are in float32
    inner = (3 if feed.gated else 2) * feed.d_ff * width + 8 * D
    return stack.n_layers * (attention * (2 if crosses else 1) + inner)
