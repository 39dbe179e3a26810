"""Loops over time. Two of them run every recurrent layer here: `unroll` any step, `run_cells` whole layers.

Shapes: **B** batch, **T** steps, **U** units, **G** size of a cell's projected input. Sequences are time-major here,
(T, B, ...): a step then reads and writes whole slices; `swap_time` changes to and from batch-major.
"""

import tensorflow as tf

from tf_seq2seq.layers.loop_products import in_loop, kernels_after


def swap_time(sequences):
    """(B, T, ...) -> (T, B, ...) and back, for each tensor of a nest."""
    return tf.nest.map_structure(lambda one: tf.transpose(one, [1, 0, *range(2, len(one.shape))]), sequences)


def time_slices(sequences):
    """Makes a function of the time step that reads the slice of each sequence at that step.

    Args:
        sequences: nest of (T, B, ...) tensors.

    Returns:
        A function ``at(time) -> nest of (B, ...) tensors``, usable inside `unroll`.
    """

    def array(steps):
        return tf.TensorArray(steps.dtype, size=tf.shape(steps)[0], element_shape=steps.shape[1:]).unstack(
            steps
        )

    arrays = tf.nest.map_structure(array, sequences)
    return lambda time: tf.nest.map_structure(lambda one: one.read(time), arrays)


def unroll(step, state, steps, outputs):
    """Calls a step once for each time, carrying the state; gradients flow through all of it.

    What comes in at a step is the step's own business: a teacher's token read by `time_slices`, or the token that
    it chose itself at the step before and keeps in the state.

    >>> step = lambda time, total: (total, total + tf.cast(time, tf.float32))
    >>> sums, last = unroll(step, tf.zeros([2]), 4, tf.TensorSpec([None], tf.float32))
    >>> sums.numpy()
    array([[0., 0.], [0., 0.], [1., 1.], [3., 3.]], dtype=float32)

    Args:
        step: function ``(time () int32, state) -> (outputs, state)``.
        state: nest of tensors; a step gives one of the same structure, shapes and dtypes.
        steps: how often, int or () int32.
        outputs: nest of `tf.TensorSpec` of what a step gives out, e.g. ``tf.TensorSpec([None, U], tf.float32)``.

    Returns:
        outputs, a nest of (T, B, ...) tensors, and the last state.
    """

    def body(time, arrays, state):
        values, state = step(time, state)
        arrays = tf.nest.map_structure(lambda array, value: array.write(time, value), arrays, values)
        return time + 1, arrays, state

    arrays = tf.nest.map_structure(
        lambda spec: tf.TensorArray(spec.dtype, size=steps, element_shape=spec.shape), outputs
    )
    loop = (tf.constant(0), arrays, state)
    _, arrays, state = tf.while_loop(lambda time, *_: time < steps, body, loop, maximum_iterations=steps)
    return tf.nest.map_structure(_stacked, arrays, outputs), state


def _stacked(array, spec):
    stacked = array.stack()  # (T, B, ...)
    stacked.set_shape([None, *spec.shape])
    return stacked


def run_cell(cell, inputs, state, lengths=None, training=False):
    """Runs one cell over a whole sequence, as `run_cells` runs several.

    Args:
        cell: an `LSTMCell` or `GRUCell`.
        inputs: (T, B, E) compute dtype.
        state: the cell's state, a tuple of (B, U) tensors.
        lengths: (B,) int32, how many steps of each row are real, or None for all. Outputs after them mean nothing, and
            nothing may be derived by them.
        training: whether recurrent dropout drops anything.

    Returns:
        outputs (T, B, U) compute dtype, and the state after each row's last real step.
    """
    return run_cells([cell], [inputs], [state], lengths, training)[0]


def run_cells(cells, inputs, states, lengths=None, training=False):
    """Runs cells over a sequence each, side by side in one loop, which halves what the loop itself costs for two.

    All input projections of a cell are one product before the loop, and so is the gradient of the recurrent kernel after
    it (`loop_products`). In training the loop takes their steps from a stack. A loop that held the state of rows that have
    ended would choose between two of each state and each gradient at every step; instead all rows go on, and last states
    are gathered from those of all steps.

    Args:
        cells, inputs, states: lists of as many; one of each as `run_cell` has it.
        lengths: (B,) int32 or None, of all sequences.
        training: whether recurrent dropout drops anything.

    Returns:
        A list with outputs (T, B, U) and the last state of each cell.
    """
    dtype = inputs[0].dtype
    kernels = [cell.recurrent_kernels(dtype, training) for cell in cells]
    reads = [[] for _ in cells]  # filled after the loop, before any gradient is asked for
    ordered = _last_first if training else lambda sequence: sequence
    projected = [
        kernels_after(
            cell.project(ordered(one)), kernel, lambda d, c=cell, r=read: c.recurrent_gradients(r[0], d)
        )
        for cell, one, kernel, read in zip(cells, inputs, kernels, reads)
    ]
    take, stacks = _stacked_slices(projected) if training else _slices(projected)
    products = [[in_loop(one) for one in kernel] for kernel in kernels]

    kept = lambda state: () if lengths is None else state[1:]  # the first is the output, kept anyway

    def step(time, state):
        stacks, states = state
        slices, stacks = take(time, stacks)
        moved = [cell.step(*one) for cell, *one in zip(cells, slices, states, products)]
        outputs, new, recurrent_inputs = map(list, zip(*moved))
        others = [one[1:] for one in recurrent_inputs]  # the first is the output of the step before
        others = tf.nest.map_structure(tf.stop_gradient, others)
        return (outputs, list(map(kept, new)), others), (stacks, new)

    specs = [tf.TensorSpec([None, cell.units], dtype) for cell in cells]
    of_state = lambda one: tf.TensorSpec([None, *one.shape[1:]], one.dtype)
    kept_specs = [tuple(map(of_state, kept(state))) for state in states]
    read_specs = [(spec,) * (cell.recurrent_inputs - 1) for cell, spec in zip(cells, specs)]
    steps = tf.shape(inputs[0])[0]
    first = [(tf.cast(output, dtype), *more) for output, *more in states]  # in the dtype of a step's output
    specs = specs, kept_specs, read_specs
    (outputs, others, recurrent_inputs), (_, last) = unroll(step, (stacks, first), steps, specs)
    for read, state, output, more in zip(reads, first, outputs, recurrent_inputs):
        hidden = tf.concat([state[0][None], output], axis=0)[:-1]  # (T, B, U), what each step began with
        read.append([ordered(tf.stop_gradient(one)) for one in (hidden, *more)])
    if lengths is None:
        last = [(tf.cast(output, state[0].dtype), *more) for (output, *more), state in zip(last, states)]
    else:
        last = [
            tuple(_last(one, before, lengths) for one, before in zip((output, *more), state))
            for output, more, state in zip(outputs, others, states)
        ]
    return list(zip(outputs, last))


def _slices(sequences):
    """A function (time, state) -> slices of the sequences at that step, state; and the state, which is none."""
    at = time_slices(sequences)
    return lambda time, none: (at(time), none), ()


def _stacked_slices(sequences):
    """`_slices` of sequences (T, B, G) whose last step comes first, for a gradient: the state is a stack of each.

    A gradient puts slices on a stack, too. That of `time_slices` adds each to a slice of zeros.
    """
    stacks = [
        tf.raw_ops.TensorListFromTensor(tensor=one, element_shape=tf.shape(one)[1:]) for one in sequences
    ]

    def take(_, stacks):
        taken = [
            tf.raw_ops.TensorListPopBack(
                input_handle=stack, element_shape=[-1, one.shape[-1]], element_dtype=one.dtype
            )
            for stack, one in zip(stacks, sequences, strict=True)
        ]
        stacks, slices = map(list, zip(*taken))
        for piece, one in zip(slices, sequences):
            piece.set_shape(one.shape[1:])
        return slices, stacks

    return take, stacks


def _last_first(sequence):
    """(T, ...) with its steps in reverse."""
    again = lambda x: tf.gather(x, tf.range(tf.shape(x)[0] - 1, -1, -1))
    return tf.custom_gradient(lambda x: (again(x), again))(sequence)


def _last(sequence, before, lengths):
    """What a state, (T, B, U) after each step and (B, U) before the first, is after so many steps: (B, U)."""
    found = _gathered(sequence, tf.maximum(lengths - 1, 0))
    return tf.where(lengths[:, None] > 0, tf.cast(found, before.dtype), before)


def turned(sequence, lengths):
    """Each row's real steps from its last to its first; what stands after them stays.

    `tf.reverse_sequence` with the time axis before the batch's, by rows that are gathered, in a sixth of its time.

    >>> turned(tf.constant([[[1.0]], [[2.0]], [[0.0]]]), tf.constant([2]))[:, 0, 0].numpy().tolist()
    [2.0, 1.0, 0.0]

    Args:
        sequence: (T, B, E).
        lengths: (B,) int32, how many steps of each row are real.

    Returns:
        (T, B, E).
    """
    time = tf.range(tf.shape(sequence)[0])[:, None]
    time = tf.where(time < lengths, lengths - 1 - time, time)  # (T, B)
    again = lambda x: _gathered(x, time)
    return tf.custom_gradient(lambda x: (again(x), again))(sequence)


def _gathered(sequence, time):
    """Of each row the steps that are asked for: (T, B, E), (..., B) int32 -> (..., B, E)."""
    rows = tf.shape(sequence)[1]
    return tf.gather(tf.reshape(sequence, [-1, sequence.shape[-1]]), time * rows + tf.range(rows))
