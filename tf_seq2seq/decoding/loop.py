"""The loop of every search: step, choose, record; sources that are done are taken out.

A strategy brings its own nest, the *beam*, and ``choose(time, output, beam) -> beam, Choice``. The loop knows of the beam

    ids (B, K) int32     the token that each live hypothesis goes on from
    done (B,) bool       whether the strategy is through with a source

and nothing else. The first step has one row a source (all its hypotheses are the empty one), later ones have K. Whenever
an eighth to a quarter of the sources are done, their rows leave beam, state and memory, so that the steps that long sources
still need cost no more than these sources do.

Shapes: **B** sources, **K** live hypotheses a source, **N = B*K** rows, **T** steps, **S** source length.
"""

from typing import Any, NamedTuple

import tensorflow as tf

from tf_seq2seq.decoding import beams

_KINDS = (tf.int32, tf.int32, tf.float32, tf.int32, tf.float32)  # of what is kept of each step, see `_write`


class Choice(NamedTuple):
    """How hypotheses go on at a step.

    Fields:
        ids: (B, K) int32.
        log_probs: (B, K) float32, nats: the model's own of these tokens.
        parents: (B, K) int32, which of its source's live hypotheses each one continues; None: the one in its own place.
    """

    ids: Any
    log_probs: Any
    parents: Any = None


class Record(NamedTuple):
    """What was chosen at each step, (T, B, K) each; places of sources that were done by then are undefined.

    Fields:
        ids, log_probs, parents: as in `Choice`.
        alignments: (T, B, K, S) float32, of the row that each *live hypothesis before the step* had; or None.
    """

    ids: Any
    log_probs: Any
    parents: Any
    alignments: Any


def search(step, state, memory, beam, choose, longest, width):
    """Searches until every source is done, in the graph.

    Args:
        step: a step function.
        state: nest, every leaf (B, ...).
        memory: nest, every leaf (B, ...).
        beam: the strategy's nest, every leaf (B, ...), with `ids` and `done`.
        choose: ``choose(time () int32, StepOutput, beam, each) -> beam, Choice``; each, an int, is how many rows the output
            has for each source: 1 at the first step, then K.
        longest: the most steps, () int32.
        width: K, an int or () int32.

    Returns:
        the beam at the end, and the `Record`.
    """
    aligned = branched = False
    rows = tf.shape(beam.done)[0]

    def advance(time, sources, beam, state, memory, tracks, each):
        """One step of the sources that are left."""
        nonlocal aligned, branched
        whole = beams.alike(each, width)
        ids = beam.ids if whole else beam.ids[:, :each]
        output = step(tf.reshape(ids, [-1]), state, memory)
        beam, choice = choose(time, output, beam, each)
        if choice.parents is None and not whole:  # the hypotheses of a source part
            choice = choice._replace(parents=tf.zeros_like(choice.ids))
        if choice.parents is None and not beams.alike(width, 1):
            choice = choice._replace(parents=tf.broadcast_to(tf.range(width), tf.shape(choice.ids)))
        aligned, branched = output.alignments is not None, choice.parents is not None
        alignments = output.alignments
        if aligned:
            alignments = _of_each(alignments, each, None if whole else width)
        tracks = _write(tracks, time * rows + sources, choice, alignments)
        state = beams.like(_of_parents(output.state, choice.parents, each), state)
        return time + 1, beam, state, tracks

    def segment(time, whole, sources, state, tracks):
        """Takes out what is done, then goes on until there is enough of it again."""
        going, enough = _left(tf.gather(whole.done, sources))
        state = beams.like(beams.gather(state, beams.rows_of(going, width)), state)
        sources = tf.gather(sources, going)
        seen = beams.gather(memory, tf.repeat(sources, width))
        now = beams.like(beams.gather(whole, sources), whole)
        time, now, state, tracks = tf.while_loop(
            lambda time, now, *_: (
                (time < longest) & (tf.math.count_nonzero(~now.done, dtype=tf.int32) > enough)
            ),
            lambda time, now, state, tracks: advance(time, sources, now, state, seen, tracks, width),
            (time, now, state, tracks),
        )
        return time, beams.put(whole, sources, now), sources, state, tracks

    sources, state = _open(tf.range(rows)), _open(state)
    time, beam, state, tracks = advance(tf.constant(0), sources, _open(beam), state, memory, _new_tracks(), 1)
    time, whole, _, _, tracks = tf.while_loop(
        lambda time, whole, *_: (time < longest) & ~tf.reduce_all(whole.done),
        segment,
        (time, beam, sources, state, tracks),
    )
    return whole, _record(tracks, time, rows, branched, aligned)


def _left(done):
    """Which sources stay, and how many of these must be going on for no other to be taken out.

    Numbers of sources are multiples of a step of an eighth to a quarter of them, as a product of every new size costs
    its preparation once; a few that are done may stay to fill it.

    >>> stay, enough = _left(tf.constant([True, False, True, False, False]))
    >>> stay.numpy().tolist(), int(enough)
    ([1, 3, 4], 2)

    Args:
        done: (b,) bool, not all of them.

    Returns:
        their places (m,) int32, and () int32.
    """
    count = tf.math.count_nonzero(~done, dtype=tf.int32)
    step = _step(count)
    size = tf.minimum(-(-count // step) * step, tf.size(done))
    stay = tf.argsort(tf.cast(done, tf.int32), stable=True)[:size]
    step = _step(size)
    return tf.sort(stay), (-(-size // step) - 1) * step


def _step(count):
    """1 up to 8 sources, 2 up to 16, 4 up to 32 and so on."""
    powers = tf.constant([2**power for power in range(20)])
    return 1 + tf.reduce_sum(tf.where(count > 8 * powers, powers, 0))


def _open(nest):
    """The nest with an unknown number of rows: sources leave it on the way."""
    if tf.executing_eagerly():
        return nest
    unknown = lambda leaf: tf.raw_ops.PlaceholderWithDefault(input=leaf, shape=[None, *leaf.shape[1:]])
    return tf.nest.map_structure(unknown, nest)


def _of_parents(state, parents, each):
    """The state of the rows that go on: (b*k, ...) -> (b*K, ...)."""
    if parents is None:
        return state
    first = tf.range(tf.shape(parents)[0]) * each
    return beams.gather(state, tf.reshape(first[:, None] + parents, [-1]))


def _new_tracks():
    """A list of tensors a field: the places (T*B) of a step's rows in the record, and what `Record` has.

    A `tf.TensorArray` that grows does so by an attribute of an operation that TensorFlow 2.12 does not know.
    """
    unknown = tf.constant(-1)
    new = lambda kind: tf.raw_ops.EmptyTensorList(
        element_shape=unknown, max_num_elements=unknown, element_dtype=kind
    )
    return tuple(map(new, _KINDS))


def _write(tracks, places, choice, alignments):
    values = (places, choice.ids, choice.log_probs, choice.parents, alignments)
    push = lambda track, new: tf.raw_ops.TensorListPushBack(input_handle=track, tensor=new)
    return tuple(track if new is None else push(track, new) for track, new in zip(tracks, values))


def _of_each(alignments, each, width=None):
    """(b*k, S) -> (b, K, S): at the first step the hypotheses of a source, `width`, share a row."""
    alignments = tf.reshape(alignments, tf.stack([-1, each, tf.shape(alignments)[1]]))
    return alignments if width is None else tf.repeat(alignments, width, axis=1)


def _record(tracks, steps, rows, branched, aligned):
    """The arrays of all steps, whose rows were fewer and fewer, as tensors (T, B, K, ...)."""

    def joined(field):
        return tf.raw_ops.TensorListConcatV2(
            input_handle=tracks[field],
            element_dtype=_KINDS[field],
            element_shape=tf.constant(-1),
            leading_dims=[],
        ).tensor

    places = joined(0)[:, None]

    def whole(field, rank=3):
        values = tf.ensure_shape(joined(field), [None] * (rank - 1))  # (T*b, K, ...)
        inner = tf.shape(values)[1:]
        values = tf.scatter_nd(places, values, tf.concat([[steps * rows], inner], axis=0))
        return tf.reshape(values, tf.concat([[steps, rows], inner], axis=0))  # (T, B, K, ...)

    return Record(
        whole(1),
        whole(2),
        whole(3) if branched else None,
        whole(4, rank=4) if aligned else None,
    )
