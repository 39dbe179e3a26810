"""When a beam search is through with a source, by name.

::

    optimal          no live hypothesis can still enter the pool, whatever follows, up to the maximum length
    all_finished     K hypotheses are finished                 fairseq
    patience         K * p hypotheses are finished             Kasai et al. 2022, "A Call for Clarity in Beam Search"
    first_finished   one hypothesis is finished; with a beam of 1 that is greedy search

`optimal` gives what running to the maximum length gives (Huang et al. 2017, "When to Finish? Optimal Beam Search").
"""

import math

import tensorflow as tf

from tf_seq2seq.errors import InputError

RULES = ("optimal", "all_finished", "patience", "first_finished")


def checked(stop, patience):
    """The name of a rule and p; InputError if there is no such rule, or p is not above 0. Tensors stay as they are."""
    if tf.is_tensor(stop):
        return stop, patience
    if stop not in RULES:
        raise InputError(f"no stopping rule is called {stop!r}; choose one of {', '.join(RULES)}")
    if not patience > 0:
        raise InputError(f"patience is a factor above 0, not {patience!r}")
    return stop, float(patience)


def wanted(stop, patience, beam_size):
    """How many finished hypotheses end the search, a number; infinitely many for `optimal`, where it is not their number.

    Args:
        stop, patience: as `checked` gives them; if one is a tensor, both are.
        beam_size: K, an int or () int32.

    Returns:
        a number, or () float32.
    """
    if not tf.is_tensor(stop):
        counts = {"all_finished": beam_size, "patience": beam_size * patience, "first_finished": 1}
        return counts.get(stop, math.inf)
    size = tf.cast(beam_size, tf.float32)
    return tf.gather(tf.stack([math.inf, size, size * patience, 1.0]), tf.argmax(tf.constant(RULES) == stop))
