"""Products inside a loop over time whose gradient by the kernel is one product after the loop.

A loop that computes ``y_t = known_t + x_t W`` need not add up T gradients of W, each as large as W: with all x_t kept,

::

    dW = sum_t x_t' dy_t = X' dY

and dY is nothing but the gradient of the sequence `known`, which stands outside the loop. So inside of it the product
is `in_loop`, whose gradient goes to x_t only, and `known` goes through `kernels_after`, which gives the kernels theirs.

Shapes: **T** steps, **N** rows, **U** size of what is multiplied, **G** size of the product.
"""

import tensorflow as tf


def in_loop(kernel):
    """Makes the function x (N, U) -> x W (N, G) for a loop; its gradient goes to x alone.

    The gradient's product reads W transposed. In float32 oneDNN is a third slower at that with few rows than at a copy
    that is transposed once, before the loop; in bfloat16 it is faster.

    Args:
        kernel: (U, G), in the dtype of what will be multiplied.

    Returns:
        a function, to be called inside of the loop; this one is called before it.
    """
    kernel = tf.stop_gradient(kernel)
    transposed = tf.transpose(kernel) if kernel.dtype == tf.float32 else None

    @tf.custom_gradient
    def product(inputs):
        def gradient(upstream):
            if transposed is None:
                return tf.matmul(upstream, kernel, transpose_b=True)
            return tf.matmul(upstream, transposed)

        return tf.matmul(inputs, kernel), gradient

    return product


def kernels_after(known, kernels, gradients):
    """Identity on a sequence that a loop adds products to; its gradient is the kernels' gradient, too.

    Args:
        known: (T, N, G).
        kernels: list of tensors that the loop reads without a gradient.
        gradients: function of d known (T, N, G), called after the loop -> a list with the gradient of each kernel.

    Returns:
        (T, N, G).
    """

    @tf.custom_gradient
    def route(known, *kernels):
        def gradient(upstream):
            found = gradients(upstream)
            return upstream, *(tf.cast(one, kernel.dtype) for one, kernel in zip(found, kernels, strict=True))

        return tf.identity(known), gradient

    return route(known, *kernels)


def product_over_time(inputs, gradients):
    """(T, N, U), (T, N, G) -> sum over T and N of the outer products, (U, G)."""
    rows = lambda x: tf.reshape(x, [-1, x.shape[-1]])
    return tf.matmul(rows(inputs), rows(gradients), transpose_a=True)
