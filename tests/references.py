"""NumPy references of cells, attention and readouts, straight from the papers' equations, float64.

Shapes: **B** batch, **S** source length, **E** input size, **U** units, **D** readout size. Weights come as the layers'
own variables; gates stand in the order that the layer documents.
"""

import numpy as np


def array(value):
    return np.asarray(value, np.float64)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def lstm(cell, x, state):
    """Hochreiter and Schmidhuber 1997 with Gers et al. 2000: output, (hidden, cell)."""
    hidden, memory = state
    i, f, g, o = np.split(
        x @ array(cell.kernel) + hidden @ array(cell.recurrent_kernel) + array(cell.bias), 4, -1
    )
    memory = sigmoid(f) * memory + sigmoid(i) * np.tanh(g)
    hidden = sigmoid(o) * np.tanh(memory)
    return hidden, (hidden, memory)


def gru(cell, x, state):
    """Cho et al. 2014, equations 5-8; cuDNN's form if `reset_after`: output, (hidden,)."""
    (hidden,) = state
    W_r, W_z, W_n = np.split(array(cell.kernel), 3, -1)
    U_r, U_z, U_n = np.split(array(cell.recurrent_kernel), 3, -1)
    b_r, b_z, b_n, *b_u = np.split(array(cell.bias), 4 if cell.reset_after else 3)
    r = sigmoid(x @ W_r + hidden @ U_r + b_r)
    z = sigmoid(x @ W_z + hidden @ U_z + b_z)
    recurrent = r * (hidden @ U_n + b_u[0]) if cell.reset_after else (r * hidden) @ U_n
    candidate = np.tanh(x @ W_n + b_n + recurrent)
    hidden = z * hidden + (1 - z) * candidate
    return hidden, (hidden,)


def cell_step(cell, x, state):
    """One step of either cell."""
    return (gru if hasattr(cell, "reset_after") else lstm)(cell, x, state)


def energies(attention, query, values):
    """(B, Q), (B, S, U) -> (B, S), source position by source position."""
    kind = type(attention).__name__
    columns = []
    for h in np.moveaxis(values, 1, 0):
        if kind == "DotAttention":
            columns.append((query * h).sum(-1))
        elif kind == "GeneralAttention":  # q' W h, the layer holds W transposed
            columns.append(np.einsum("bq,uq,bu->b", query, array(attention.kernel), h))
        else:
            hidden = (
                query @ array(attention.query_kernel)
                + h @ array(attention.memory_kernel)
                + array(attention.bias)
            )
            columns.append(np.tanh(hidden) @ array(attention.energy_kernel)[:, 0])
    return np.stack(columns, 1)


def attend(attention, query, values, mask):
    """Context (B, U) and alignments (B, S), row by row over its real positions only."""
    scores = energies(attention, query, values)
    alignments = np.zeros(mask.shape)
    for row, real in enumerate(mask):
        if real.any():
            alignments[row, real] = softmax(scores[row, real])
    return np.einsum("bs,bsu->bu", alignments, values), alignments


def attentional(wrapper, context, hidden):
    """Luong et al. 2015, equation 5."""
    return np.tanh(np.concatenate([context, hidden], -1) @ array(wrapper.readout_kernel))


def maxout(wrapper, context, hidden, x):
    """Goodfellow et al. 2013 with two pieces: the maximum of two affine maps of [c; h; x]."""
    joined = np.concatenate([context, hidden, x], -1)
    both = joined @ array(wrapper.readout_kernel) + array(wrapper.readout_bias)
    size = both.shape[-1] // 2
    return np.maximum(both[:, :size], both[:, size:])
