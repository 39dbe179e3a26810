"""Noise on training batches: tokens made unknown, removed, replaced or put in another order.

Give one or several to `batches(..., noise=[WordDropout(0.1, "target"), LocalShuffle(3)])`, for training data only.
A noise is any callable::

    noise(inputs, labels, seed (2,) int64) -> inputs, labels

of one batch, in TensorFlow's operations (`tf.where`, `tf.cond`; Python's `if` cannot ask a tensor). It draws from
`seed` alone, which `batches` makes of its own seed, the epoch and the number of the batch: so noise differs from
epoch to epoch, and a training that was interrupted goes on with the noise it would have had. PAD, START, END and the
labels are never touched.

Shapes: **B** batch, **S** length of a side in tokens.
"""

import tensorflow as tf

from tf_seq2seq.data.drawing import drawn
from tf_seq2seq.data.vocabulary import END, PAD, START, UNK
from tf_seq2seq.errors import InputError

_FIRST = END + 1  # the first id of a token of the vocabulary's own
_SIDES = {"source": ["source_ids"], "target": ["target_ids"], "both": ["source_ids", "target_ids"]}


def with_noise(noise, inputs, labels, seed):
    """A batch after several noises, each of which draws from a seed of its own.

    Args:
        noise: list of noises.
        inputs, labels: a batch as `batches` gives it.
        seed: (2,) int64.

    Returns:
        inputs, labels.
    """
    for number, one in enumerate(noise):
        inputs, labels = one(inputs, labels, tf.random.experimental.stateless_fold_in(seed, number))
    return inputs, labels


class _Noise:
    """Noise on the sides of a batch, one side after the other."""

    def __init__(self, side):
        if side not in _SIDES:
            raise InputError(f"side is one of {', '.join(_SIDES)}, not {side!r}")
        self.side = side

    def __call__(self, inputs, labels, seed):
        """The batch with noise: inputs, labels."""
        changed = {**inputs}
        for number, name in enumerate(_SIDES["both"]):
            if name in _SIDES[self.side]:
                own = tf.random.experimental.stateless_fold_in(seed, number)
                changed[name] = self._noisy(inputs[name], own, number)
        return changed, labels


class WordDropout(_Noise):
    """Tokens become UNK, each with a probability of its own.

    On the target it weakens the decoder's language model, which must look at the source or at its latent variable;
    on the source it teaches to do with what is left (masking). A model that replaces unknown words by copies learns
    to do so.

    >>> inputs = {"source_ids": tf.constant([[5, 6, 7, 3]]), "target_ids": tf.constant([[2, 8, 9]])}
    >>> WordDropout(1.0, "both")(inputs, None, tf.constant([0, 0], tf.int64))[0]["target_ids"].numpy().tolist()
    [[2, 1, 1]]

    Args:
        share: probability that a token becomes UNK, in [0, 1]; 0.1 is usual, Bowman et al. take up to 1.
        side: "source", "target" (what the decoder reads; labels stay) or "both".
        by_type: whether equal tokens of a sentence go together, as variational dropout has it.

    Raises:
        InputError: for another side, or a share outside [0, 1].

    Source: Bowman et al., "Generating Sentences from a Continuous Space" (2016), section 3.1; `by_type`: Gal and
        Ghahramani, "A Theoretically Grounded Application of Dropout in Recurrent Neural Networks" (2016), section 4.2.
    """

    def __init__(self, share, side="source", by_type=False):
        super().__init__(side)
        self.share = _share(share)
        self.by_type = by_type

    def _noisy(self, ids, seed, _):
        chance = tf.random.stateless_uniform(tf.shape(ids), seed)
        if self.by_type:
            first = tf.argmax(ids[:, :, None] == ids[:, None, :], axis=2)  # (B, S, S) -> (B, S)
            chance = tf.gather(chance, first, batch_dims=1)
        return tf.where(_real(ids) & (chance < self.share), tf.constant(UNK, ids.dtype), ids)


class TokenDeletion(_Noise):
    """Tokens of the source are left out, each with a probability of its own; rows become shorter.

    >>> inputs = {"source_ids": tf.constant([[5, 6, 7, 3]])}
    >>> TokenDeletion(1.0)(inputs, None, tf.constant([0, 0], tf.int64))[0]["source_ids"].numpy().tolist()
    [[3]]

    Args:
        share: probability that a token is left out, in [0, 1]; 0.1 is usual. A row of which nothing, not even END,
            would be left stays as it is.

    Raises:
        InputError: for a share outside [0, 1].

    Source: Iyyer et al., "Deep Unordered Composition Rivals Syntactic Methods for Text Classification" (2015),
        section 2.2.1; Lample et al., "Unsupervised Machine Translation Using Monolingual Corpora Only" (2018), section 2.3.
    """

    def __init__(self, share):
        super().__init__("source")
        self.share = _share(share)

    def _noisy(self, ids, seed, _):
        deleted = _real(ids) & (tf.random.stateless_uniform(tf.shape(ids), seed) < self.share)
        kept = ~deleted & (ids != PAD)
        kept |= (ids != PAD) & ~tf.reduce_any(kept, axis=1, keepdims=True)
        return tf.ragged.boolean_mask(ids, kept).to_tensor(PAD)  # (B, S) -> (B, S')


class SwitchOut(_Noise):
    """Some tokens are replaced by tokens drawn uniformly from the vocabulary; few are likelier than many.

    ::

        P(n) = exp(-n / temperature) / sum_{m=0..L} exp(-m / temperature)      n of a sentence's L tokens

    Which n tokens these are is drawn uniformly, too. For long sentences n is temperature on average, about.

    >>> noise = SwitchOut(vocab_size=50, temperature=2.0, side="both")
    >>> noise.temperature
    2.0

    Args:
        vocab_size: V, or (of the source, of the target).
        temperature: as above; 1 or so is usual.
        side: "source", "target" (what the decoder reads; labels stay) or "both".

    Raises:
        InputError: for another side, a temperature that is not above 0, or a vocabulary without tokens.

    Source: Wang et al., "SwitchOut: an Efficient Data Augmentation Algorithm for Neural Machine Translation" (2018),
        section 3.
    """

    def __init__(self, vocab_size, temperature=1.0, side="source"):
        super().__init__(side)
        sizes = tuple(vocab_size) if isinstance(vocab_size, tuple | list) else (vocab_size, vocab_size)
        if min(sizes) <= _FIRST:
            raise InputError(f"vocab_size {vocab_size} has no tokens besides the special ones to draw")
        if not temperature > 0:
            raise InputError(f"temperature is above 0, not {temperature}")
        self.vocab_size = sizes
        self.temperature = temperature

    def _noisy(self, ids, seed, number):
        seeds = tf.random.split(seed, 3)
        real = _real(ids)
        count = self._counts(tf.math.count_nonzero(real, axis=1, dtype=tf.int32), tf.shape(ids)[1], seeds[0])
        keys = tf.where(real, tf.random.stateless_uniform(tf.shape(ids), seeds[1]), 2.0)
        places = tf.argsort(tf.argsort(keys))  # (B, S), the rank of each real token in a random order
        others = tf.random.stateless_uniform(
            tf.shape(ids), seeds[2], _FIRST, self.vocab_size[number], ids.dtype
        )
        return tf.where(real & (places < count[:, None]), others, ids)

    def _counts(self, lengths, longest, seed):
        """How many tokens of each row are replaced: lengths (B,) -> (B,) int32."""
        numbers = tf.range(longest + 1)
        weights = tf.exp(-tf.cast(numbers, tf.float32) / self.temperature)
        return drawn(tf.where(numbers <= lengths[:, None], weights, 0.0), seed)


class LocalShuffle(_Noise):
    """Tokens of the source change places, none by more than `distance`; END stays at the end.

    ::

        order = argsort(i + U(0, distance + 1))

    >>> inputs = {"source_ids": tf.constant([[5, 6, 7, 8, 3, 0]])}
    >>> LocalShuffle(3)(inputs, None, tf.constant([0, 3], tf.int64))[0]["source_ids"].numpy().tolist()
    [[5, 6, 8, 7, 3, 0]]

    Args:
        distance: k, tokens; 3 is usual, 0 leaves the order as it is.

    Raises:
        InputError: for a negative distance.

    Source: Lample et al., "Unsupervised Machine Translation Using Monolingual Corpora Only" (2018), section 2.3.
    """

    def __init__(self, distance=3):
        super().__init__("source")
        if distance < 0:
            raise InputError(f"distance is a number of tokens of at least 0, not {distance}")
        self.distance = distance

    def _noisy(self, ids, seed, _):
        shape = tf.shape(ids)
        places = tf.broadcast_to(tf.range(shape[1], dtype=tf.float32), shape)
        moved = places + tf.random.stateless_uniform(shape, seed, 0.0, self.distance + 1.0)
        last = places + tf.cast(shape[1], tf.float32) + self.distance + 1.0  # behind all that move
        order = tf.argsort(tf.where(_real(ids), moved, last), stable=True)
        return tf.gather(ids, order, batch_dims=1)


def _real(ids):
    """(B, S) bool: what noise may touch."""
    return (ids != PAD) & (ids != START) & (ids != END)


def _share(share):
    if not 0 <= share <= 1:
        raise InputError(f"share is a probability in [0, 1], not {share}")
    return share
