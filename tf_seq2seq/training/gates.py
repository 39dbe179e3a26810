"""Where gradients vanish or explode: how far the gates of each layer are open, and what gradient each part gets.

A gate that stands near 0 or 1 has no gradient itself, whatever comes from above: an input gate that is closed learns
nothing, a forget gate that is closed cuts off the past, and one that is open carries gradients through time. In a
healthy model few are saturated at first and forget gates open later; a gradient norm that is smaller by orders of
magnitude in the lower layers has vanished on its way.

Shapes: **B** batch, **S** source length, **T** target length, **U** units.
"""

import contextlib

import tensorflow as tf

from tf_seq2seq.data.vocabulary import PAD
from tf_seq2seq.layers.cells import GRUCell, LSTMCell

CLOSED, OPEN = 0.05, 0.95
_GATES = {
    LSTMCell: ("input", "forget", None, "output"),
    GRUCell: ("reset", "update"),
}  # in the kernel's order


def gate_shares(model, inputs):
    """The share of gates that are closed or open, over the real tokens of a batch and the units of a layer.

    >>> from tf_seq2seq.models import zoo
    >>> ids = tf.constant([[5, 6, 3]])
    >>> shares = gate_shares(zoo.plain(9, 9, units=4, depth=1), {"source_ids": ids, "target_ids": ids})
    >>> sorted(shares)[:3]
    ['decoder_1/forget_closed', 'decoder_1/forget_open', 'decoder_1/input_closed']

    Args:
        model: a `Seq2Seq` of `RNNEncoder` and `RNNDecoder`; parts of other kinds are left out.
        inputs: {"source_ids": (B, S), "target_ids": (B, T)}.

    Returns:
        dict of floats in [0, 1]: ``<layer>/<gate>_closed`` (below 0.05) and ``<layer>/<gate>_open`` (above 0.95).
    """
    cells = _cells(model)
    with _recorded(cells) as recorded:
        model(inputs)
    shares = {}
    for layer, steps in recorded.items():
        ids = inputs["source_ids" if layer.startswith("encoder") else "target_ids"]
        real = tf.transpose(ids != PAD)  # (B, S) -> (S, B), as the steps came
        gates = tf.boolean_mask(tf.stack(steps), real)  # (S, B, gates * U) -> (real, gates * U)
        names = _names(cells[layer])
        for name, gate in zip(names, tf.split(gates, len(names), axis=-1)):
            if name:
                shares[f"{layer}/{name}_closed"] = float(tf.reduce_mean(tf.cast(gate < CLOSED, tf.float32)))
                shares[f"{layer}/{name}_open"] = float(tf.reduce_mean(tf.cast(gate > OPEN, tf.float32)))
    return shares


def gradient_norms(model, batch):
    """The norm of the gradient of the mean loss of a batch, for each layer and each other matrix of a model.

    Args:
        model: a compiled `Seq2Seq`. Nothing is dropped out; metrics count the batch.
        batch: (inputs, labels) or (inputs, labels, weights).

    Returns:
        dict of floats: a cell's under its layer's name, such as ``encoder_forward_1``, a matrix's such as
        ``decoder_projection_kernel``. The root of the sum of their squares is the norm of the whole gradient.
    """
    inputs, labels, weights = (*batch, None)[:3]
    variables = model.trainable_variables
    with tf.GradientTape() as tape:
        loss, weight, _ = model.objective(model, (inputs, labels, weights), False)
        mean = loss / tf.maximum(weight, 1e-9)
    gradients = tape.gradient(mean, [one.value for one in variables], unconnected_gradients="zero")
    owners = {variable.path: layer for layer, cell in _cells(model).items() for variable in cell.weights}
    encoder, squares = {one.path for one in model.encoder.weights}, {}
    for variable, gradient in zip(variables, gradients):
        side = "encoder" if variable.path in encoder else "decoder"
        name = owners.get(variable.path, f"{side}_{variable.name}")
        square = float(tf.reduce_sum(tf.square(tf.cast(tf.convert_to_tensor(gradient), tf.float32))))
        squares[name] = squares.get(name, 0.0) + square
    return {name: square**0.5 for name, square in squares.items()}


def _cells(model):
    """The cells of a model by the names of their layers, counted from the bottom."""
    cells = {
        f"encoder_{direction}_{number}": cell
        for direction in ("forward", "backward")
        for number, cell in enumerate(getattr(model.encoder, f"layers_{direction}", ()), 1)
    }
    stack = getattr(getattr(model.decoder, "wrapper", None), "cells", None)
    cells.update({f"decoder_{number}": cell for number, cell in enumerate(getattr(stack, "cells", ()), 1)})
    return {layer: cell for layer, cell in cells.items() if isinstance(cell, tuple(_GATES))}


def _names(cell):
    return next(names for kind, names in _GATES.items() if isinstance(cell, kind))


@contextlib.contextmanager
def _recorded(cells):
    """Yields a dict of lists, to which each step of a cell appends its gates (B, gates * U)."""
    recorded = {layer: [] for layer in cells}
    for layer, cell in cells.items():
        vars(cell)["step"] = _recorder(cell, recorded[layer])  # hides the class's own
    try:
        yield recorded
    finally:
        for cell in cells.values():
            vars(cell).pop("step")


def _recorder(cell, steps):
    width = len(_names(cell)) * cell.units

    def step(projected, state, kernel=None):
        recurrent = tf.matmul(
            tf.cast(state[0], tf.float32), tf.cast(cell.recurrent_kernel, tf.float32)[:, :width]
        )
        steps.append(tf.sigmoid(tf.cast(projected, tf.float32)[:, :width] + recurrent))
        return type(cell).step(cell, projected, state, kernel)

    return step
