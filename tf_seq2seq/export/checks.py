"""The options of a request are checked in the graph, before anything is made of them.

Shapes: **B** texts, **P** tokens of a forced beginning, **C** phrases, **L** their tokens.
"""

import tensorflow as tf

from tf_seq2seq.data.vocabulary import PAD
from tf_seq2seq.export.options import OPTIONS


def checked(options, rows, limits, aligned):
    """The same options, to be read only after all of them were found good.

    Args:
        options: dict of name to tensor, ids for prefix, banned and phrases.
        rows: B, () int32.
        limits: `Limits`.
        aligned: whether the model gives alignments.

    Returns:
        the dict, with tensors that fail with one line if one of them is out of its range.
    """
    found = [
        _in_range(option, options[name], limits) for name, option in OPTIONS.items() if option.dtype != "bool"
    ]
    found += [*_together(options, limits, aligned), *_of_texts(options, rows)]
    good, messages = zip(*found)
    good = tf.stack(good)
    first = tf.stack(messages)[tf.argmin(tf.cast(good, tf.int32))]
    with tf.control_dependencies([tf.debugging.Assert(tf.reduce_all(good), [first])]):
        return {name: tf.identity(value) for name, value in options.items()}


def checked_rows(name, came, rows):
    """Fails with one line where an input has another number of rows than there are texts."""
    tf.debugging.Assert(came == rows, [_rows_told(name, came, rows)])


def _rows_told(name, came, rows):
    return tf.strings.join([name, " has one row for each of ", _text(rows), " texts; ", _text(came), " came"])


def _in_range(option, value, limits):
    """Whether it is, () bool, and what is said if not, () string."""
    message = _told(f"{option.name} is {option.allowed(limits)}", value)
    if option.choices:
        return tf.reduce_any(tf.constant(option.choices) == value), message
    least, most = option.range(limits)  # comparisons with a NaN are false
    good = (value > least if option.open == "least" else value >= least) & (
        value < most if option.open == "most" else value <= most
    )
    return good, message


def _told(allowed, came):
    return tf.strings.join([allowed, "; ", _text(came), " came"])


def _text(value):
    return (
        value if value.dtype == tf.string else tf.strings.as_string(value, shortest=value.dtype.is_floating)
    )


def _together(options, limits, aligned):
    """What options say of one another."""
    drawn, size, n_best = options["samples"], options["beam_size"], options["n_best"]
    most = tf.where(drawn > 0, drawn, size)
    yield n_best <= most, _told("n_best is at most beam_size, or samples where these are above 0", n_best)
    least = options["min_length"]
    yield least <= options["max_length"], _told("min_length is at most max_length", least)
    phrases = tf.reduce_any(options["phrases"] != PAD)
    yield ~(phrases & (drawn > 0)), _told("samples is 0, a beam search, where there are phrases", drawn)
    if not aligned:
        name = options["coverage_penalty"]
        yield name == "none", _told("coverage_penalty is none, as this model has no attention", name)


def _of_texts(options, rows):
    """Numbers of rows, and how long forced tokens are."""
    for name in ("seeds", "prefix", "banned", "phrases"):
        came = tf.shape(options[name])[0]
        yield came == rows, _rows_told(name, came, rows)
    for name in ("prefix", "phrases"):
        came = tf.maximum(
            tf.reduce_max(tf.math.count_nonzero(options[name] != PAD, axis=-1, dtype=tf.int32)), 0
        )
        most = _text(options["max_length"])
        allowed = tf.strings.join(
            [name, " is at most max_length, ", most, ", tokens long; ", _text(came), " tokens came"]
        )
        yield came <= options["max_length"], allowed
