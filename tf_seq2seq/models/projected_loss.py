"""Projection to the vocabulary and its cross-entropy in one piece: most of a training step's work, and of its memory.

Shapes: **M** real tokens, **D** feature size, **V** vocabulary, **W** V rounded up to whole blocks.
"""

import tensorflow as tf

from tf_seq2seq.layers.affine import affine

BLOCK = 64  # columns; matrix units work in tiles, and are slow at the edges of a product that is no multiple of them
NEVER = -30000.0  # bias of columns that are no token; finite in float16, and exp(x - max) is 0 in float32
FAINT = 1e-30  # a probability whose logarithm float32 still knows well


def projected_cross_entropy(features, kernel, bias, labels, label_smoothing=0.0):
    """Cross-entropy of real tokens from features, without one pass over the logits that can be spared.

    ::

        z = features kernel' + bias                     p = softmax(z)
        nll  = -log p(y)
        loss = nll + eps (z(y) - mean_v z(v))           as `token_cross_entropy` has it
        g = p - q                                       d loss / d z, rounded to the features' dtype
        d features = u (g kernel)        d kernel = g' (u features)        d bias = g' u

    u is what comes from above, a number a token: it scales features in place of logits. So of (M, V) there are a
    product, a bias, a softmax, a maximum and g; in bfloat16 the product has W columns, those that are no token have
    the bias `NEVER` and so the probability 0.

    >>> features, kernel = tf.ones([2, 3]), tf.zeros([5, 3])
    >>> loss, nll, right = projected_cross_entropy(features, kernel, tf.zeros([5]), tf.constant([4, 1]))
    >>> [round(float(one), 4) for one in loss], right.numpy().tolist()  # log 5
    ([1.6094, 1.6094], [True, True])

    Args:
        features: (M, D) floating: the products run in its dtype, softmax and loss in float32.
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

    @tf.custom_gradient
    def losses(features, kernel, bias):
        columns, shift = _blocks(kernel, bias, dtype)
        if dtype == tf.float32:
            logits = affine(features, columns, shift, transpose=True)
        else:  # a fused bias makes oneDNN's product several times slower
            logits = tf.cast(tf.matmul(features, columns, transpose_b=True), tf.float32) + shift
        p, top, found = tf.nn.softmax(logits), tf.reduce_max(logits, axis=-1), tf.gather_nd(logits, at_label)
        chance = tf.gather_nd(p, at_label)
        nll = _log_sum(p, top, found, chance) - found
        loss = nll + eps * (found - _mean_logit(features, kernel, bias)) if eps else nll

        def gradient(upstream, *_):
            g = tf.cast(p - eps / size if eps else p, dtype)
            own = chance - (1.0 - eps) - eps / size  # not a difference of rounded numbers
            g = tf.tensor_scatter_nd_update(g, at_label, tf.cast(own, dtype))  # (M, W)
            by = tf.cast(upstream, dtype)[:, None]
            d_kernel = tf.matmul(g, features * by, transpose_a=True)  # (W, D)
            d_bias = tf.matmul(by, g, transpose_a=True)  # (1, W)
            return (
                tf.matmul(g, columns) * by,
                tf.cast(d_kernel[:size], kernel.dtype),
                tf.cast(d_bias[0, :size], bias.dtype),
            )

        return (loss, nll, found >= top), gradient

    loss, nll, right = losses(features, tf.convert_to_tensor(kernel), tf.convert_to_tensor(bias))
    return loss, tf.stop_gradient(nll), right


def _blocks(kernel, bias, dtype):
    """Kernel (W, D) of a dtype and bias (W,) float32; W is V in float32, whose products know no tiles."""
    size = kernel.shape[0]
    more = 0 if dtype == tf.float32 else -size % BLOCK
    kernel, bias = tf.cast(kernel, dtype), tf.cast(bias, tf.float32)
    if not more:
        return kernel, bias
    return tf.pad(kernel, [[0, more], [0, 0]]), tf.pad(bias, [[0, more]], constant_values=NEVER)


def _log_sum(p, top, found, chance):
    """log sum exp of the logits, from the label's; from the largest if a label's probability is next to nothing."""
    known = tf.reduce_all(chance > FAINT)
    return tf.cond(
        known,
        lambda: found - tf.math.log(chance),
        lambda: top - tf.math.log(tf.reduce_max(p, axis=-1)),
    )


def _mean_logit(features, kernel, bias):
    """The mean over the vocabulary of each token's logits, (M,) float32, as one product with the mean vector."""
    features, kernel, bias = (tf.cast(one, tf.float32) for one in (features, kernel, bias))
    mean = tf.matmul(tf.fill([1, kernel.shape[0]], 1.0 / kernel.shape[0]), kernel)  # (1, D)
    return tf.matmul(features, mean, transpose_b=True)[:, 0] + tf.reduce_mean(bias)
