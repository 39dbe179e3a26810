"""Which of Keras's precision policies is fast on the machine at hand."""

import tensorflow as tf

from tf_seq2seq.layers.precision import product_seconds

# (rows, width in, width out) of one LSTM step and of the vocabulary's projection
_PRODUCTS = [(64, 512, 1024), (512, 256, 5000)]
_MARGIN = 1.15  # weights and logits are cast at every step, which costs part of what the products save


def fastest_policy():
    """Names the policy to give `keras.config.set_dtype_policy`.

    On a CPU it times matrix products of a recurrent model's sizes in both types (well under half a second):
    the same bfloat16 product that runs twice as fast with AVX-512 BF16 or AMX instructions runs several times
    slower without them. On a GPU it goes by the compute capability: tensor cores multiply bfloat16 from 8.0
    on, float16 from 7.0 on (after NVIDIA's mixed-precision guide; not measured here).

    >>> fastest_policy() in ("float32", "mixed_bfloat16", "mixed_float16")
    True

    Returns:
        ``"float32"``, ``"mixed_bfloat16"`` or ``"mixed_float16"``.

    Source:
        Micikevicius et al. 2018, Mixed Precision Training; Kalamkar et al. 2019, A Study of BFLOAT16.
    """
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        details = tf.config.experimental.get_device_details(gpus[0])
        return gpu_policy(details.get("compute_capability", (0, 0)))
    seconds = {dtype: product_seconds(dtype, _PRODUCTS) for dtype in ("bfloat16", "float32")}
    return "mixed_bfloat16" if seconds["bfloat16"] * _MARGIN < seconds["float32"] else "float32"


def gpu_policy(compute_capability):
    """Policy for a GPU, by its compute capability.

    >>> [gpu_policy(capability) for capability in [(6, 1), (7, 5), (8, 0), (9, 0)]]
    ['float32', 'mixed_float16', 'mixed_bfloat16', 'mixed_bfloat16']

    Args:
        compute_capability: pair (major, minor).

    Returns:
        name of the policy.
    """
    if compute_capability >= (8, 0):
        return "mixed_bfloat16"
    return "mixed_float16" if compute_capability >= (7, 0) else "float32"
