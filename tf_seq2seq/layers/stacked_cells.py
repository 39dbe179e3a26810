"""A stack of recurrent cells, run a step at a time or a whole sequence a layer at a time.

Shapes: **N** rows, **T** steps, **E** input size, **U** units, **C** context size. Sequences are time-major.
"""

import keras
import tensorflow as tf

from tf_seq2seq.layers.dropout import checked_rate, dropout_mask
from tf_seq2seq.layers.unroll import run_cell


@keras.saving.register_keras_serializable("tf_seq2seq")
class StackedCells(keras.layers.Layer):
    """Cells upon one another, with dropout between layers and residual connections.

    ::

        x_1 = inputs
        x_{l+1} = cell_l(dropout([x_l; context])) (+ x_l from layer `residual_from` on)

    The dropout masks are drawn before the loop, by `noise`, so that both ways to run give the same result.

    >>> from tf_seq2seq.layers.cells import LSTMCell
    >>> cells = StackedCells([LSTMCell(3), LSTMCell(3)])
    >>> cells.build(input_size=5)
    >>> output, state = cells.step(tf.ones([2, 5]), cells.initial_state(2))
    >>> tuple(output.shape), len(state)
    ((2, 3), 2)

    Args:
        cells: from the bottom to the top; all of one kind.
        dropout: share of a layer's inputs that is dropped in training; the lowest layer's input is the caller's.
        residual_from: number of the lowest layer (0 is the bottom) that adds its input to its output; None for none.
        variational: whether the same values are dropped at all steps (Gal and Ghahramani 2016, section 4.1).

    Source: residual stack as in Wu et al. 2016 (GNMT), section 3.1.
    """

    def __init__(self, cells, dropout=0.0, residual_from=None, variational=False, **kwargs):
        super().__init__(**kwargs)
        self.cells = list(cells)
        self.dropout = checked_rate(dropout)
        self.residual_from = residual_from
        self.variational = variational
        self.seed_generator = keras.random.SeedGenerator()

    def get_config(self):
        return {
            **super().get_config(),
            "cells": [keras.saving.serialize_keras_object(cell) for cell in self.cells],
            "dropout": self.dropout,
            "residual_from": self.residual_from,
            "variational": self.variational,
        }

    @classmethod
    def from_config(cls, config):
        cells = [keras.saving.deserialize_keras_object(cell) for cell in config["cells"]]
        return cls(**{**config, "cells": cells})

    def build(self, input_size, context_size=0):
        self.context_size = context_size
        for number, cell in enumerate(self.cells):
            self._check_residual(number, input_size, cell.units)
            if not cell.built:  # a loaded one is built already
                cell.build((None, input_size + (context_size if number else 0)))
            input_size = cell.units

    def _check_residual(self, number, input_size, units):
        if self.residual(number) and input_size != units:
            raise ValueError(
                f"layer {number} adds its input of size {input_size} to its output of size {units}; "
                "give them one size or set residual_from to a layer above"
            )

    def residual(self, number):
        """Whether a layer adds its input to its output."""
        return self.residual_from is not None and number >= self.residual_from

    @property
    def units(self):
        """Size of the top layer's output."""
        return self.cells[-1].units

    @property
    def state_sizes(self):
        """Nest of ints like the state: a tuple with one tuple a layer."""
        return tuple(cell.state_sizes for cell in self.cells)

    def initial_state(self, rows):
        """Zeros, float32, (rows, U) each."""
        return tf.nest.map_structure(lambda size: tf.zeros([rows, size]), self.state_sizes)

    def noise(self, inputs, training):
        """Draws the dropout masks of the layers above the bottom for a whole sequence.

        Args:
            inputs: (T, N, E), for its length, rows and dtype.
            training: whether to drop anything.

        Returns:
            () or one (T, N, U) mask of 0 and 1 / (1 - dropout) a layer.
        """
        if not training or not self.dropout:
            return ()
        steps, rows = tf.unstack(tf.shape(inputs))[:2]

        def mask(units):
            shape = [1 if self.variational else steps, rows, units]
            mask = dropout_mask(shape, self.dropout, self.seed_generator, inputs.dtype)
            return tf.broadcast_to(mask, [steps, rows, units])

        return tuple(mask(cell.units) for cell in self.cells[:-1])

    def call(self, inputs, state):
        """One step, as `step` does it."""
        return self.step(inputs, state)

    def step(self, inputs, state, noise=(), context=None):
        """Runs all layers once.

        Args:
            inputs: (N, E) floating.
            state: from `initial_state` or a step before.
            noise: the step's slice of `noise`.
            context: (N, C) or None, joined to the inputs of every layer above the bottom.

        Returns:
            output (N, U) in the inputs' dtype, and state.
        """

        def run(cell, inputs, state):
            output, state, _ = cell.step(cell.project(inputs), state)
            return output, state

        return self._through(run, inputs, state, noise, context)

    def sequence(self, inputs, state, noise=(), context=None, training=False, first=0):
        """Runs each layer over the whole sequence, the bottom first; equal to `step` in a loop.

        Args:
            inputs: (T, N, E) floating.
            state: the state to start from.
            noise: from `noise`.
            context: (T, N, C) or None, joined to the inputs of every layer above the bottom.
            training: whether recurrent dropout drops anything.
            first: number of the layer that `inputs` go into; those below are not run.

        Returns:
            outputs (T, N, U) in the inputs' dtype, and the last state, of the layers below `first` as it came.
        """
        run = lambda cell, x, state: run_cell(cell, x, state, training=training)
        return self._through(run, inputs, state, noise, context, first)

    def _through(self, run, inputs, state, noise, context=None, first=0):
        states = [*state[:first]]
        for number, (cell, before) in enumerate(zip(self.cells, state, strict=True)):
            if number < first:
                continue
            if number and noise:
                inputs = inputs * noise[number - 1]
            joined = inputs if context is None or not number else tf.concat([inputs, context], axis=-1)
            output, after = run(cell, joined, before)
            inputs = output + inputs if self.residual(number) else output
            states.append(after)
        return inputs, tuple(states)
