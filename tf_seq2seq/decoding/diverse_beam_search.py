"""Diverse beam search: groups of a beam, each kept from what the groups before it say at the same step.

Shapes: **B** sources, **K** live hypotheses a source, **G** groups, **W** what a step can emit, **M** expansions.
"""

from typing import Any, NamedTuple

import keras
import tensorflow as tf

from tf_seq2seq.data.vocabulary import END
from tf_seq2seq.decoding import beams, loop, pool
from tf_seq2seq.decoding.beam_search import BeamSearch
from tf_seq2seq.decoding.candidates import NEVER
from tf_seq2seq.decoding.conditions import as_conditions
from tf_seq2seq.decoding.hypotheses import best_first
from tf_seq2seq.errors import InputError

_NONE = -1  # what a group that is done takes, and a place without a hypothesis


class Groups(NamedTuple):
    """The beams of all groups.

    Fields:
        ids: (B, K) int32, the last tokens of all.
        done: (B,) bool, whether all groups are.
        beams: a tuple of G `Beam`.
    """

    ids: Any
    done: Any
    beams: Any


@keras.saving.register_keras_serializable("tf_seq2seq")
class DiverseBeamSearch:
    """Beam search in groups; a token costs as much as groups before took it at the same step (Hamming diversity).

    ::

        rank(y + token) = log P(y + token) - diversity * #(hypotheses of earlier groups that took the token at this step)

    The penalty changes which hypotheses are kept, not their scores, and is not carried on. The first group is a plain
    `BeamSearch` of beam_size / groups. Groups may find the same hypothesis; it is given back once for each. A group that is
    done by its stopping rule takes nothing any more, so that a rule that ends earlier may change what later groups keep.

    >>> from tf_seq2seq.models.contracts import StepOutput
    >>> def step(ids, state, memory):
    ...     first = tf.math.log([0.0, 0.0, 0.0, 0.0, 0.6, 0.4])
    ...     then = tf.math.log([0.0, 0.0, 0.0, 1.0, 0.0, 0.0])
    ...     return StepOutput(tf.where((ids == 2)[:, None], first, then), state, None)
    >>> DiverseBeamSearch(2, groups=2, diversity=1.0)(step, (), (), rows=1).ids.numpy().tolist()
    [[[4, 3], [5, 3]]]

    Args:
        beam_size: K, live hypotheses of all groups.
        groups: G, a divisor of `beam_size`.
        diversity: nats, not below 0.
        n_best: hypotheses given back, of all groups together; None for all.
        **options: of `BeamSearch`, the same for every group.

    Raises:
        InputError: if the groups do not divide the beam, or an option is wrong.

    Source: Vijayakumar et al. 2018, "Diverse Beam Search", equations 3-5; groups and penalty as in fairseq's
        --diverse-beam-groups and --diverse-beam-strength.
    """

    def __init__(self, beam_size=6, groups=3, diversity=0.5, n_best=None, **options):
        self.beam_size = beams.positive("beam_size", beam_size)
        self.groups = beams.positive("groups", groups)
        self.diversity = float(diversity)
        self.n_best = beams.positive("n_best", self.beam_size if n_best is None else n_best)
        if self.beam_size % self.groups:
            raise InputError(f"{groups} groups do not share a beam of {beam_size} evenly: choose a divisor")
        if self.diversity < 0:
            raise InputError(f"diversity is 0 or more, not {diversity!r}")
        if self.n_best > self.beam_size:
            raise InputError(f"n_best is {n_best}, but only beam_size = {beam_size} hypotheses are kept")
        self.size = self.beam_size // self.groups
        self.group = BeamSearch(self.size, n_best=min(self.n_best, self.size), **options)

    @property
    def max_length(self):
        """The most tokens, as `BeamSearch` has it."""
        return self.group.max_length

    def __call__(self, step, state, memory, rows, conditions=None):
        """Searches in the graph; arguments and result as `BeamSearch` has them."""
        beam, longest = self.group.start(rows, as_conditions(conditions, rows))
        start = Groups(tf.tile(beam.ids, [1, self.groups]), beam.done, (beam,) * self.groups)
        end, record = loop.search(step, state, memory, start, self._choose, longest, self.beam_size)
        pools, ended = zip(*(pool.completed(beam.pool, self.group.unfinished(beam)) for beam in end.beams))
        pools = [one._replace(beams=one.beams + number * self.size) for number, one in enumerate(pools)]
        join = lambda fields: tf.concat(fields, axis=1)
        merged = pool.Pool(*map(join, zip(*pools)))
        return best_first(pool.hypotheses(merged, join(ended), record), self.n_best)

    def _choose(self, time, output, now, each):
        """Every group in turn."""
        taken, groups, choices = tf.zeros([tf.shape(now.done)[0], 0], tf.int32), [], []
        for number, beam in enumerate(now.beams):
            rows = each if each == 1 else self.size
            mine = _rows_of_group(output, each, number * self.size if each > 1 else 0, rows)
            bonus = None if number == 0 else lambda ids, taken=taken: -self.diversity * _times(ids, taken)
            new, choice = self.group.choose(time, mine, beam, rows, bonus, more=number * self.size + 1)
            taken = tf.concat([taken, _taken(beam, new)], axis=1)
            first = 0 if each == 1 else number * self.size
            choices.append(choice._replace(parents=choice.parents + first))
            groups.append(new)
        done = tf.reduce_all(tf.stack([beam.done for beam in groups]), axis=0)
        choice = loop.Choice(*(tf.concat(fields, axis=1) for fields in zip(*choices)))
        return Groups(choice.ids, done, tuple(groups)), choice

    def get_config(self):
        config = {**self.group.get_config(), "beam_size": self.beam_size, "n_best": self.n_best}
        return {**config, "groups": self.groups, "diversity": self.diversity}

    @classmethod
    def from_config(cls, config):
        return cls(**config)


def _times(ids, taken):
    """How often each token was taken: (B, M), (B, n) -> (B, M) float32."""
    return tf.math.count_nonzero(ids[:, :, None] == taken[:, None], axis=2, dtype=tf.float32)


def _taken(before, after):
    """The tokens that a group took at a step, END as often as a hypothesis finished: (B, 2K/G) int32."""
    size = tf.shape(after.ids)[1]
    ended = tf.range(size) < (after.finished - before.finished)[:, None]
    ids = tf.where(before.done[:, None] | (after.totals == NEVER), _NONE, after.ids)
    return tf.concat([ids, tf.where(ended, END, _NONE)], axis=1)


def _rows_of_group(output, each, first, rows):
    """The output of a group's rows, `rows` from `first` on of `each`; at the first step all groups share one."""

    def mine(field):
        if field is None:
            return None
        width = tf.shape(field)[1]
        by_source = tf.reshape(field, tf.stack([-1, each, width]))[:, first : first + rows]
        mine = tf.reshape(by_source, tf.stack([-1, width]))  # (B, K/G, W) -> (B*K/G, W)
        mine.set_shape([None, field.shape[1]])
        return mine

    return output._replace(logits=mine(output.logits), alignments=mine(output.alignments))
