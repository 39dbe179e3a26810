"""What users ask a generator for, as tensors of the right types, or a clear error.

Shapes: **B** texts, **S** source length, **P** length of a forced beginning, **C** phrases of a text, **L** their length.
"""

import tensorflow as tf

from tf_seq2seq.data.vocabulary import END, PAD
from tf_seq2seq.decoding.phrase_forms import banned_ids
from tf_seq2seq.errors import InputError

SPECS = {
    "source_ids": tf.TensorSpec([None, None], tf.int32, name="source_ids"),
    "prefix": tf.TensorSpec([None, None], tf.int32),
    "phrases": tf.TensorSpec([None, None, None], tf.int32),
    "seeds": tf.TensorSpec([None], tf.int64),
    "limit": tf.TensorSpec([None], tf.int32),
    "start_ids": tf.TensorSpec([None], tf.int32),
    "banned": tf.TensorSpec([None, None, None], tf.int32),
}
"""What a search is told in ids, by name; all but `source_ids` are conditions."""


def as_batch(text):
    try:
        text = tf.convert_to_tensor([text] if isinstance(text, (str, bytes)) else text, tf.string)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"expected a text or a list of texts, not {type(text).__name__}: {text!r}"
        ) from error
    if text.shape.rank != 1:
        raise InputError(f"expected one text or a list of texts, but shape {text.shape} came: make it flat")
    return text


def not_empty(source_ids):
    """(B, S) with S at least 1: rows without a token get one column of PAD."""
    missing = tf.cast(tf.shape(source_ids)[1] == 0, tf.int32)
    return tf.pad(source_ids, [[0, 0], [0, missing]], constant_values=PAD)


def as_ids(name, ids):
    """(B, T) int32, or InputError."""
    try:
        ids = tf.convert_to_tensor(ids.to_tensor(PAD) if isinstance(ids, tf.RaggedTensor) else ids)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{name} are rows of integers of one length, right-padded with PAD = {PAD}: {error}"
        ) from error
    if ids.shape.rank != 2 or not ids.dtype.is_integer:
        raise InputError(f"{name} are integers (B, length), not {ids.dtype.name} of shape {ids.shape}")
    return tf.cast(ids, tf.int32)


def as_conditions(conditions, rows):
    """Tensors of the right types, or InputError."""
    found = {}
    for name, value in conditions.items():
        if name not in SPECS or name == "source_ids":
            raise InputError(f"there is no condition {name!r}; there are {', '.join([*SPECS][1:])}")
        try:
            value = tf.cast(
                value.to_tensor(PAD) if isinstance(value, tf.RaggedTensor) else value, SPECS[name].dtype
            )
        except (TypeError, ValueError, tf.errors.OpError) as error:
            raise InputError(f"the condition {name} is not of integers: {error}") from error
        value = tf.broadcast_to(value, [rows]) if value.shape.rank == 0 else value
        if value.shape.rank != SPECS[name].shape.rank or value.shape[0] != rows:
            raise InputError(
                f"the condition {name} has shape {value.shape}: give {SPECS[name].shape.rank} axes, {rows} rows first"
            )
        if value.shape[-1] != 0 or rows == 0:  # a beginning or phrases without a token are none
            found[name] = value
    return found


def of_texts(conditions, target_text, rows):
    """Conditions as they are told of texts, in ids: strings are split by the target's `TextProcessor`."""
    texts = ("prefix", "phrases", "banned")
    found = {name: value for name, value in conditions.items() if name not in texts}
    if "prefix" in conditions:
        found["prefix"] = _unfinished(target_text, _strings("prefix", conditions["prefix"]))
    if "phrases" in conditions:
        each = [[row] if isinstance(row, str) else [*row] for row in conditions["phrases"]]
        flat = _strings("phrases", [phrase for row in each for phrase in row])
        if flat or len(each) != rows:
            phrases = _unfinished(target_text, flat)
            found["phrases"] = tf.RaggedTensor.from_row_lengths(phrases, [len(row) for row in each])
    if "banned" in conditions:
        each = [_strings("banned", [row] if isinstance(row, str) else row) for row in conditions["banned"]]
        if any(each) or len(each) != rows:
            most = max(map(len, each), default=0)
            filled = [row + [""] * (most - len(row)) for row in each]
            found["banned"] = banned_ids(tf.constant(filled, tf.string, [len(each), most]), target_text.ids)
    return as_conditions(found, rows)


def _strings(name, texts):
    texts = list(texts)
    if not all(isinstance(text, str) for text in texts):
        raise InputError(f"the condition {name} is of texts (str); for ids use generate_ids")
    return texts


def _unfinished(target_text, texts):
    return unfinished(target_text.ids, tf.constant(texts, tf.string, shape=[len(texts)]))


def unfinished(target_ids, texts):
    """Ids of texts, (M,) string, without END, ragged (M, None), by a function that gives them with END."""
    ids = target_ids(texts)
    return tf.ragged.boolean_mask(ids, ids != END)
