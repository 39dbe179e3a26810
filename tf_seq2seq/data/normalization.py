"""Texts made valid UTF-8, NFKC and lower case, inside the TensorFlow graph.

Shapes: **B** batch.
"""

import tensorflow as tf

from tf_seq2seq.errors import InputError


def valid_utf8(text):
    """The same strings, each stretch of bytes that is not UTF-8 replaced by U+FFFD."""
    return tf.strings.unicode_transcode(text, "UTF-8", "UTF-8", errors="replace")


def normalized(text, nfkc=True, lowercase=False):
    """Valid UTF-8 in Unicode's normal form NFKC, in lower case if wished.

    >>> normalized(["ﬁn Ñ", b"\\xff"], lowercase=True).numpy()[0].decode()
    'fin ñ'

    Args:
        text: (B,) string, any bytes.
        nfkc: whether compatible characters are made one.
        lowercase: whether letters are put in lower case, in any script.

    Returns:
        (B,) string.
    """
    text = valid_utf8(text)
    if nfkc:
        import tensorflow_text

        text = tensorflow_text.normalize_utf8(text, "NFKC")
    if lowercase:
        # A text would end at its first NUL in the next operation.
        text = tf.strings.regex_replace(text, r"\x00", "\ufffd")
        text = tf.strings.lower(text, encoding="utf-8")
    return text


def normalized_batches(sentences, nfkc=True, lowercase=False, size=1024):
    """Sentences as batches of normalised texts, as a stream.

    Args:
        sentences: an iterable of strings or a `tf.data.Dataset` of scalar strings; read once.
        nfkc, lowercase: as for `normalized`.
        size: sentences in a batch.

    Returns:
        An iterator of (B,) string tensors.

    Raises:
        InputError: if a dataset does not hold scalar strings.
    """
    if isinstance(sentences, tf.data.Dataset):
        spec = sentences.element_spec
        if not isinstance(spec, tf.TensorSpec) or spec.dtype != tf.string or spec.shape.rank != 0:
            raise InputError(f"expected a dataset of scalar strings, but it holds {spec}: map it to one side")
        batches = sentences.batch(size)
    else:
        batches = _batches(sentences, size)
    return (normalized(batch, nfkc, lowercase) for batch in batches)


def _batches(sentences, size):
    batch = []
    for sentence in sentences:
        batch.append(sentence if isinstance(sentence, bytes) else sentence.encode("utf-8", "replace"))
        if len(batch) == size:
            yield tf.constant(batch)
            batch = []
    if batch:
        yield tf.constant(batch)
