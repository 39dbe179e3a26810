"""Ids in whatever form a caller has them, brought into one; and tokens likewise.

Shapes: **B** batch, **T** length in tokens.
"""

import numpy as np
import tensorflow as tf

from tf_seq2seq.data.vocabulary import END, PAD, SPECIAL_TOKENS, START, UNK
from tf_seq2seq.errors import InputError


def as_tensor(given):
    """Strings or ids as one tensor.

    >>> as_tensor([[4, 5], [6]]), as_tensor("hi").dtype
    (<tf.RaggedTensor [[4, 5], [6]]>, tf.string)

    Args:
        given: strings or integers in a tensor, a ragged tensor, an array or (nested) lists, with rows of any
            lengths.

    Returns:
        A tensor or ragged tensor of strings or integers.

    Raises:
        InputError: if it is neither strings nor integers.
    """
    if isinstance(given, (list, tuple)):
        given = _from_rows(given)
    if not isinstance(given, tf.RaggedTensor):
        given = tf.convert_to_tensor(given)
    if given.dtype != tf.string and not given.dtype.is_integer:
        raise InputError(f"expected strings or integer ids, but {given.dtype.name} came: convert it first")
    return given


def _from_rows(given):
    if not given:
        return tf.zeros([0], tf.string)
    if not all(isinstance(row, (list, tuple, np.ndarray)) for row in given):
        return given
    rows = [np.asarray(row) if len(row) else np.zeros(0, np.int32) for row in given]
    if not all(row.ndim == 1 and row.dtype.kind in "iu" for row in rows):
        return given
    return tf.RaggedTensor.from_row_lengths(np.concatenate(rows), [len(row) for row in rows])


def known_ids(ids, vocab_size):
    """Ids as a dense tensor, what lies outside of the vocabulary made UNK.

    Args:
        ids: (..., T) integers, dense or ragged.
        vocab_size: V.

    Returns:
        (..., T) int32, PAD at the right of rows that were ragged.
    """
    if isinstance(ids, tf.RaggedTensor):
        ids = ids.to_tensor(PAD)
    return tf.where((ids >= 0) & (ids < vocab_size), tf.cast(ids, tf.int32), UNK)


def bare_ids(ids, vocab_size):
    """Ids up to the first END, without PAD and START.

    >>> bare_ids([[2, 4, 900, 3, 5, 0]], vocab_size=10)
    <tf.RaggedTensor [[4, 1]]>

    Args:
        ids: (B, T) integers, dense or ragged.
        vocab_size: V; what lies outside is UNK.

    Returns:
        A ragged tensor (B, None) of int32.
    """
    ids = known_ids(as_tensor(ids), vocab_size)
    ended = tf.cumsum(tf.cast(ids == END, tf.int32), axis=1) > 0
    return tf.ragged.boolean_mask(ids, ~ended & (ids != PAD) & (ids != START))


def bare_tokens(tokens):
    """Tokens up to the first END, without PAD, START and empty strings.

    >>> bare_tokens([["<s>", "a", "<unk>", "</s>", "b", ""]])
    <tf.RaggedTensor [[b'a', b'<unk>']]>

    Args:
        tokens: (B, T) string.

    Returns:
        A ragged tensor (B, None) of strings.
    """
    tokens = tf.convert_to_tensor(tokens)
    ended = tf.cumsum(tf.cast(tokens == SPECIAL_TOKENS[END], tf.int32), axis=1) > 0
    empty = (tokens == SPECIAL_TOKENS[PAD]) | (tokens == SPECIAL_TOKENS[START]) | (tokens == "")
    return tf.ragged.boolean_mask(tokens, ~ended & ~empty)
