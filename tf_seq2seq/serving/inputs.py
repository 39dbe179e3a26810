"""Texts and options as inputs of an exported model's signatures, in batches.

Shapes: **B** texts.
"""

import numpy as np

from tf_seq2seq.errors import InputError
from tf_seq2seq.export.options import PER_TEXT, filled
from tf_seq2seq.serving.results import generated, scored


def generated_in_batches(predict, texts, options, batch_size):
    """What the signature `generate` gives for any number of texts.

    Args:
        predict: function of a signature's name and a dict of arrays, to a dict of arrays.
        texts: iterable of str or bytes.
        options: dict, of those that are not left as they are.
        batch_size: int, the most texts at once.

    Returns:
        list of `Generated`, in the order of the texts.

    Raises:
        InputError: for an option that there is not, or of a wrong type or number.
    """
    texts = strings("texts", texts)
    inputs = {"text": texts} | _filled(options, len(texts))
    batches = _batches(inputs, ["text", *PER_TEXT], batch_size)
    return [one for batch in batches for one in generated(predict("generate", batch))]


def scored_in_batches(predict, sources, targets, batch_size):
    """What the signature `score` gives for any number of pairs: list of `Scored`, in their order.

    Args:
        predict: as `generated_in_batches` has it.
        sources, targets: iterables of as many str or bytes.
        batch_size: int, the most pairs at once.

    Raises:
        InputError: if they are not as many.
    """
    inputs = {"source": strings("sources", sources), "target": strings("targets", targets)}
    numbers = [len(texts) for texts in inputs.values()]
    if numbers[0] != numbers[1]:
        raise InputError(f"{numbers[0]} sources have {numbers[1]} targets: give one for each")
    batches = _batches(inputs, [*inputs], batch_size)
    return [one for batch in batches for one in scored(predict("score", batch))]


def strings(name, texts):
    """An array (B,) of bytes, of dtype object.

    >>> strings("texts", ["a", b"\\xff"]).tolist()
    [b'a', b'\\xff']

    Args:
        name: what they are, for messages.
        texts: iterable of str or bytes.

    Raises:
        InputError: if they are something else.
    """
    if isinstance(texts, (str, bytes)):
        raise InputError(f"{name} is a list of str, not one: put it into a list")
    return _encoded(name, np.array([*texts, None], object)[:-1])  # None keeps NumPy from looking into them


def _filled(options, rows):
    """All options, with defaults for those that are left out; strings are bytes."""
    for name in PER_TEXT:
        given = options.get(name)
        if isinstance(given, (str, bytes)) or (given is not None and not hasattr(given, "__len__")):
            raise InputError(f"{name} is a list with one for each text, not {given!r}")
        if given is not None and len(given) != rows:
            raise InputError(f"{name} has {len(given)} for {rows} texts: give one for each")
    try:
        values = filled(options, rows)
    except OverflowError as error:
        raise InputError(f"an option's value is out of range: {error}") from None
    return {
        name: _encoded(name, np.asarray(value, object)) if np.asarray(value).dtype.kind in "OU" else value
        for name, value in values.items()
    }


def _encoded(name, array):
    """The array with bytes for str."""
    encoded = np.empty(array.size, object)
    encoded[:] = [_bytes(name, text) for text in array.ravel()]
    return encoded.reshape(array.shape)


def _bytes(name, text):
    if isinstance(text, bytes):
        return text
    if not isinstance(text, str):
        raise InputError(f"{name}: a str was expected, not {text!r}")
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise InputError(f"{name}: half of a surrogate pair is no character: {text[:60]!r}") from None


def _batches(inputs, by_text, size):
    """The inputs of each batch; those in `by_text` have a value for each text, the others one for all."""
    for start in range(0, len(inputs[by_text[0]]), size):
        yield {
            name: value[start : start + size] if name in by_text else value for name, value in inputs.items()
        }
