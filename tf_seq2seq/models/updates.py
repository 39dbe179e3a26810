"""Applying a gradient to the weights: once for all replicas, fused by XLA, and never if it is not finite."""

import keras
import tensorflow as tf

from tf_seq2seq.models.gradients import clipped


def update(optimizer, gradients, weights, jit=True):
    """Moves the weights by one step of a Keras optimizer, unless the gradient holds a NaN or an infinity.

    The gradient's norm and the update are one function each that XLA fuses, which halves the time that Adam takes on a
    CPU. Under a strategy of `tf.distribute` a Keras optimizer clips each replica's gradient and sums the results; as
    the gradients here are global already, they are clipped here and divided by the number of replicas, which leaves
    the optimizer's own clipping nothing to do.

    Args:
        optimizer: a Keras optimizer, built.
        gradients: dense tensors, the same on each replica, times the loss scale.
        weights: the variables, as many.
        jit: whether XLA may compile.

    Returns:
        norm of the gradient before clipping, () float32, and whether the step was made, () bool.
    """
    replicas = tf.distribute.get_replica_context().num_replicas_in_sync
    scale = optimizer.scale_loss(tf.ones([]))
    jit = jit and replicas == 1 and not tf.executing_eagerly() and not tf.distribute.has_strategy()
    fused = _fused if jit else lambda function: function
    norm = fused(lambda *dense: tf.linalg.global_norm(dense))(*gradients) / scale
    finite = tf.math.is_finite(norm)
    if replicas > 1:
        inner = getattr(optimizer, "inner_optimizer", optimizer)
        gradients = [one / replicas for one in clipped(gradients, inner, scale)]
    apply = fused(lambda *dense: optimizer.apply(dense, weights))
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer) or replicas > 1:
        apply(*gradients)  # the first skips the step itself, and lowers its scale
        return norm, finite
    tf.cond(finite, lambda: _done(apply, gradients), lambda: False)
    return norm, finite


def _fused(function):
    return tf.function(function, jit_compile=True, autograph=False)


def _done(apply, gradients):
    apply(*gradients)
    return True
