"""Arrays as JSON and back, as TF Serving's REST API has it; no TensorFlow is needed.

::

    bool     true, false                 int32, int64   a number without point or exponent
    string   "text", or {"b64": "..."}   float32        a number, NaN, Infinity or -Infinity

Arrays are nested lists, all of a level equally long. Strings are bytes in arrays, of dtype object. Strings that come
from a server are JSON strings, even where they are not UTF-8; those of a tensor named ``..._bytes`` are base64.

Source: TensorFlow Serving, "RESTful API", sections "JSON mapping" and "Encoding binary values".
"""

import base64
import binascii
import math
from typing import Any, NamedTuple

import numpy as np

from tf_seq2seq.errors import InputError

_DEEPEST = 16  # lists in lists
_SHOWN = 60  # characters of a wrong value that are told


class Spec(NamedTuple):
    """What a tensor of a signature is.

    Fields:
        dtype: numpy dtype; object for strings.
        shape: tuple of int, None where any size will do; None if the rank is unknown.
    """

    dtype: Any
    shape: Any


def from_json(value, spec, name):
    """An array of a JSON value.

    >>> from_json([["a"], [{"b64": "/w=="}]], Spec(np.dtype(object), (None, 1)), "text").tolist()
    [[b'a'], [b'\\xff']]

    Args:
        value: what `json.loads` gives.
        spec: `Spec`.
        name: of the tensor, for messages.

    Returns:
        array of the dtype and shape that `spec` has.

    Raises:
        InputError: if it does not fit.
    """
    shape = _shape_of(value)
    if len(shape) > _DEEPEST or (spec.shape is not None and not _fits(shape, spec.shape)):
        wanted = "lists in lists" if spec.shape is None else _described(spec.shape)
        raise InputError(f"{name}: give {wanted}, not what has shape {_shown(list(shape))}")
    leaves = []
    _collect(value, shape, leaves, name)
    read = _READERS[spec.dtype.kind]
    array = np.empty(len(leaves), spec.dtype)
    array[:] = [read(leaf, spec.dtype, name) for leaf in leaves]
    return array.reshape(shape)


def to_json(array, as_base64=False):
    """Nested lists of an array, for `json.dumps`; float32 with no more digits than tell it from its neighbours.

    >>> to_json(np.array([0.1, -np.inf], "float32")), to_json(np.array([b"a\\xff"], object), as_base64=True)
    ([0.1, -inf], [{'b64': 'Yf8='}])

    Args:
        array: numpy array; strings are bytes, of dtype object.
        as_base64: bool, whether strings become ``{"b64": ...}``; bytes that are not UTF-8 become lone surrogates
            otherwise, and bytes again by ``encode("utf-8", "surrogateescape")``.

    Returns:
        nested lists, or a number, bool or str if the array has rank 0.
    """
    array = np.asarray(array)
    if array.dtype == np.float32:
        return array.astype("U").astype(np.float64).tolist()
    if array.dtype != object:
        return array.tolist()
    return _written(array, _as_base64 if as_base64 else _utf8_or_surrogates)


def sendable(array):
    """Nested lists of an array for a request: as `to_json`, with strings that are not UTF-8 as base64.

    >>> sendable(np.array([b"a", b"\\xff"], object))
    ['a', {'b64': '/w=='}]

    Args:
        array: numpy array.

    Returns:
        nested lists.
    """
    array = np.asarray(array)
    return _written(array, _utf8_or_base64) if array.dtype == object else to_json(array)


def is_base64(value):
    """Whether a JSON value is a string of bytes: an object of the one key ``b64``."""
    return isinstance(value, dict) and set(value) == {"b64"} and isinstance(value["b64"], str)


def received(value):
    """An array of the nested lists of an answer: strings as str of dtype object, other dtypes as JSON tells them.

    >>> received([["a"], [{"b64": "YQ=="}]]).tolist(), received([1.5, float("-inf")]).dtype
    ([['a'], ['a']], dtype('float32'))

    Args:
        value: what `json.loads` gives.

    Returns:
        array: object, bool, int64 or float32.
    """
    shape = _shape_of(value)
    leaves = []
    _collect(value, shape, leaves, "answer")
    if any(isinstance(leaf, (str, dict)) for leaf in leaves):
        texts = np.empty(len(leaves), object)
        texts[:] = [_text(leaf) for leaf in leaves]
        return texts.reshape(shape)
    array = np.array(leaves).reshape(shape)
    return array.astype(np.float32) if array.dtype.kind == "f" else array


def decoded(array):
    """An array of bytes as one of str, both of dtype object; what is not UTF-8 becomes U+FFFD. Others as they are.

    >>> decoded(np.array([b"a", b"\\xff"], object)).tolist()
    ['a', '\ufffd']

    Args:
        array: numpy array.

    Returns:
        array of the same shape.
    """
    if array.dtype != object:
        return array
    texts = np.empty(array.size, object)
    texts[:] = [text.decode("utf-8", "replace") for text in array.ravel()]
    return texts.reshape(array.shape)


def _written(array, write):
    written = np.empty(array.size, object)
    written[:] = [write(text) for text in array.ravel()]
    return written.reshape(array.shape).tolist()


def _utf8_or_surrogates(text):
    return text.decode("utf-8", "surrogateescape")


def _utf8_or_base64(text):
    try:
        return text.decode("utf-8")
    except UnicodeDecodeError:
        return _as_base64(text)


def _as_base64(text):
    return {"b64": base64.b64encode(text).decode("ascii")}


def _text(leaf):
    return base64.b64decode(leaf["b64"]).decode("utf-8", "replace") if is_base64(leaf) else str(leaf)


def _shape_of(value):
    """The shape that nested lists have if all lists of a level are as long as the first."""
    shape = ()
    while isinstance(value, list):
        shape += (len(value),)
        value = value[0] if value else None
    return shape


def _fits(shape, wanted):
    return len(shape) == len(wanted) and all(want in (None, have) for have, want in zip(shape, wanted))


def _described(shape):
    if not shape:
        return "one value"
    sizes = ", ".join("any" if size is None else str(size) for size in shape)
    return f"{'a list' if len(shape) == 1 else 'lists in lists'} of shape [{sizes}]"


def _collect(value, shape, leaves, name):
    """Appends the leaves of nested lists, all of one shape."""
    if not shape:
        if isinstance(value, list):
            raise InputError(f"{name}: a list stands where a single value was before: {_shown(value)}")
        leaves.append(value)
        return
    if not isinstance(value, list) or len(value) != shape[0]:
        raise InputError(f"{name}: all lists of a level are equally long; not so: {_shown(value)}")
    for one in value:
        _collect(one, shape[1:], leaves, name)


def _shown(value):
    text = repr(value)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "..."


def _read_bool(leaf, dtype, name):
    if not isinstance(leaf, bool):
        raise InputError(f"{name}: give true or false, not {_shown(leaf)}")
    return leaf


def _read_int(leaf, dtype, name):
    if isinstance(leaf, bool) or not isinstance(leaf, int):
        raise InputError(f"{name}: give a whole number, not {_shown(leaf)}")
    limits = np.iinfo(dtype)
    if not limits.min <= leaf <= limits.max:
        raise InputError(f"{name}: give a number that {dtype} can hold, not {_shown(leaf)}")
    return leaf


def _read_float(leaf, dtype, name):
    if isinstance(leaf, bool) or not isinstance(leaf, (int, float)):
        raise InputError(f"{name}: give a number, not {_shown(leaf)}")
    if abs(leaf) > float(np.finfo(dtype).max) and leaf not in (math.inf, -math.inf):
        raise InputError(f"{name}: give a number that {dtype} can hold, not {_shown(leaf)}")
    return leaf


def _read_string(leaf, dtype, name):
    if is_base64(leaf):
        return _read_base64(leaf["b64"], name)
    if not isinstance(leaf, str):
        raise InputError(f'{name}: give a string or {{"b64": "..."}}, not {_shown(leaf)}')
    try:
        return leaf.encode("utf-8")
    except UnicodeEncodeError:
        raise InputError(f"{name}: half of a surrogate pair is no character: {_shown(leaf)}") from None


def _read_base64(text, name):
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise InputError(f"{name}: not base64: {_shown(text)}") from None


_READERS = {"b": _read_bool, "i": _read_int, "u": _read_int, "f": _read_float, "O": _read_string}
