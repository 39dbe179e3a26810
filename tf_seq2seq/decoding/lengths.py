"""How long a hypothesis may and must be, in tokens, END counted.

Shapes: **B** sources.
"""

import tensorflow as tf

from tf_seq2seq.errors import InputError


def checked(name, length, least=1):
    """A length setting in one form: an int, (a, b) for a times the source's length plus b, or a tensor as it is.

    >>> checked("max_length", [1.5, 10])
    (1.5, 10.0)

    Raises:
        InputError: naming it `name`, if it is neither.
    """
    if tf.is_tensor(length):
        return length
    try:
        if isinstance(length, (tuple, list)):
            ratio, constant = length
            return float(ratio), float(constant)
        if int(length) == length and length >= least:
            return int(length)
    except (TypeError, ValueError):
        pass
    raise InputError(
        f"{name} must be a whole number of at least {least}, or (a, b) for a times the source's length plus b, "
        f"not {length!r}"
    )


def of_each(name, length, conditions):
    """Tokens for each source: (B,) int32, rounded down, or () int32 where it is one number for all.

    >>> from tf_seq2seq.decoding.conditions import Conditions
    >>> mask = [[True, True, True], [True, False, False]]
    >>> of_each("max_length", (1.5, 1.0), Conditions(source_mask=mask).of(2)).numpy().tolist()
    [5, 2]

    Args:
        name: what the error calls it.
        length: as `checked` gives it.
        conditions: `Conditions` of tensors.

    Raises:
        InputError: if it is relative to the source and the conditions have no source mask.
    """
    if isinstance(length, int) or tf.is_tensor(length):
        return tf.convert_to_tensor(length)
    sources = tf.cast(conditions.source_lengths(f"a {name} relative to the source"), tf.float32)
    return tf.cast(tf.floor(length[0] * sources + length[1] + 1e-4), tf.int32)


def limits(max_length, conditions, rows):
    """The most tokens of each source: (B,) int32, at least 1, at most what `conditions.limit` says."""
    most = of_each("max_length", max_length, conditions)
    if not isinstance(conditions.limit, tuple):
        most = tf.minimum(most, conditions.limit)
    return tf.broadcast_to(tf.maximum(most, 1), [rows])


def as_config(length):
    """A length setting as JSON has it."""
    return length if isinstance(length, int) else list(length)
