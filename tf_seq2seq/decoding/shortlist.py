"""Vocabulary shortlists: a source token brings a few target tokens with it, and only these are computed.

What a row may say is a matter of its own source alone, so that no row depends on the others of its batch::

    tokens of a row = {PAD, UNK, START, END} + always + candidates of each token of its source + wanted

The projection to the vocabulary has the columns of all rows together, and some of no token that make their number a
multiple; those that a row may not say are -inf to it. A
search's log-probs are then normalised over the row's own tokens, so that they are a little above the model's own,
which `score_ids` gives.

Shapes: **B** sources, **S** source length, **n** candidates of a source token, **V** vocabulary, **D** feature size,
**W** columns of a batch, **N** rows.
"""

import numpy as np
import tensorflow as tf

from tf_seq2seq.data.vocabulary import END, PAD, UNK
from tf_seq2seq.decoding.candidates import NEVER
from tf_seq2seq.decoding.lexical_table import LexicalTable
from tf_seq2seq.errors import InputError
from tf_seq2seq.files import replacing
from tf_seq2seq.layers.affine import affine

_WIDTHS = 128  # columns of a batch are a multiple of it


class Shortlist:
    """Which target tokens each source token brings with it.

    >>> shortlist = Shortlist([[0, 0], [0, 0], [0, 0], [0, 0], [7, 0], [7, 9]], always=[5])
    >>> allowed = shortlist.allowed(tf.constant([[4, 3, 0], [4, 5, 3]]), vocab_size=10)
    >>> [tf.where(row)[:, 0].numpy().tolist() for row in tf.transpose(allowed)]
    [[0, 1, 2, 3, 5, 7], [0, 1, 2, 3, 5, 7, 9]]

    Args:
        candidates: (V of the source, n) target ids of each source id, padded with PAD.
        always: (m,) target ids that every source has.

    Raises:
        InputError: if these are not ids of that shape.

    Source: Jean et al. 2015, "On Using Very Large Target Vocabulary for Neural Machine Translation", section 3.4.
    """

    def __init__(self, candidates, always=()):
        self.candidates = _ids("candidates", candidates, rank=2)
        self.candidates[PAD:1] = PAD  # padding brings nothing, or a row would depend on its batch
        self.always = _ids("always", always, rank=1)
        with tf.init_scope():
            self._table = tf.constant(self.candidates)

    @classmethod
    def learn(cls, model, batches, per_source=50, always=100):
        """Learns from where a model looks when it is shown training pairs.

        A source token's candidates are the target tokens that it has had the most attention for, summed over all
        batches. As much attention again is spread evenly over each source, as a model often looks beside the word that it
        is about to translate. Measured with Multi30k and a model of 20 BLEU: of the validation set's target tokens, 0.77
        are among 10 candidates and the 50 most frequent tokens without the even part, 0.86 with it.

        Args:
            model: a `Seq2Seq` with attention.
            batches: an iterable of batches, read once.
            per_source: n, the most candidates of a source token.
            always: how many of the most frequent target tokens every source has.

        Returns:
            `Shortlist`.

        Raises:
            InputError: for a model without attention.
        """
        table = LexicalTable(model.encoder.vocab_size, model.decoder.vocab_size)
        attend = tf.function(model.alignments, reduce_retracing=True)
        for inputs, labels, *_ in batches:
            alignments = attend(inputs)
            if alignments is None:
                raise InputError("a shortlist is learnt from alignments: give a model with attention")
            real = tf.cast(inputs["source_ids"] != PAD, tf.float32)
            even = real / tf.maximum(tf.reduce_sum(real, axis=1, keepdims=True), 1)
            table.add(inputs["source_ids"], labels, alignments + even[:, None])  # (B, T, S)
        frequent = table.most_frequent(always)
        return cls(table.best(per_source, but=frequent), frequent)

    def allowed(self, source_ids, vocab_size, wanted=None):
        """Which target tokens each source's hypotheses may have.

        Args:
            source_ids: (B, S) int32; ids outside the table are read as UNK.
            vocab_size: V of the target.
            wanted: (B, ...) int32, padded with PAD: further tokens of each source, e.g. such as must appear.

        Returns:
            (V, B) bool.
        """
        rows = tf.shape(source_ids)[0]
        found = [tf.gather(self._table, _known(source_ids, len(self.candidates)))]  # (B, S, n)
        found += [] if wanted is None else [_known(wanted, vocab_size)]
        ids = tf.concat([tf.reshape(one, [rows, -1]) for one in found], axis=1)
        places = tf.reshape(ids * rows + tf.range(rows)[:, None], [-1, 1])
        marks = tf.scatter_nd(places, tf.ones_like(places[:, 0]), [vocab_size * rows])
        everyone = np.zeros([vocab_size, 1], bool)
        everyone[[*range(END + 1), *self.always]] = True
        return (tf.reshape(marks, [vocab_size, rows]) > 0) | everyone

    def save(self, path):
        """Writes a file in NumPy's ``.npz`` format."""
        with replacing(path) as new, open(new, "wb") as file:
            np.savez_compressed(file, candidates=self.candidates, always=self.always)

    @classmethod
    def load(cls, path):
        """Reads what `save` wrote.

        Raises:
            InputError: if it is something else.
        """
        try:
            with np.load(path) as arrays:
                return cls(arrays["candidates"], arrays["always"])
        except Exception as error:  # a damaged file makes its reader raise anything
            raise InputError(
                f"{path} is no shortlist ({error}): give a file that Shortlist.save wrote"
            ) from error


class Shortlisted:
    """A model that computes the tokens of a shortlist only; to a search it is a model as any other.

    The vectors of the projection are copied when this is made: after more training make a new one.

    >>> from tf_seq2seq.models import zoo
    >>> model = zoo.luong2015(6, 10, units=4, depth=1)
    >>> shortlisted = Shortlisted(model, Shortlist([[0]] * 4 + [[7], [9]]))
    >>> step, state, memory = shortlisted.begin({"source_ids": tf.constant([[4, 3, 0], [4, 5, 3]])})
    >>> output = step(tf.constant([2, 2]), state, memory)
    >>> output.columns[:6].numpy().tolist(), (output.logits[:, 5] > float("-inf")).numpy().tolist()
    ([0, 1, 2, 3, 7, 9], [False, True])

    Args:
        model: a `Seq2Seq`.
        shortlist: `Shortlist`.

    Raises:
        InputError: if the shortlist is one of other vocabularies.
    """

    def __init__(self, model, shortlist):
        _check_sizes(model, shortlist)
        self.model = model
        self.shortlist = shortlist
        with tf.init_scope():
            self._vectors = tf.identity(model.decoder.output_vectors())

    @property
    def encoder(self):
        """The model's."""
        return self.model.encoder

    @property
    def decoder(self):
        """The model's."""
        return self.model.decoder

    def begin(self, source, wanted=None):
        """What a search over sources needs; the columns are gathered once.

        Args:
            source: the batch's inputs, with `source_ids`.
            wanted: as `Shortlist.allowed` has it.

        Returns:
            A step function, the state before the first step, the memory.
        """
        allowed = self.shortlist.allowed(source["source_ids"], self.decoder.vocab_size, wanted)  # (V, B)
        columns = tf.cast(tf.where(tf.reduce_any(allowed, axis=1))[:, 0], tf.int32)
        size = tf.shape(columns)[0]
        more = -size % _WIDTHS  # columns of no token: a product of every new size costs its preparation
        places = tf.pad(columns, [[0, more]])
        mask = tf.where(tf.gather(allowed, places), 0.0, NEVER)
        mask = tf.transpose(
            tf.where((tf.range(size + more) < size)[:, None], mask, NEVER)
        )  # (W, B) -> (B, W)
        kernel = tf.gather(self._vectors, places)  # (W, D)
        turned = kernel.dtype == tf.bfloat16  # measured: multiplied faster as it is; float32 is slower so
        kernel = kernel if turned else tf.transpose(kernel)  # (W, D) -> (D, W)
        bias = tf.gather(self.decoder.projection_bias, places)
        columns = tf.concat([columns, tf.shape(allowed)[0] + tf.range(more)], axis=0)
        state, memory = self.model.start(source)

        def step(ids, state, memory):
            memory, mask = memory
            project = lambda features: affine(features, kernel, bias, transpose=turned)
            output = self.decoder.step(ids, state, memory, project)
            return output._replace(logits=output.logits + mask, columns=columns)

        return step, state, (memory, mask)


def begin(model, source_ids, conditions):
    """What a search over sources needs, of a `Shortlisted` with the columns of forced tokens, too.

    Args:
        model: anything with ``begin(source) -> step, state, memory``.
        source_ids: (B, S) int32.
        conditions: dict of tensors (B, ...); the tokens of `prefix` and `phrases` are wanted.

    Returns:
        A step function, the state before the first step, the memory.
    """
    source = {"source_ids": source_ids}
    if not isinstance(model, Shortlisted):
        return model.begin(source)
    rows = tf.shape(source_ids)[0]
    names = [name for name in ("prefix", "phrases") if name in conditions]
    wanted = [tf.reshape(conditions[name], [rows, -1]) for name in names]
    return model.begin(source, tf.concat(wanted, axis=1) if wanted else None)


def _known(ids, size):
    ids = tf.cast(ids, tf.int32)
    return tf.where((ids >= 0) & (ids < size), ids, UNK)


def _ids(name, ids, rank):
    ids = np.asarray(ids)
    if ids.ndim != rank or (ids.size and (not np.issubdtype(ids.dtype, np.integer) or ids.min() < PAD)):
        raise InputError(f"{name} are token ids with {rank} axes; {ids.dtype} of shape {ids.shape} came")
    return ids.astype(np.int32)


def _check_sizes(model, shortlist):
    sources, targets = model.encoder.vocab_size, model.decoder.vocab_size
    highest = max(shortlist.candidates.max(initial=0), shortlist.always.max(initial=0))
    if len(shortlist.candidates) != sources or highest >= targets:
        raise InputError(
            f"the shortlist is one of {len(shortlist.candidates)} source tokens and of target ids up to {highest}, the "
            f"model has {sources} and {targets}: learn one with this model"
        )
