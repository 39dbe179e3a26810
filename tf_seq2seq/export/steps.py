"""The signatures `encode` and `step`, for clients that search themselves.

State and memory are nests of any form; clients see their leaves, numbered: ``state_0``, ``state_1``, ..., ``memory_0``, ...
Rows, the first axis of every leaf, may be left out, repeated and put in another order between steps.

Shapes: **B** texts, **S** source length, **N** rows, **V** vocabulary.
"""

import tensorflow as tf

from tf_seq2seq.data.vocabulary import START


class Steps:
    """A model's beginning and step, traced; what a model's step reads must come by its state and memory.

    Args:
        model: anything with ``begin(source) -> step, state, memory``.
        source: `CutText`.
        vocab_size: V of the target.

    Fields:
        signatures: dict of `encode` and `step`.
        aligned: whether a step gives alignments.
    """

    def __init__(self, model, source, vocab_size):
        self._model, self._source, self._vocab_size = model, source, vocab_size
        text = tf.TensorSpec([None], tf.string, name="text")
        encode = tf.function(self._encode, autograph=False).get_concrete_function(text=text)
        specs = {
            name: _spec(name, leaf) for name, leaf in encode.structured_outputs.items() if name[-1].isdigit()
        }
        ids = tf.TensorSpec([None], tf.int32, name="ids")
        step = tf.function(self._one, autograph=False).get_concrete_function(ids=ids, **specs)
        self.signatures = {"encode": encode, "step": step}
        self.aligned = "alignments" in step.structured_outputs

    def _encode(self, text):
        ids, cut = self._source.ids(text)
        self._step, *self._nests = self._model.begin({"source_ids": ids})
        leaves = [_named(name, nest) for name, nest in zip(("state", "memory"), self._nests)]
        return {
            "source_tokens": self._source.written(text),
            "start_ids": tf.fill(tf.shape(text), START),
            **leaves[0],
            **leaves[1],
            "truncated": cut,
        }

    def _one(self, ids, **leaves):
        state, memory = (
            tf.nest.pack_sequence_as(nest, [leaves[key] for key in _named(name, nest)])
            for name, nest in zip(("state", "memory"), self._nests)
        )
        output = self._step(ids, state, memory)
        found = {"log_probs": output.log_probs[:, : self._vocab_size], **_named("state", output.state)}
        return found if output.alignments is None else found | {"alignments": output.alignments}


def _named(name, nest):
    """The leaves of a nest by numbered names."""
    return {f"{name}_{number}": leaf for number, leaf in enumerate(tf.nest.flatten(nest))}


def _spec(name, leaf):
    return tf.TensorSpec([None, *leaf.shape[1:]], leaf.dtype, name=name)
