"""The product that nearly all of the work is: x W + b, as one matrix product whatever the rank of x."""

import tensorflow as tf


def affine(inputs, kernel, bias=None, transpose=False):
    """Computes ``inputs @ kernel + bias`` in the dtype of `inputs`.

    Leading axes are folded into rows first: a plain product and a plain bias gradient are far faster on a CPU than
    their broadcasting forms.

    >>> affine(tf.ones([2, 3, 4]), tf.ones([4, 5]), tf.ones([5])).shape
    TensorShape([2, 3, 5])

    Args:
        inputs: (..., E) floating.
        kernel: (E, U), or (U, E) with `transpose`.
        bias: (U,) or None.
        transpose: whether the kernel is read transposed, e.g. an embedding tied to the projection.

    Returns:
        (..., U) in the dtype of `inputs`.
    """
    kernel, rows = tf.cast(kernel, inputs.dtype), inputs
    if len(inputs.shape) != 2:
        rows = tf.reshape(inputs, [-1, inputs.shape[-1]])  # (..., E) -> (R, E)
    product = tf.matmul(rows, kernel, transpose_b=transpose)
    if inputs.dtype == tf.float32:  # beside the product TensorFlow fuses it, which in bfloat16 is far slower
        product = _biased(product, bias)
    if len(inputs.shape) != 2:
        leading = [
            size if size is not None else tf.shape(inputs)[axis]
            for axis, size in enumerate(inputs.shape[:-1])
        ]
        product = tf.reshape(product, [*leading, product.shape[-1]])  # (R, U) -> (..., U)
    return product if inputs.dtype == tf.float32 else _biased(product, bias)


def _biased(product, bias):
    return product if bias is None else tf.nn.bias_add(product, tf.cast(bias, product.dtype))
