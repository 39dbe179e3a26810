"""Cut-offs: which tokens of a distribution are drawn from. Each takes and gives log-probs, -inf where cut.

What is left is renormalised before the next one. In their order, with p the probability of a token::

    top_k      the k likeliest                                                  Fan, Lewis and Dauphin 2018
    top_p      the fewest likeliest that have p together                        Holtzman et al. 2020 ("nucleus")
    typical    the fewest, -log p nearest to the entropy first, that have τ     Meister et al. 2023
    epsilon    those with p >= ε, and the likeliest one                         Hewitt, Manning and Liang 2022

Shapes: **N** rows, **w** tokens.
"""

import tensorflow as tf

from tf_seq2seq.decoding.candidates import NEVER
from tf_seq2seq.errors import InputError


def checked(top_k, top_p, typical, epsilon):
    """The four settings, or InputError for one that cuts everything or cannot cut. Tensors stay as they are."""
    if tf.is_tensor(top_k):
        return top_k, top_p, typical, epsilon
    if top_k is not None and (int(top_k) != top_k or top_k < 1):
        raise InputError(f"top_k is a whole number of at least 1, not {top_k!r}")
    for name, share in {"top_p": top_p, "typical": typical}.items():
        if share is not None and not 0 < share <= 1:
            raise InputError(f"{name} is a share above 0 and at most 1, not {share!r}")
    if epsilon is not None and not 0 <= epsilon < 1:
        raise InputError(f"epsilon is a probability below 1, not {epsilon!r}")
    return top_k, top_p, typical, epsilon


def apply(log_probs, top_k=None, top_p=None, typical=None, epsilon=None):
    """Cuts and renormalises.

    >>> log_probs = tf.math.log([[0.5, 0.3, 0.2]])
    >>> left, ids = apply(log_probs, top_p=0.6)
    >>> tf.exp(left).numpy().round(3).tolist(), ids.numpy().tolist()
    ([[0.625, 0.375, 0.0]], [[0, 1, 2]])

    Args:
        log_probs: (N, W) float32, nats.
        top_k, top_p, typical, epsilon: as above; None for no such cut. As scalar tensors, all of them, a cut is left out
            where it is 0 (`top_k`, `epsilon`) or 1 (`top_p`, `typical`).

    Returns:
        log-probs (N, w) float32 and ids (N, w) int32, in an order of their own; w = min(top_k, W).
    """
    ids = tf.broadcast_to(tf.range(tf.shape(log_probs)[1]), tf.shape(log_probs))
    found = log_probs, ids
    wanted = [_wanted(value, none) for value, none in ((top_k, 0), (top_p, 1), (typical, 1), (epsilon, 0))]
    found = _if(wanted[0] | wanted[1], lambda *one: _likeliest(*one, top_k, wanted[0]), found)
    found = _if(wanted[1], lambda log_probs, ids: (_until(log_probs, top_p), ids), found)
    found = _if(wanted[2], lambda *one: _typical(*one, typical), found)
    return _if(wanted[3], lambda log_probs, ids: (_probable(log_probs, epsilon), ids), found)


def _wanted(value, none):
    """Whether there is such a cut, a bool or a () bool tensor."""
    return value != none if tf.is_tensor(value) else value is not None


def _if(wanted, cut, found):
    """What the cut makes of log-probs and ids, where it is wanted."""
    if tf.is_tensor(wanted):
        return tf.cond(wanted, lambda: cut(*found), lambda: found)
    return cut(*found) if wanted else found


def _likeliest(log_probs, ids, count, counted):
    """The `count` likeliest, or all if they are not counted, by falling log-prob; of all ids in their order."""
    width = tf.shape(log_probs)[1]
    count = width if counted is False else tf.minimum(count, width)
    if tf.is_tensor(counted):
        count = tf.where(counted, count, width)
    log_probs, ids = tf.math.top_k(log_probs, count)
    return tf.nn.log_softmax(log_probs), ids


def _typical(log_probs, ids, share):
    entropy = -tf.reduce_sum(tf.math.multiply_no_nan(log_probs, tf.exp(log_probs)), axis=1, keepdims=True)
    order = tf.argsort(tf.abs(-log_probs - entropy), stable=True)
    log_probs, ids = (tf.gather(field, order, batch_dims=1) for field in (log_probs, ids))
    return _until(log_probs, share), ids


def _probable(log_probs, least):
    likeliest = log_probs == tf.reduce_max(log_probs, axis=1, keepdims=True)
    return tf.nn.log_softmax(tf.where((tf.exp(log_probs) >= least) | likeliest, log_probs, NEVER))


def _until(log_probs, share):
    """The first ones that have the share together, renormalised."""
    before = tf.cumsum(tf.exp(log_probs), axis=1, exclusive=True)
    return tf.nn.log_softmax(tf.where(before < share, log_probs, NEVER))
