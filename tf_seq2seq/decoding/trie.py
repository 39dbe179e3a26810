"""A prefix tree of the only targets that may come out, e.g. the names of a catalogue.

Shapes: **N** rows, **W** what a step can emit, **E** edges of the tree, **T** target length.
"""

import keras
import tensorflow as tf

from tf_seq2seq.data.vocabulary import END
from tf_seq2seq.decoding.candidates import NEVER
from tf_seq2seq.decoding.constraints import marked
from tf_seq2seq.errors import InputError


@keras.saving.register_keras_serializable("tf_seq2seq")
class Trie:
    """Only the given sequences, each to its END.

    >>> trie = Trie([[4, 5], [4, 6]])
    >>> node = trie.advance(trie.start(1), tf.constant([4]))
    >>> trie(tf.zeros([1, 7]), tf.constant([[4, 0]]), 1, node).numpy().tolist()
    [[-inf, -inf, -inf, -inf, -inf, 0.0, 0.0]]

    Args:
        sequences: lists of token ids; END is added to those that do not end with it.

    Raises:
        InputError: if there is none.

    Source: De Cao et al. 2021, "Autoregressive Entity Retrieval", section 3.2.
    """

    def __init__(self, sequences):
        self.sequences = [[int(token) for token in sequence] for sequence in sequences]
        if not self.sequences:
            raise InputError("a trie needs one sequence of token ids or more; none came")
        nodes, edges = {(): 0}, {}
        for sequence in self.sequences:
            sequence = (*sequence, END) if sequence[-1:] != [END] else tuple(sequence)
            for length, token in enumerate(sequence):
                child = nodes.setdefault(sequence[: length + 1], len(nodes))
                edges[nodes[sequence[:length]], token] = child
        self._froms, self._tokens, self._children = zip(*[(*key, edges[key]) for key in sorted(edges)])
        self._nodes = len(nodes)

    def start(self, rows):
        """Every row at the root: (N,) int32."""
        return tf.zeros([rows], tf.int32)

    def advance(self, node, ids):
        """Every row's next node; a leaf, from which nothing leads on, where the tree has no such edge."""
        places = tf.searchsorted(self._keys(self._froms, self._tokens), self._keys(node, ids))
        places = tf.minimum(places, len(self._froms) - 1)
        found = (tf.gather(self._froms, places) == node) & (tf.gather(self._tokens, places) == ids)
        return tf.where(found, tf.gather(self._children, places), self._nodes)

    def __call__(self, log_probs, ids, time, node):
        children = tf.RaggedTensor.from_value_rowids(self._tokens, self._froms, nrows=self._nodes + 1)
        allowed = tf.gather(children, node).to_tensor(-1)  # (N, most children)
        leaf = tf.reduce_all(allowed < 0, axis=1, keepdims=True)
        forbidden = ~marked(allowed, allowed >= 0, log_probs) | leaf
        return tf.where(forbidden, NEVER, log_probs)

    @staticmethod
    def _keys(nodes, tokens):
        """Edges as numbers that sort like (node, token)."""
        return tf.cast(nodes, tf.int64) * 2**32 + tf.cast(tokens, tf.int64)

    def get_config(self):
        return {"sequences": self.sequences}

    @classmethod
    def from_config(cls, config):
        return cls(**config)
