"""A softmax in two steps for a large vocabulary: frequent tokens, or a cluster of rare ones first.

Shapes: **M** real tokens, **D** feature size, **V** vocabulary.
"""

import itertools

import keras
import tensorflow as tf

from tf_seq2seq.data.vocabulary import END
from tf_seq2seq.errors import InputError
from tf_seq2seq.layers.affine import affine
from tf_seq2seq.models.objectives import cross_entropy

REDUCTION = 4  # a cluster's features are so many times smaller than those of the one before


@keras.saving.register_keras_serializable("tf_seq2seq")
class AdaptiveSoftmax(keras.layers.Layer):
    """Log-probabilities of a vocabulary whose rare tokens stand in clusters, each read from fewer features.

    With cutoffs c_1 < ... < c_n the ids below c_1 and one slot a cluster are the *head*; cluster i has the ids from
    c_i to c_(i+1), the last one those to V::

        log p(y) = log softmax(W_0 f + b_0)[y]                                                y < c_1
        log p(y) = log softmax(W_0 f + b_0)[slot of i] + log softmax(W_i P_i f + b_i)[y]      P_i: D -> D / 4^i

    It is exact, a distribution over all of V, no estimate: there is no bias. What it costs is capacity: a rare token
    is told from others of its cluster by fewer features. `nll` computes a cluster for its own labels only, so that a
    training step seldom pays for the long tail; search computes all of it.

    Time of a step and largest memory of the process, 640 target tokens drawn after Zipf's law, 256 units, Adam, one core,
    cutoffs 2,000 and 10,000; beside `SampledSoftmax`, which trains the whole projection::

        vocabulary             full           adaptive     8,192 samples
        50,000           395 ms 1.34 GiB   93 ms 1.08 GiB  127 ms 1.32 GiB
        100,000          665 ms 1.90 GiB  123 ms 1.38 GiB  155 ms 1.71 GiB

    A token's cluster takes ids for ranks: as vocabularies here are made, frequent tokens come first.

    >>> softmax = AdaptiveSoftmax(10, cutoffs=(4, 6))
    >>> log_probs = softmax(tf.ones([2, 16]))
    >>> tuple(log_probs.shape), tf.reduce_sum(tf.exp(log_probs), axis=1).numpy().round(4).tolist()
    ((2, 10), [1.0, 1.0])

    Args:
        vocab_size: V, special ids included.
        cutoffs: the first id of each cluster, rising, above 3 and below V.

    Raises:
        InputError: for cutoffs that are no such numbers.

    Source: Grave et al. 2017, Efficient softmax approximation for GPUs, section 4; reduction as in its experiments.
    """

    def __init__(self, vocab_size, cutoffs, **kwargs):
        super().__init__(**kwargs)
        limits = [END, *cutoffs, vocab_size]
        rising = all(isinstance(low, int) and low < high for low, high in itertools.pairwise(limits))
        if not cutoffs or not rising:
            raise InputError(
                f"adaptive is the first ids of clusters, rising from 4 or more to below {vocab_size}, not {cutoffs!r}; "
                "(2000, 10000) suits 50,000 tokens"
            )
        self.vocab_size = vocab_size
        self.cutoffs = tuple(cutoffs)
        sizes = [end - begin for begin, end in zip(self.cutoffs, limits[2:])]
        same = {"dtype": self.dtype_policy}
        self.clusters = [_Cluster(self.cutoffs[0] + len(sizes), 0, name="head", **same)]
        self.clusters += [
            _Cluster(size, i, name=f"cluster_{i}", **same) for i, size in enumerate(sizes, start=1)
        ]

    def get_config(self):
        return {**super().get_config(), "vocab_size": self.vocab_size, "cutoffs": self.cutoffs}

    def build(self, features_shape):
        for cluster in self.clusters:
            cluster.build(features_shape)
        self.built = True

    def call(self, features):
        """Features (..., D) -> log-probabilities (..., V) float32, nats."""
        head, *clusters = (tf.nn.log_softmax(one.logits(features)) for one in self.clusters)
        first = self.cutoffs[0]
        tails = [head[..., first + i, None] + one for i, one in enumerate(clusters)]
        return tf.concat([head[..., :first], *tails], axis=-1)

    def nll(self, features, labels):
        """Negative log-likelihood of labels.

        Args:
            features: (M, D).
            labels: (M,) int32.

        Returns:
            nll: (M,) float32, nats, and right: (M,) bool, whether the label is the likeliest of the likeliest cluster.
        """
        first = self.cutoffs[0]
        number = tf.searchsorted(self.cutoffs, labels, side="right")  # 0: in the head
        nll, right = _of_labels(
            self.clusters[0].logits(features), tf.where(number == 0, labels, first + number - 1)
        )
        for i, (cluster, begin) in enumerate(zip(self.clusters[1:], self.cutoffs), start=1):
            rows = tf.where(number == i)  # (m, 1)
            logits = cluster.logits(tf.gather_nd(features, rows))
            more, best = _of_labels(logits, tf.gather_nd(labels, rows) - begin)
            nll = tf.tensor_scatter_nd_add(nll, rows, more)
            right = tf.tensor_scatter_nd_update(right, rows, tf.gather_nd(right, rows) & best)
        return nll, right


class _Cluster(keras.layers.Layer):
    """Logits of some tokens from features made D / 4^i long; number 0, the head, reads them as they are.

    Args:
        size: number of tokens.
        number: i.
    """

    def __init__(self, size, number, **kwargs):
        super().__init__(**kwargs)
        self.size, self.number = size, number

    def build(self, features_shape):
        width = features_shape[-1]
        self.reduction = None
        if self.number:
            width = max(1, width // REDUCTION**self.number)
            self.reduction = self.add_weight(
                shape=(features_shape[-1], width), initializer="glorot_uniform", name="reduction"
            )
        self.projection_kernel = self.add_weight(
            shape=(self.size, width), initializer="glorot_uniform", name="projection_kernel"
        )
        self.projection_bias = self.add_weight(
            shape=(self.size,), initializer="zeros", name="projection_bias"
        )
        self.built = True

    def logits(self, features):
        """Features (..., D) -> (..., size) float32."""
        if self.reduction is not None:
            features = affine(features, self.reduction)
        logits = affine(features, self.projection_kernel, self.projection_bias, transpose=True)
        return tf.cast(logits, tf.float32)


def _of_labels(logits, labels):
    """Negative log-likelihood of each row's label and whether it is the row's likeliest: (M, W), (M,) -> two of (M,)."""
    right = tf.gather(logits, labels, batch_dims=1) >= tf.reduce_max(logits, axis=-1)
    return cross_entropy(logits, labels)[0], right
