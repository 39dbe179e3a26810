"""A copy of a model that is laid out for searching: nothing else of it is meant to be used.

A matrix whose rows are 8,003 or 2,048 values long is multiplied slower than one of 8,016 or 2,080: vector units want
multiples, and a cache wants rows that do not all begin in the same place. The copy's largest matrices get columns that
are never chosen. Measured here at 32 rows in float32: the projection to 8,003 tokens takes 2.2 ms, to 8,016 1.7 ms.

Shapes: **U** units, **D** feature size, **V** vocabulary.
"""

import tensorflow as tf

from tf_seq2seq.layers.cells import LSTMCell
from tf_seq2seq.models.seq2seq import Seq2Seq

_MULTIPLE, _ALIASING = 16, 256  # columns


def searchable(model, dtype=None):
    """A copy of a `Seq2Seq` with the weights that it has now, to search with.

    >>> from tf_seq2seq.models import zoo
    >>> copy = searchable(zoo.plain(10, 19, units=4, depth=1))
    >>> step, state, memory = copy.begin({"source_ids": tf.constant([[5, 3]])})
    >>> tuple(step(tf.constant([2]), state, memory).logits.shape)
    (1, 32)

    Its logits have W >= V columns, -inf from V on.

    Args:
        model: a `Seq2Seq`. Anything else is given back as it is.
        dtype: of the weights, "float32" or "bfloat16"; None for what they are.

    Returns:
        the copy, a `Seq2Seq`; training the model does not change it.
    """
    if type(model) is not Seq2Seq:
        return model
    copy = model.with_weights(dtype or model.decoder.embeddings.dtype)
    cells = [*copy.encoder.layers_forward, *copy.encoder.layers_backward, *copy.decoder.wrapper.cells.cells]
    for cell in cells:
        if isinstance(cell, LSTMCell):
            _widen(cell, ("kernel", "recurrent_kernel", "bias"))
    decoder = copy.decoder
    # bfloat16 likes a transposed kernel; an adaptive softmax has several.
    if decoder.adaptive is None and decoder.embeddings.dtype == "float32":
        decoder.columns = tf.transpose(decoder.output_vectors())
        _widen(decoder, ("columns",))
        _widen(decoder, ("projection_bias",), beyond=-float("inf"))
    return copy


def good_width(width):
    """The least number of columns, at least `width`, whose rows are multiplied fast.

    >>> [good_width(width) for width in (512, 2048, 8003)]
    [528, 2064, 8016]
    """
    width = -(-width // _MULTIPLE) * _MULTIPLE
    return width if width % _ALIASING else width + _MULTIPLE


def _widen(layer, names, beyond=0.0):
    """Gives a layer's variables more columns; they are no variables of Keras any more, and not trained."""
    for name in names:
        value = tf.convert_to_tensor(getattr(layer, name))
        more = good_width(value.shape[-1]) - value.shape[-1]
        paddings = [[0, 0]] * (len(value.shape) - 1) + [[0, more]]
        wide = tf.Variable(
            tf.pad(value, paddings, constant_values=tf.cast(beyond, value.dtype)), trainable=False
        )
        object.__setattr__(layer, name, wide)
