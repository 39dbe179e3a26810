"""Attention around a stack of cells: the recurrent heart of every decoder.

Shapes: **N** rows, **S** source length, **T** steps, **E** input size, **U** units, **C** context size, **D** output size.
"""

import keras
import tensorflow as tf

from tf_seq2seq.layers.affine import affine
from tf_seq2seq.layers.attention_loop import attention_loop
from tf_seq2seq.layers.unroll import swap_time


@keras.saving.register_keras_serializable("tf_seq2seq")
class AttentionWrapper(keras.layers.Layer):
    """Cells that look at the source at every step, before or after they move.

    *after* (Luong): the cells move, their output is the query::

        h_t = cells([x_t; a_{t-1}])         a_{t-1} only with input feeding
        c_t = attention(h_t)
        a_t = tanh(W [c_t; h_t])            the attentional vector, readout "attentional"

    *before* (Bahdanau): the state before the step is the query, the context goes into the cells::

        c_t = attention(h_{t-1})            h of the top layer, of the bottom one with `every_layer`
        h_t = cells([x_t; c_t])             c_t joins every layer's input with `every_layer`
        o_t = maxout(U h_t + V x_t + C c_t) readout "maxout", pairs; or h_t itself, readout None

    `sequence` is vectorised over time wherever no step needs the attention of the step before it; otherwise it has a loop
    of as little as does (`attention_loop`). Both give the same as `step`.

    >>> from tf_seq2seq.layers.attention import DotAttention
    >>> from tf_seq2seq.layers.cells import LSTMCell
    >>> from tf_seq2seq.layers.stacked_cells import StackedCells
    >>> wrapper = AttentionWrapper(StackedCells([LSTMCell(4)]), DotAttention())
    >>> wrapper.build(input_size=3, memory_size=4)
    >>> memory = wrapper.memory(tf.ones([2, 5, 4]), tf.ones([2, 5], tf.bool))
    >>> state = wrapper.initial_state(wrapper.cells.initial_state(2))
    >>> output, state, alignments = wrapper.step(tf.ones([2, 3]), state, memory)
    >>> tuple(output.shape), tuple(alignments.shape)
    ((2, 4), (2, 5))

    Args:
        cells: a `StackedCells`.
        attention: an attention layer, or None for plain cells.
        position: "after" or "before".
        input_feeding: whether the attentional vector is joined to the next step's input (position "after").
        readout: "attentional", "maxout" or None (the output is the cells' own); "default" is "attentional" after
            the cells and "maxout" before them.
        readout_size: D; None for the cells' units.
        every_layer: whether the context joins every layer's input (position "before").

    Source: Luong, Pham and Manning 2015, equations 5-6 and section 3.3; Bahdanau, Cho and Bengio 2015, appendix A.2.2
        (the readout reads h_t as in Cho et al. 2014, not h_{t-1}); Wu et al. 2016, section 3, for `every_layer`.
    """

    def __init__(
        self,
        cells,
        attention=None,
        position="after",
        input_feeding=False,
        readout="default",
        readout_size=None,
        every_layer=False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if readout == "default":
            readout = {"after": "attentional", "before": "maxout"}.get(position) if attention else None
        self.cells = cells
        self.attention = attention
        self.position = position
        self.input_feeding = input_feeding
        self.readout = readout
        self.readout_size = readout_size or cells.units
        self.every_layer = every_layer
        self._check()

    def _check(self):
        if self.position not in ("after", "before"):
            raise ValueError(f'position is "after" or "before", not {self.position!r}')
        if self.readout not in ("attentional", "maxout", None):
            raise ValueError(f'readout is "attentional", "maxout", None or "default", not {self.readout!r}')
        if self.readout and not self.attention:
            raise ValueError(
                f"the readout {self.readout!r} reads a context: give an attention, or readout=None"
            )
        if self.attention and self.position == "after" and not self.readout:
            raise ValueError(
                'attention after the cells shows in a readout only: readout="attentional" or "maxout"'
            )
        if self.input_feeding and (self.position, bool(self.readout)) != ("after", True):
            raise ValueError(
                'input feeding feeds the readout of an attention after the cells: position="after"'
            )
        if self.every_layer and self.position != "before":
            raise ValueError('every_layer needs the context before the cells move: position="before"')
        if (self.input_feeding or self.position == "before") and self.cells.residual(0):
            raise ValueError(
                "the lowest layer's inputs are joined with what attention gives: residual_from is 1 or more"
            )
        if not self.readout and self.readout_size != self.cells.units:
            raise ValueError(f"without a readout the output has the cells' {self.cells.units} units")

    def get_config(self):
        serialize = keras.saving.serialize_keras_object
        return {
            **super().get_config(),
            "cells": serialize(self.cells),
            "attention": self.attention and serialize(self.attention),
            "position": self.position,
            "input_feeding": self.input_feeding,
            "readout": self.readout,
            "readout_size": self.readout_size,
            "every_layer": self.every_layer,
        }

    @classmethod
    def from_config(cls, config):
        config = {**config}
        for name in ("cells", "attention"):
            config[name] = config[name] and keras.saving.deserialize_keras_object(config[name])
        return cls(**config)

    def build(self, input_size, memory_size):
        context_size = 0
        if self.attention:
            if not self.attention.built:  # a loaded one is built already
                self.attention.build(self._query_units, memory_size)
            context_size = self.attention.memory_size
        before = context_size if self.position == "before" else 0
        fed = self.readout_size if self.input_feeding else 0
        if not self.cells.built:
            self.cells.build(input_size + before + fed, before if self.every_layer else 0)
        if self.readout:
            self._build_readout(
                context_size + self.cells.units + (input_size if self.readout == "maxout" else 0)
            )

    def _build_readout(self, rows):
        columns = self.readout_size * (2 if self.readout == "maxout" else 1)
        self.readout_kernel = self.add_weight(
            shape=(rows, columns), initializer="glorot_uniform", name="readout_kernel"
        )
        self.readout_bias = None
        if self.readout == "maxout":
            self.readout_bias = self.add_weight(shape=(columns,), initializer="zeros", name="readout_bias")

    @property
    def query_layer(self):
        """Number of the layer whose state is the query of an attention before the cells."""
        return 0 if self.every_layer else -1

    @property
    def _query_units(self):
        return self.cells.cells[self.query_layer].units

    def memory(self, values, mask):
        """What every step reads of the source: the attention's memory of (N, S, U) values, or ()."""
        return self.attention.memory(values, mask) if self.attention else ()

    def initial_state(self, cells_state):
        """A state that starts from a cells' state: {"cells", "attention"} and, with input feeding, "fed" (N, D)."""
        state = {"cells": cells_state, "attention": ()}
        if self.input_feeding:
            rows = tf.shape(tf.nest.flatten(cells_state)[0])[0]
            state["fed"] = tf.zeros([rows, self.readout_size])
        return state

    def call(self, inputs, state, memory=()):
        """One step, as `step` does it."""
        return self.step(inputs, state, memory)

    def step(self, inputs, state, memory=(), noise=()):
        """Moves once.

        Args:
            inputs: (N, E) floating.
            state: from `initial_state` or a step before.
            memory: from `memory`.
            noise: the step's slice of the cells' dropout masks.

        Returns:
            output (N, D) in the inputs' dtype; state; alignments (N, S) float32, or None.
        """
        if not self.attention:
            output, cells = self.cells.step(inputs, state["cells"], noise)
            return output, {**state, "cells": cells}, None
        step = self._step_before if self.position == "before" else self._step_after
        return step(inputs, state, memory, noise)

    def _step_after(self, inputs, state, memory, noise):
        fed = [tf.cast(state["fed"], inputs.dtype)] if self.input_feeding else []
        query, cells = self.cells.step(tf.concat([inputs, *fed], axis=-1), state["cells"], noise)
        context, alignments, carried = self.attention.attend(query, memory, state["attention"])
        output = self.read_out(context, query, inputs)
        state = {**state, "cells": cells, "attention": carried}
        if self.input_feeding:
            state["fed"] = tf.cast(output, state["fed"].dtype)
        return output, state, alignments

    def _step_before(self, inputs, state, memory, noise):
        query = tf.cast(state["cells"][self.query_layer][0], inputs.dtype)
        context, alignments, carried = self.attention.attend(query, memory, state["attention"])
        joined = tf.concat([inputs, context], axis=-1)
        hidden, cells = self.cells.step(joined, state["cells"], noise, context if self.every_layer else None)
        output = self.read_out(context, hidden, inputs)
        return output, {**state, "cells": cells, "attention": carried}, alignments

    def read_out(self, context, hidden, inputs):
        """The output (..., D) of context (..., C), the cells' output (..., U) and inputs (..., E)."""
        if not self.readout:
            return hidden
        joined = [context, hidden, inputs] if self.readout == "maxout" else [context, hidden]
        return self.activated(affine(tf.concat(joined, axis=-1), self.readout_kernel, self.readout_bias))

    def activated(self, products):
        """The readout of its products: tanh, or for "maxout" the larger of two, (..., 2D) -> (..., D)."""
        if self.readout == "attentional":
            return tf.tanh(products)
        return tf.maximum(*tf.split(products, 2, axis=-1))

    def sequence(self, inputs, state, memory=(), training=False):
        """Moves over a whole sequence.

        Args:
            inputs: (N, T, E) floating.
            state: the state to start from.
            memory: from `memory`.
            training: whether the cells' dropout drops anything.

        Returns:
            outputs (N, T, D) in the inputs' dtype; the last state; alignments (N, T, S) float32, or None.
        """
        noise = self.cells.noise(swap_time(inputs), training)
        if not self.attention:
            outputs, cells = self._run_cells(inputs, state, noise, training)
            return outputs, {**state, "cells": cells}, None
        if self.position == "after" and not self.input_feeding:
            return self._sequence_after(inputs, state, memory, noise, training)
        if not self.attention.reads_query and self.position == "before":
            return self._sequence_before(inputs, state, memory, noise, training)
        return attention_loop(self, inputs, state, memory, noise, training)

    def _run_cells(self, inputs, state, noise, training, context=None):
        context = None if context is None else swap_time(context)
        outputs, cells = self.cells.sequence(swap_time(inputs), state["cells"], noise, context, training)
        return swap_time(outputs), cells

    def _sequence_after(self, inputs, state, memory, noise, training):
        queries, cells = self._run_cells(inputs, state, noise, training)
        context, alignments, carried = self.attention.attend(queries, memory, state["attention"])
        outputs = self.read_out(context, queries, inputs)
        return outputs, {**state, "cells": cells, "attention": carried}, alignments

    def _sequence_before(self, inputs, state, memory, noise, training):
        context, alignments, carried = self.attention.attend(inputs, memory, state["attention"])
        joined = tf.concat([inputs, context], axis=-1)
        hidden, cells = self._run_cells(joined, state, noise, training, context if self.every_layer else None)
        outputs = self.read_out(context, hidden, inputs)
        return outputs, {**state, "cells": cells, "attention": carried}, alignments
