"""Searches whose options are tensors: one graph for every beam size, penalty and cut-off.

Without conditions and constraints a beam search is a loop of its own, so that these cost nothing where they are off. What
it finds is what `BeamSearch` and `Sampling` with the same numbers find.

Shapes: **B** sources, **S** source length, **K** hypotheses a source, **T** target length, **V** vocabulary.
"""

import tensorflow as tf

from tf_seq2seq.data.vocabulary import PAD, UNK
from tf_seq2seq.decoding.beam_search import BeamSearch
from tf_seq2seq.decoding.conditions import of_sources
from tf_seq2seq.decoding.constraints import NoRepeatNGrams, RepetitionPenalty, Switched
from tf_seq2seq.decoding.coverage import CoveragePenalty
from tf_seq2seq.decoding.penalties import LengthPenalty
from tf_seq2seq.decoding.sampling import Sampling
from tf_seq2seq.export.options import OWN_SEED

ROWS = ("seeds", "prefix", "banned", "phrases")
"""The options that have one row a source."""


def search(begin, source_ids, options, aligned):
    """Searches in the graph.

    Args:
        begin: ``begin(source_ids (B, S), conditions dict) -> step, state, memory``.
        source_ids: (B, S) int32, S >= 1.
        options: dict of all options' tensors, checked; prefix, banned and phrases in ids.
        aligned: whether the model gives alignments, so that there may be a coverage penalty.

    Returns:
        dict of the fields of `Hypotheses`, K = n_best; no alignments if there are none.
    """
    conditions = {name: _wide(options[name]) for name in ("prefix", "phrases")}
    step, state, memory = begin(source_ids, conditions)
    rows = tf.shape(source_ids)[0]
    own = of_sources(source_ids)
    own = own._replace(seeds=tf.where(options["seeds"] == OWN_SEED, own.seeds, options["seeds"]))
    forced = own._replace(prefix=conditions["prefix"], banned=_banned(options))

    def found(strategy, conditions, count=None):
        return as_dict(strategy(step, state, memory, rows, conditions), count)

    return tf.cond(
        options["samples"] > 0,
        lambda: found(_sampling(options), forced, options["n_best"]),
        lambda: tf.cond(
            _anything(options, forced.banned),
            lambda: found(_conditioned(options, aligned), forced._replace(phrases=conditions["phrases"])),
            lambda: found(BeamSearch(**_beam(options)), own),
        ),
    )


def as_dict(hypotheses, count=None):
    """The fields of `Hypotheses` that there are, of the first `count` hypotheses; None for all."""
    return {name: field[:, :count] for name, field in hypotheses._asdict().items() if field is not None}


def _wide(ids):
    """(B, ...) with axes of at least 1: TensorFlow 2.12 puts nothing into tensors without elements."""
    missing = [tf.maximum(1 - tf.shape(ids)[axis], 0) for axis in range(1, len(ids.shape))]
    return tf.pad(ids, [[0, 0], *([0, more] for more in missing)], constant_values=PAD)


def _banned(options):
    """The banned sequences, and the unknown token where it is not wanted: (B, M+1, L) int32."""
    unknown = tf.where(options["no_unk"], UNK, PAD)
    banned = tf.pad(_wide(options["banned"]), [[0, 0], [0, 1], [0, 0]], constant_values=PAD)
    last = tf.range(tf.shape(banned)[1]) == tf.shape(banned)[1] - 1
    first = tf.range(tf.shape(banned)[2]) == 0
    return tf.where(last[:, None] & first, unknown, banned)


def _anything(options, banned):
    """Whether the search is more than a plain one."""
    ids = [options["prefix"], options["phrases"], banned]
    return (
        tf.reduce_any([tf.reduce_any(one != PAD) for one in ids])
        | (options["no_repeat_ngram"] > 0)
        | (options["repetition_penalty"] != 1)
        | (options["coverage_penalty"] != "none")
    )


def _lengths(options):
    return {name: options[name] for name in ("max_length", "min_length")}


def _constraints(options):
    size, penalty = options["no_repeat_ngram"], options["repetition_penalty"]
    constraints = [
        Switched(NoRepeatNGrams(size), size > 0),
        Switched(RepetitionPenalty(penalty), penalty != 1),
    ]
    return {"constraints": constraints, **_lengths(options)}


def _beam(options):
    """The arguments of a `BeamSearch` without constraints."""
    penalty = LengthPenalty(options["length_penalty"], options["alpha"], options["beta"])
    names = ("beam_size", "n_best", "stop", "patience")
    return {"length_penalty": penalty, **{name: options[name] for name in names}, **_lengths(options)}


def _conditioned(options, aligned):
    coverage = CoveragePenalty(options["coverage_penalty"], options["coverage_beta"]) if aligned else None
    return BeamSearch(**_beam(options) | _constraints(options), coverage_penalty=coverage)


def _sampling(options):
    names = ("samples", "temperature", "top_k", "top_p", "typical", "epsilon")
    return Sampling(**{name: options[name] for name in names}, **_constraints(options))
