"""How fast the machine at hand multiplies matrices of a type, and which type weights to search with should have."""

import time

import tensorflow as tf

_DECODING = [
    (32, 768, 2048),
    (32, 512, 8000),
]  # (rows, width in, width out): an LSTM's inputs, the projection
_ROUNDS = 5
_MARGIN = 1.1  # states and logits are cast at every step


def fastest_weights():
    """Names the dtype of weights to search with, by measuring (well under half a second on a CPU).

    The same bfloat16 product that runs twice as fast with AVX-512 BF16 or AMX instructions runs several times slower
    without them. A GPU multiplies bfloat16 fast from compute capability 8.0 on (not measured here).

    >>> fastest_weights() in ("float32", "bfloat16")
    True

    Returns:
        ``"float32"`` or ``"bfloat16"``.
    """
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        capability = tf.config.experimental.get_device_details(gpus[0]).get("compute_capability", (0, 0))
        return "bfloat16" if capability >= (8, 0) else "float32"
    seconds = {dtype: product_seconds(dtype, _DECODING) for dtype in ("bfloat16", "float32")}
    return "bfloat16" if seconds["bfloat16"] * _MARGIN < seconds["float32"] else "float32"


def product_seconds(dtype, products):
    """Time of some matrix products.

    Args:
        dtype: ``"float32"`` or ``"bfloat16"``.
        products: list of (rows, width in, width out).

    Returns:
        seconds, the least of five rounds, so that a busy neighbour does not decide.
    """
    operands = [
        (tf.ones((rows, width), dtype), tf.ones((width, out), dtype)) for rows, width, out in products
    ]
    rounds = []
    for _ in range(_ROUNDS + 1):  # the first is the warm-up
        start = time.perf_counter()
        for left, right in operands:
            tf.linalg.matmul(left, right).numpy()
        rounds.append(time.perf_counter() - start)
    return min(rounds[1:])
