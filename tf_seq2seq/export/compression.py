"""Weights that are small in a file and float32 in memory: what an exported model keeps of them is bfloat16 or int8.

::

    bfloat16    w ~ the nearest number with 8 bits of mantissa                          2 bytes a weight
    int8        w ~ q s,    q = round(w / s),    s = max |w| / 127 of its column        1 byte a weight

A vector of embeddings has a scale of its own, as a column of a kernel has. The model's graph makes float32 of them once,
when it is loaded, as it fills its lookup tables: a request costs what it costs without compression, and memory holds both.
Vectors and small matrices stay float32. Only operations that TensorFlow 2.12 has are used.

Source: dynamic range quantisation of weights as in Jacob et al. 2018, section 2.1, symmetric, without activations.
"""

import itertools
import uuid

import keras
import numpy as np
import tensorflow as tf

from tf_seq2seq.decoding.ensemble import Ensemble
from tf_seq2seq.errors import InputError
from tf_seq2seq.models.searching import searchable
from tf_seq2seq.models.seq2seq import Seq2Seq

WEIGHTS = ("bfloat16", "int8")
_SMALLEST = 1024  # weights of a matrix that is worth it
_BY_ROW = ("embeddings", "projection_kernel")  # a row a token
_numbers = itertools.count()


def compressed(model, weights):
    """A copy of a model that computes with the float32 matrices which its stored weights stand for.

    Args:
        model: a `Seq2Seq` or an `Ensemble` of them; it stays as it is.
        weights: "bfloat16" or "int8".

    Returns:
        the copy, laid out for searching; and a list of what an export has to track for it.

    Raises:
        InputError: for other weights, or another model.
    """
    if weights not in WEIGHTS:
        raise InputError(f"weights are compressed to {' or '.join(WEIGHTS)}, not to {weights!r}")
    copy, kept, tracked = _copy(model), [], []
    for layer in copy._flatten_layers():
        for name, value in [*vars(layer).items()]:
            if _worth_it(value):
                weight = _stored(value.numpy(), weights, name in _BY_ROW, kept)
                object.__setattr__(layer, name, weight)
                tracked += [weight, *weight.parts]
    return copy, tracked


class StoredWeight(tf.saved_model.experimental.TrackableResource):
    """A matrix that a SavedModel keeps compressed; TensorFlow's operations take it for the float32 matrix it stands for.

    >>> weight = StoredWeight(encoded(np.array([[1.0, 0.0], [-0.5, 0.004]], "float32"), "int8"), (2, 2))
    >>> tf.identity(weight).numpy().astype(float).round(3).tolist()
    [[1.0, 0.0], [-0.504, 0.004]]

    Args:
        parts: list of `tf.Variable`, from `encoded`; several may share them.
        shape: (rows, columns); columns that the parts lack are zeros.
        transposed: whether the parts are of the transposed matrix.
    """

    def __init__(self, parts, shape, transposed=False):
        super().__init__()
        self.parts, self.transposed = parts, transposed
        self.shape, self.dtype = tf.TensorShape(shape), "float32"
        self._name = (
            f"stored_weight_{next(_numbers)}_{uuid.uuid4().hex}"  # two loaded models are never to share one
        )
        self._initialize()

    def _create_resource(self):
        return tf.raw_ops.VarHandleOp(dtype=tf.float32, shape=self.shape, shared_name=self._name)

    def _initialize(self):
        value = tf.cast(self.parts[0], tf.float32)
        for scales in self.parts[1:]:
            value *= scales
        value = tf.transpose(value) if self.transposed else value
        value = tf.pad(value, [[0, 0], [0, self.shape[1] - value.shape[1]]])
        tf.raw_ops.AssignVariableOp(resource=self.resource_handle, value=value)

    def _destroy_resource(self):
        # A loaded one outlives its Python object, as signatures do and tables do.
        if not tf.executing_eagerly():
            return
        tf.raw_ops.DestroyResourceOp(resource=self.resource_handle, ignore_lookup_error=True)

    def __tf_tensor__(self, dtype=None, name=None):
        value = tf.raw_ops.ReadVariableOp(resource=self.resource_handle, dtype=tf.float32)
        return tf.ensure_shape(value, self.shape)


def encoded(value, weights, by_row=False):
    """What is stored of a matrix.

    Args:
        value: (rows, columns) float32, NumPy.
        weights: "bfloat16" or "int8".
        by_row: whether a row has a scale, not a column.

    Returns:
        list of `tf.Variable`: of the numbers and, for int8, of their scales.
    """
    if weights == "bfloat16":
        return [tf.Variable(tf.cast(value, tf.bfloat16), trainable=False)]
    most = np.abs(value).max(axis=1 if by_row else 0, keepdims=True)
    scales = np.where(most > 0, most / 127, 1).astype(np.float32)
    parts = np.round(value / scales).astype(np.int8), scales
    return [tf.Variable(part, trainable=False) for part in parts]


def _copy(model):
    """A copy of a model that is laid out for searching, in float32."""
    if isinstance(model, Ensemble):
        copies = [_copy(one) for one in model.models]
        return Ensemble(copies, model.shares, model.combine, model.renormalize)
    if type(model) is not Seq2Seq:
        raise InputError(
            f"the weights of a Seq2Seq or of an Ensemble of them can be compressed, not those of "
            f"{type(model).__name__}: export it with weights float32"
        )
    return searchable(model, "float32")


def _worth_it(value):
    variable = isinstance(value, (tf.Variable, keras.Variable))
    return variable and len(value.shape) == 2 and np.prod(value.shape) >= _SMALLEST


def _stored(value, weights, by_row, kept):
    """The stored weight of a matrix; one that is another's transpose, as a tied projection's, shares its parts."""
    for other, parts in kept:
        rows = len(other)
        if value.shape[1] >= rows and np.array_equal(value[:, :rows], other.T) and not value[:, rows:].any():
            return StoredWeight(parts, value.shape, transposed=True)
    parts = encoded(value, weights, by_row)
    kept.append((value, parts))
    return StoredWeight(parts, value.shape)
