"""The arithmetic of the training loss, shared by the model's objective and the Keras loss.

Shapes: **V** vocabulary; ``...`` any leading shape, (M,) for M real tokens or (B, T) for a padded batch.
"""

import keras
import tensorflow as tf

from tf_seq2seq.data.vocabulary import PAD


def token_cross_entropy(logits, labels, label_smoothing=0.0):
    """Cross-entropy of each token, against the label and against the smoothed label.

    ::

        nll  = -log p(y)                            p = softmax(logits)
        loss = -sum_v q(v) log p(v)                 q = (1 - eps) [v = y] + eps / V
             = nll + eps (logits(y) - mean_v logits(v))

    One softmax serves both numbers and the gradient, whose formula is written out, because TensorFlow's own kernel of
    the loss takes twice the time on a CPU: log sum exp is max(logits) - log max(p).

    >>> loss, nll = token_cross_entropy([[0.0, 0.0, 0.0, 0.0]], [3], label_smoothing=0.1)
    >>> round(float(loss[0]), 4), round(float(nll[0]), 4)
    (1.3863, 1.3863)

    Args:
        logits: (..., V), any floating dtype.
        labels: (...) int, PAD where there is no token.
        label_smoothing: eps, the share of probability spread over the whole vocabulary, in [0, 1).

    Returns:
        (loss, nll): (...) float32 each, nats, 0 with gradient 0 at PAD; only `loss` carries a gradient.

    Source:
        Szegedy et al. 2016, Rethinking the Inception Architecture for Computer Vision, section 7.
    """
    logits, labels = tf.convert_to_tensor(logits), tf.convert_to_tensor(labels)
    shape = tf.shape(labels)
    width = logits.shape[-1] or tf.shape(logits)[-1]
    logits = tf.reshape(logits, [-1, width])  # (..., V) -> (M, V)
    labels = tf.cast(tf.reshape(labels, [-1]), tf.int32)
    loss, nll = cross_entropy(logits, labels, label_smoothing)
    real = labels != PAD
    return tuple(tf.reshape(tf.where(real, one, 0.0), shape) for one in (loss, tf.stop_gradient(nll)))


def cross_entropy(logits, labels, eps=0.0):
    """`token_cross_entropy` where no token is padding: (M, V), (M,) -> loss with its gradient, nll, (M,) float32."""

    @tf.custom_gradient
    def both(logits):
        exact = tf.cast(logits, tf.float32)
        p = tf.nn.softmax(exact)
        log_sum = tf.reduce_max(exact, axis=-1) - tf.math.log(tf.reduce_max(p, axis=-1))
        label_logits = tf.gather(exact, labels, batch_dims=1)
        nll = log_sum - label_logits
        loss = nll + eps * (label_logits - tf.reduce_mean(exact, axis=-1)) if eps else nll

        def gradient(upstream, _):
            """(p - q) times what comes from above."""
            everywhere = (p - eps / logits.shape[-1] if eps else p) * upstream[:, None]
            at_label = tf.stack([tf.range(tf.shape(labels)[0]), labels], axis=1)
            return tf.cast(
                tf.tensor_scatter_nd_sub(everywhere, at_label, (1.0 - eps) * upstream), logits.dtype
            )

        return (loss, nll), gradient

    return both(logits)


def maximum_likelihood(model, batch, training):
    """The objective of `fit` unless another is given: the sum of the model's loss over real tokens.

    Args:
        model: a `Seq2Seq`; its `loss` is a `SequenceCrossEntropy`, another Keras loss, or None.
        batch: (inputs, labels (B, T) int32, sample weights (B,), (B, T) or None).
        training: whether dropout drops anything.

    Returns:
        (loss_sum, weight_sum, metrics): scalars float32; metrics are "perplexity" (nats) and "accuracy".
    """
    return feature_sums(model, *real_tokens(model, batch, training), training)


def feature_sums(model, features, labels, weight, training):
    """What `maximum_likelihood` gives, from the features of the real tokens however they came about.

    Logits are made only for those who read them: another loss than cross-entropy, metrics given to `compile`, and a
    decoder that has no `cross_entropy` of its own.

    Args:
        model: a compiled `Seq2Seq`.
        features, labels, weight: (M, D), (M,) int32, (M,) float32, from `real_tokens`.
        training: as above.

    Returns:
        (loss_sum, weight_sum, metrics), as an objective has them.
    """
    decoder, eps = model.decoder, label_smoothing_of(model.loss)
    if eps is None or model.has_token_metrics or not hasattr(decoder, "cross_entropy"):
        return _logit_sums(model, decoder.project(features), labels, weight)
    return weighted_sums(*decoder.cross_entropy(features, labels, eps, training), weight)


def label_smoothing_of(loss):
    """Of a `SequenceCrossEntropy`, 0 of None; None for another loss."""
    return 0.0 if loss is None else loss.label_smoothing if hasattr(loss, "of_tokens") else None


def likelihood_sums(model, logits, labels, sample_weight):
    """What `maximum_likelihood` gives, from logits however they came about.

    Args:
        model: a compiled `Seq2Seq`: its loss tells, its metrics see the tokens.
        logits: (M, V) of the real tokens, in the order of ``labels[labels != PAD]``.
        labels: (B, T) int32.
        sample_weight: (B,), (B, T) or None.

    Returns:
        (loss_sum, weight_sum, metrics), as an objective has them.
    """
    real = tf.where(labels != PAD)
    return _logit_sums(model, logits, tf.gather_nd(labels, real), token_weights(sample_weight, real))


def _logit_sums(model, logits, labels, weight):
    losses, nll = _token_losses(model.loss, logits, labels)
    right = tf.gather(logits, labels, batch_dims=1) >= tf.reduce_max(logits, axis=-1)  # cheaper than arg max
    model.update_token_metrics(labels, logits, weight)
    return weighted_sums(losses, nll, right, weight)


def weighted_sums(losses, nll, right, weight):
    """Sums over real tokens, as an objective gives them: loss, nll (M,) float32, right (M,) bool, weight (M,)."""
    total = tf.reduce_sum(weight)
    sums = {
        "perplexity": (tf.reduce_sum(nll * weight), total),
        "accuracy": (tf.reduce_sum(tf.where(right, weight, 0.0)), total),
    }
    return tf.reduce_sum(losses * weight), total, sums


def real_tokens(model, batch, training):
    """What a loss needs of a batch if it makes its logits itself: features (M, D), labels (M,) and weights (M,)."""
    inputs, target_ids = batch[0], batch[0]["target_ids"]
    decode = lambda *parts: model.decoder.features(target_ids, *parts, training)
    features, _ = model(inputs, training=training, decode=decode)
    return among_real(features, batch)


def among_real(features, batch):
    """`real_tokens` of features (B, T, D) that are there already."""
    _, labels, sample_weight = batch
    real = tf.where(labels != PAD)
    return tf.gather_nd(features, real), tf.gather_nd(labels, real), token_weights(sample_weight, real)


def token_weights(sample_weight, real):
    """Weights of the real tokens, (M,) float32, where `real` (M, 2) are their places in (B, T)."""
    if sample_weight is None:
        return tf.ones([tf.shape(real)[0]])
    where = real if len(sample_weight.shape) == 2 else real[:, :1]
    return tf.cast(tf.gather_nd(sample_weight, where), tf.float32)


def _token_losses(loss, logits, labels):
    """Loss and negative log-likelihood of each real token, (M,) float32."""
    if hasattr(loss, "of_tokens"):
        return loss.of_tokens(labels, logits)
    if loss is None:
        return token_cross_entropy(logits, labels)
    _, nll = token_cross_entropy(logits, labels)
    if isinstance(loss, keras.losses.Loss):
        loss = loss.call  # each token's, before the reduction, so that sample weights tell
    losses = loss(labels, tf.cast(logits, tf.float32))
    return tf.broadcast_to(losses, tf.shape(nll)), nll
