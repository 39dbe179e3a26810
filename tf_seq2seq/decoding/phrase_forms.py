"""The ways in which a text processor splits a phrase, as it stands alone, beside words or close to them; in the graph.

Shapes: **B** texts, **M** phrases, **F** = 9 surroundings, **L** tokens of the longest form.
"""

import itertools

import tensorflow as tf

from tf_seq2seq.data.normalization import valid_utf8
from tf_seq2seq.data.vocabulary import END, PAD, UNK

_WORD = "a"  # what stands beside a phrase when it is split inside a text
_LEFTS, _RIGHTS = ("", f"{_WORD} ", _WORD), ("", f" {_WORD}", _WORD)  # a word stands close to signs only
_SIGN_FIRST, _SIGN_LAST = r"(?s)[^\p{L}\p{N}].*", r"(?s).*[^\p{L}\p{N}]"


def phrase_forms(phrases, target_ids, longest=None):
    """The forms of phrases, in every surrounding.

    A form is what stands between the tokens of the surroundings; where these are split in another way beside the phrase, or
    a token is unknown, there is none.

    >>> from tf_seq2seq.data.text import TextProcessor
    >>> text = TextProcessor.fit(["well - known", "well-known"], "words")
    >>> forms = phrase_forms(tf.constant(["-"]), text.ids)
    >>> sorted({text.vocabulary.token(int(form[0])) for form in forms[0] if form[0]})
    ['-', '￭-￭']

    Args:
        phrases: (M,) string; blank ones have no form.
        target_ids: function of texts (M,) -> ragged ids (M, None): a `TextProcessor`'s `ids`.
        longest: forms of more tokens are left out; None for no such limit.

    Returns:
        (M, F, L) int32, padded with PAD on the right; a row of PAD only is no form.
    """
    phrases = tf.strings.strip(valid_utf8(phrases))
    with tf.init_scope():  # the surroundings are constants
        lefts, rights = ([*map(_bare, target_ids(tf.constant(side)).to_list())] for side in (_LEFTS, _RIGHTS))
    texts = [tf.strings.join([left, phrases, right]) for left, right in itertools.product(_LEFTS, _RIGHTS)]
    ids = target_ids(tf.concat(texts, axis=0))
    ids = tf.ragged.boolean_mask(ids, ids != END)
    whole = tf.split(ids.to_tensor(PAD), len(texts))  # (M, L) each
    forms = [_between(*one) for one in zip(*zip(*itertools.product(lefts, rights)), whole)]
    forms = tf.stack(forms, axis=1)  # (M, F, L)
    lengths = tf.math.count_nonzero(forms, axis=2, dtype=tf.int32)
    wanted = _stands(phrases) & ~tf.reduce_any(forms == UNK, axis=2)
    if longest is not None:
        wanted &= lengths <= longest
    lengths = tf.where(wanted, lengths, 0)
    return tf.where(wanted[:, :, None], forms, PAD)[:, :, : tf.reduce_max(lengths)]


def banned_ids(phrases, target_ids, longest=None):
    """All forms of the phrases of each text: (B, M) string -> (B, M*F, L) int32, as `Conditions.banned` has them."""
    rows, count = tf.unstack(tf.shape(phrases))
    forms = phrase_forms(tf.reshape(phrases, [-1]), target_ids, longest)
    return tf.reshape(forms, [rows, count * len(_LEFTS) * len(_RIGHTS), tf.shape(forms)[2]])


def _bare(ids):
    return [token for token in ids if token != END]


def _stands(phrases):
    """Which phrases can stand in which surroundings, (M, F) bool: close to words only signs, blank ones nowhere."""
    first, last = (tf.strings.regex_full_match(phrases, sign) for sign in (_SIGN_FIRST, _SIGN_LAST))
    anywhere = phrases != ""
    sides = itertools.product([anywhere, anywhere, first], [anywhere, anywhere, last])
    return tf.stack([left & right & anywhere for left, right in sides], axis=1)


def _between(before, after, whole):
    """What stands between lists of ids in rows (M, L), PAD where other ids do: (M, L) int32."""
    lengths = tf.math.count_nonzero(whole, axis=1, dtype=tf.int32)
    left = len(before)
    size = lengths - left - len(after)
    padded = tf.pad(whole, [[0, 0], [0, left + len(after)]], constant_values=PAD)
    places = tf.maximum(lengths - len(after), 0)[:, None] + tf.range(len(after))
    fits = tf.reduce_all(padded[:, :left] == before, axis=1)
    fits &= tf.reduce_all(tf.gather(padded, places, batch_dims=1) == after, axis=1)
    inside = tf.range(tf.shape(whole)[1]) < tf.where(fits, size, 0)[:, None]
    return tf.where(inside, padded[:, left : left + tf.shape(whole)[1]], PAD)
