"""The product that nearly all of the work is: x W + b, as one matrix product whatever the rank of x."""

import tensorflow as tf

TILE = 32  # of the length of a sum: matrix units work in such tiles


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
        if bias is not None and inputs.dtype.size == 2:
            rows, kernel, bias = *bias_within(rows, kernel, [bias], transpose), None
    product = _biased(tf.matmul(rows, kernel, transpose_b=transpose), bias)
    if len(inputs.shape) != 2:
        leading = [
            size if size is not None else tf.shape(inputs)[axis]
            for axis, size in enumerate(inputs.shape[:-1])
        ]
        product = tf.reshape(product, [*leading, product.shape[-1]])  # (R, U) -> (..., U)
    return product


def bias_within(rows, kernel, biases, transpose=False):
    """Rows and a kernel whose product has a sum of biases in it: columns up to a whole tile, as many of ones as biases.

    In 16 bits TensorFlow's own addition takes half as long as the product, and beside the product it is fused, which is
    slower still; and the bias has its gradient from the kernel's product. A copy of the kernel is small beside the rows of
    a whole sequence, which is why a single step does without.

    >>> rows, kernel = bias_within(tf.ones([2, 3]), tf.ones([3, 5]), [tf.fill([5], 7.0)])
    >>> rows.shape, tf.matmul(rows, kernel)[0].numpy().tolist()
    (TensorShape([2, 32]), [10.0, 10.0, 10.0, 10.0, 10.0])

    Args:
        rows: (R, E) floating.
        kernel: (E, U), or (U, E) with `transpose`, in that dtype.
        biases: list of (U,).
        transpose: as `affine` has it.

    Returns:
        (R, W) and (W, U), or (U, W), where W is E and more.
    """
    more, axis = -(rows.shape[-1] + len(biases)) % TILE, 1 if transpose else 0
    columns = tf.stack([tf.cast(bias, kernel.dtype) for bias in biases], axis)
    padding = [[0, 0], [0, more]]
    columns = tf.pad(columns, padding if transpose else padding[::-1])
    ones = tf.pad(tf.ones_like(rows[:, : len(biases)]), padding)
    return tf.concat([rows, ones], axis=1), tf.concat([kernel, columns], axis)


def _biased(product, bias):
    return product if bias is None else tf.nn.bias_add(product, tf.cast(bias, product.dtype))
