"""Projection to the vocabulary and its cross-entropy in one piece: most of a training step's work, and of its memory.

Shapes: **M** real tokens, **D** feature size, **V** vocabulary. In 16 bits both are rounded up (`_rounded`), to **R** rows
and **W** columns.
"""

import tensorflow as tf

from tf_seq2seq.layers.affine import TILE, affine, bias_within

LARGEST = 2**31 - 1  # values that an int32 can count
NEVER = -30000.0  # bias of columns that are no token; finite in float16, and exp(x - max) is 0 in float32
FAINT, FAINT_IN_FLOAT16 = 1e-30, 1e-4  # probabilities whose logarithms are still known well


def projected_cross_entropy(features, kernel, bias, labels, label_smoothing=0.0):
    """Cross-entropy of real tokens from features, without one pass over the logits that can be spared.

    ::

        z = features kernel' + bias                     p = softmax(z)
        nll  = -log p(y)
        loss = nll + eps (z(y) - mean_v z(v))           as `token_cross_entropy` has it
        g = p - q                                       d loss / d z
        d features = u (g kernel)        d kernel = g' (u features)        d bias = g' u

    u is what comes from above, a number a token: it scales features in place of logits. So of (M, V) there are a
    product, a softmax, a maximum and g. In bfloat16 and float16, z, p and g are kept in that dtype, and the bias is
    part of the products: two more columns, of ones, of the features. A probability then is known to one part in 500,
    and so the loss of a token to 0.002 nats, which is less than what rounding its logit does.

    >>> features, kernel = tf.ones([2, 3]), tf.zeros([5, 3])
    >>> loss, nll, right = projected_cross_entropy(features, kernel, tf.zeros([5]), tf.constant([4, 1]))
    >>> [round(float(one), 4) for one in loss], right.numpy().tolist()  # log 5
    ([1.6094, 1.6094], [True, True])

    Args:
        features: (M, D) floating: products and softmax run in its dtype and sum in float32.
        kernel: (V, D) floating, a vector a token; float32 in training.
        bias: (V,), likewise.
        labels: (M,) int32, none of them PAD.
        label_smoothing: eps, in [0, 1).

    Returns:
        loss and nll, (M,) float32, nats, and right, (M,) bool: whether no token is likelier than the label. Only `loss`
        has a gradient.
    """
    eps, dtype, size = label_smoothing, features.dtype, kernel.shape[0]
    at_label = tf.stack([tf.range(tf.shape(labels)[0]), labels], axis=1)
    projected = _projected if dtype == tf.float32 else _rounded

    @tf.custom_gradient
    def losses(features, kernel, bias):
        logits, gradients = projected(features, kernel, bias)  # (R, W)
        p, top = tf.nn.softmax(logits), _maximum(logits)[: tf.shape(labels)[0]]
        found, chance = (tf.cast(tf.gather_nd(one, at_label), tf.float32) for one in (logits, p))
        nll = _surprise(p, top, found, chance)
        loss = nll + eps * (found - _mean_logit(features, kernel, bias)) if eps else nll

        def gradient(upstream, *_):
            own = tf.cast(chance - (1.0 - eps) - eps / size, dtype)
            with tf.control_dependencies([nll]):  # the last reader of p
                g = _replaced(p - eps / size if eps else p, at_label, own)
            found = gradients(g, tf.cast(upstream, dtype)[:, None])
            return tuple(tf.cast(one, given.dtype) for one, given in zip(found, (features, kernel, bias)))

        return (loss, nll, found >= top), gradient

    loss, nll, right = losses(features, tf.convert_to_tensor(kernel), tf.convert_to_tensor(bias))
    return loss, tf.stop_gradient(nll), right


def _projected(features, kernel, bias):
    """Logits (M, V), and what makes (g (M, V), u (M, 1)) the gradients of features, kernel and bias; in float32."""
    kernel, bias = tf.cast(kernel, tf.float32), tf.cast(bias, tf.float32)

    def gradients(g, by):
        d_kernel = tf.matmul(g, features * by, transpose_a=True)  # (V, D)
        return tf.matmul(g, kernel) * by, d_kernel, tf.matmul(by, g, transpose_a=True)[0]

    return affine(features, kernel, bias, transpose=True), gradients


def _rounded(features, kernel, bias):
    """`_projected` in the dtype of the features, with R rows and W columns.

    A sum of products is made a whole number of tiles long. A row of logits is made an odd number of cache lines long, so
    that a column's tile does not lie in a few sets of the cache. The bias is two columns of the kernel, what its first
    rounding leaves being the second. Beside the product it would be a pass over the logits, its gradient another product;
    a bias that TensorFlow fuses makes oneDNN's product several times slower.
    """
    dtype, (size, width), rows = features.dtype, kernel.shape, tf.shape(features)[0]
    columns = (-(-size // TILE) | 1) * TILE - size  # 32 values of 16 bits are a cache line, too
    first = tf.cast(bias, dtype)
    second = tf.cast(tf.cast(bias, tf.float32) - tf.cast(first, tf.float32), dtype)
    whole = lambda x: tf.pad(x, [[0, -rows % TILE], [0, 0]])  # (M, ...) -> (R, ...)
    features, kernel = bias_within(
        whole(features), tf.cast(kernel, dtype), [first, second], transpose=True
    )  # D + 2 and more columns
    never = tf.pad(
        tf.fill([columns, 1], tf.constant(NEVER, dtype)), [[0, 0], [width, kernel.shape[1] - width - 1]]
    )
    kernel = tf.concat([kernel, never], axis=0)  # (V, ...) -> (W, ...)

    def gradients(g, by):
        both = tf.matmul(g, features * whole(by), transpose_a=True)  # (W, D + 2 and more)
        return tf.matmul(g, kernel)[:rows, :width] * by, *_parts(both, size, width)

    return tf.matmul(features, kernel, transpose_b=True), gradients


@tf.function(jit_compile=True, autograph=False)
def _parts(both, size, width):
    """Gradients of kernel and bias, float32, in one pass over their product."""
    both = tf.cast(both[:size, : width + 1], tf.float32)
    return both[:, :width], both[:, width]


def _maximum(logits):
    """The largest of each row, (R, W) -> (R,) float32; TensorFlow's own takes four times as long in bfloat16 as pooling."""
    if logits.dtype == tf.float32:
        return tf.reduce_max(logits, axis=-1)
    lines = logits.shape[-1] // TILE
    pooled = tf.nn.max_pool(tf.reshape(logits, [-1, lines, 1, TILE]), [lines, 1], 1, padding="VALID")
    return tf.reduce_max(tf.cast(pooled, tf.float32), axis=[1, 2, 3])


def _replaced(values, places, new):
    """(R, W) with a number at each of the places (M, 2), in the memory of `values`, which nobody may read any more.

    A scatter would copy all of it first, a hundredth of a training step.
    """
    size, width = tf.size(values, tf.int64), tf.shape(values)[1]

    def in_place():
        flat = places[:, 0] * width + places[:, 1]
        column = tf.reshape(values, [-1, 1])
        return tf.reshape(tf.raw_ops.InplaceUpdate(x=column, i=flat, v=new[:, None]), tf.shape(values))

    return tf.cond(size <= LARGEST, in_place, lambda: tf.tensor_scatter_nd_update(values, places, new))


def _surprise(p, top, found, chance):
    """-log p(y); by the largest logit if a label's probability is next to nothing."""
    faint = FAINT_IN_FLOAT16 if p.dtype == tf.float16 else FAINT
    return tf.cond(
        tf.reduce_all(chance > faint),
        lambda: -tf.math.log(chance),
        lambda: top - found - tf.math.log(tf.reduce_max(tf.cast(p, tf.float32), axis=-1)),
    )


def _mean_logit(features, kernel, bias):
    """The mean over the vocabulary of each token's logits, (M,) float32, as one product with the mean vector."""
    features, kernel, bias = (tf.cast(one, tf.float32) for one in (features, kernel, bias))
    mean = tf.matmul(tf.fill([1, kernel.shape[0]], 1.0 / kernel.shape[0]), kernel)  # (1, D)
    return tf.matmul(features, mean, transpose_b=True)[:, 0] + tf.reduce_mean(bias)
