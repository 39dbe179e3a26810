"""Sampling: tokens are drawn from the model's distribution.

A row draws by numbers that depend on its seed, its place among the samples of its source and the step alone, so that it
comes out the same whatever batch it is in.

Shapes: **B** sources, **K** samples a source, **N** rows, **W** what a step can emit, **T** the most tokens.
"""

import keras
import tensorflow as tf

from tf_seq2seq.data.vocabulary import END
from tf_seq2seq.decoding import beams, cutoffs, lengths, row_wise
from tf_seq2seq.decoding.candidates import NEVER
from tf_seq2seq.decoding.hypotheses import best_first
from tf_seq2seq.decoding.rules import Rules
from tf_seq2seq.errors import InputError


@keras.saving.register_keras_serializable("tf_seq2seq")
class Sampling:
    """Draws K targets for each source, independently of one another, until END or the maximum length.

    ::

        token ~ cut(softmax(log P / temperature))

    Cut-offs and temperature change what is drawn, not what is reported: scores are sums of the model's own log-probs.

    >>> from tf_seq2seq.models.contracts import StepOutput
    >>> def step(ids, state, memory):
    ...     return StepOutput(tf.math.log([[0.0, 0.0, 0.0, 0.5, 0.25, 0.25]]), state, None)
    >>> found = Sampling(samples=3, seed=1, max_length=4)(step, state=(), memory=(), rows=1)
    >>> found.scores.shape, bool(tf.reduce_all(found.ids != 2))
    (TensorShape([1, 3]), True)

    Args:
        samples: K.
        temperature: above 0; below 1 the likely become likelier.
        top_k, top_p, typical, epsilon: cut-offs, see `cutoffs`; None for none.
        seed: joined to the seed of each row, so that another one draws anew.
        max_length: the most tokens, END counted: an int, or (a, b) for a times the source's length plus b.
        min_length: the fewest tokens, END counted, likewise.
        constraints: a list of constraints, see `constraints`.

    Inside a graph `samples`, `temperature`, the cut-offs, all of them, and a length may be scalar tensors, which are not
    checked; a cut-off is none where it is 0 (`top_k`, `epsilon`) or 1 (`top_p`, `typical`).

    Raises:
        InputError: for a setting out of its range; the message names it.
    """

    def __init__(
        self,
        samples=1,
        temperature=1.0,
        top_k=None,
        top_p=None,
        typical=None,
        epsilon=None,
        seed=0,
        max_length=100,
        min_length=1,
        constraints=(),
    ):
        self.samples = beams.positive("samples", samples)
        if not tf.is_tensor(temperature) and not temperature > 0:
            raise InputError(
                f"temperature is above 0 (for the likeliest token, use Greedy), not {temperature!r}"
            )
        self.temperature = temperature if tf.is_tensor(temperature) else float(temperature)
        self.top_k, self.top_p, self.typical, self.epsilon = cutoffs.checked(top_k, top_p, typical, epsilon)
        self.seed = int(seed)
        self.max_length = lengths.checked("max_length", max_length)
        self.rules = Rules(constraints, min_length)

    def __call__(self, step, state, memory, rows, conditions=None):
        """Samples in the graph.

        Args:
            step: `step(ids (N,) int32, state, memory) -> StepOutput`.
            state: nest, every leaf (B, ...).
            memory: nest, every leaf (B, ...).
            rows: B, int or int32 scalar.
            conditions: `Conditions` of the sources, or None. Without seeds, row i has the seed i.

        Returns:
            `Hypotheses` with K = `samples`, best first.
        """
        found = row_wise.search(
            step,
            state,
            memory,
            rows,
            conditions,
            width=self.samples,
            max_length=self.max_length,
            rules=self.rules,
            pick=self._pick,
            more=self._numbers,
        )
        return best_first(found)

    def _numbers(self, conditions, longest):
        """Uniform numbers in [0, 1) for each source, step and sample: (B, T, K) float32.

        A generator's first numbers are the same however many are asked for.
        """
        draw = lambda seed: tf.random.stateless_uniform([longest, self.samples], [seed, self.seed])
        numbers = tf.map_fn(draw, conditions.seeds, fn_output_signature=tf.float32)
        known = None if tf.is_tensor(self.samples) else self.samples
        return tf.ensure_shape(numbers, [None, None, known])

    def _pick(self, time, output, rows):
        values, log_probs = self.rules.all(output, time, rows.followed, rows.conditions)
        stuck = tf.reduce_all(values == NEVER, axis=1, keepdims=True)
        drawn_from = tf.nn.log_softmax(values / self.temperature)
        drawn_from, ids = cutoffs.apply(drawn_from, self.top_k, self.top_p, self.typical, self.epsilon)
        numbers = tf.reshape(rows.more[:, time], [tf.shape(values)[0], -1])  # (B, K) -> (N, n)
        picked = tf.gather(ids, _drawn(drawn_from, numbers), batch_dims=1)  # (N, n)
        each = tf.gather(log_probs, picked, batch_dims=1)
        return tf.where(stuck, END, picked), tf.where(stuck, NEVER, each)

    def get_config(self):
        names = ["samples", "temperature", "top_k", "top_p", "typical", "epsilon", "seed"]
        return {
            **{name: getattr(self, name) for name in names},
            "max_length": lengths.as_config(self.max_length),
            **self.rules.get_config(),
        }

    @classmethod
    def from_config(cls, config):
        return cls(**config)


def _drawn(log_probs, numbers):
    """The places that uniform numbers (N, n) fall to: (N, n) int32. The first place whose cumulated share exceeds it."""
    shares = tf.cumsum(tf.exp(log_probs), axis=1)
    places = tf.searchsorted(shares, numbers * shares[:, -1:], side="right")
    last = tf.where(log_probs > NEVER, tf.range(tf.shape(log_probs)[1]), 0)  # rounding may pass it
    return tf.minimum(places, tf.reduce_max(last, axis=1, keepdims=True))
