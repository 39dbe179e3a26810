"""Text into words and punctuation and back, in the TensorFlow graph, without loss.

A token is a word (letters, marks, digits, with ``3.14``, ``1,000`` and ``10:30`` whole) or a sign. Where two
tokens meet there is either a space or none, and for most signs one of both is usual:
``. , ; : ! ? ) ] } % ” »`` stand close to what comes before, ``¿ ¡ ( [ { “ « # $`` to what comes after. Only
what is *not* usual is written down: a token that is joined to its neighbour wears the mark ``￭`` on that
side, and one that is parted from it by a space where none is usual wears ``▁``. So ``"Don't," he said.``
becomes::

    "￭  Don  ￭'t  ,  ￭"  he  said  .

and joining follows the same rules, which gives back every text up to its white space. English clitics
(``￭'s ￭'t ￭'re ￭'ve ￭'ll ￭'d ￭'m``) and elided articles (``l'￭ eau``) are tokens of their own, hyphens inside
a word are ``￭-￭``. A language that writes no spaces (Chinese, Thai) is better split into subwords.

Shapes: **B** batch.
"""

import tensorflow as tf

JOIN, SPACE = "￭", "▁"
_LETTERS = r"\p{L}\p{M}\p{N}_\x{200C}\x{200D}"  # the last two shape letters inside Persian and Indic words
_WORD = f"[{_LETTERS}]"
_TOKEN = rf"\p{{Nd}}+(?:[.,:]\p{{Nd}}+)*{_WORD}*|{_WORD}+|\.\.+|--+|."
_CLOSING = r"[,.;:!?)\]}%”»…、。]"
_OPENING = r"[¿¡(\[{“«‘„#$£€]"

# At first a token stands as " token ", so two spaces are a joint, and a token "▁" says: here was a space.
_SPLIT = [
    (JOIN, "■"),
    (SPACE, "_"),
    (r"[\s\p{Z}\p{Cc}]+", " "),
    ("^ | $", ""),
    (" ", SPACE),
    (f"({_TOKEN})", r" \1 "),
    (r" (['’])  ((?i:s|t|re|ve|ll|d|m)) ", r" \1\2 "),
    (rf"({_WORD})  (['’])  ({_WORD})", r"\1\2  \3"),
    ("^ | $", ""),
    (f"  {SPACE}  ", " "),
    ("  ", JOIN),
    # From here on a space parts tokens that a space parted, and "￭" those that stood close.
    (f" ({_CLOSING})", rf" {SPACE}\1"),
    (f"({_OPENING}) ", rf"\1{SPACE} "),
    (f"{JOIN}({_CLOSING})", r" \1"),
    (f"({_OPENING}){JOIN}", r"\1 "),
    (f"({_WORD}){JOIN}", rf"\1 {JOIN}"),
    (f"({_CLOSING}){JOIN}([^{_LETTERS}])", rf"\1 {JOIN}\2"),
    (f"([^ ]){JOIN}", rf"\1{JOIN} "),
]
_MERGE = [
    (f"{JOIN} {JOIN}|{JOIN} | {JOIN}|{JOIN}", ""),
    (f" ({_CLOSING})", r"\1"),
    (f"({_OPENING}) ", r"\1"),
    (SPACE, ""),
]


def split_words(text):
    """Words and signs of each text, marked as the module's docstring says.

    >>> for token in split_words(["¿Es l'eau? It's well-known."])[0].numpy(): print(token.decode(), end="  ")
    ¿  Es  l'￭  eau  ?  It  ￭'s  well  ￭-￭  known  .

    Args:
        text: (B,) string, valid UTF-8.

    Returns:
        A ragged tensor (B, None) of strings; none of them is empty.
    """
    return tf.strings.split(_rewritten(tf.convert_to_tensor(text), _SPLIT))


def join_words(tokens):
    """The text whose tokens these are: the inverse of `split_words`, but for runs of white space.

    >>> join_words(tf.ragged.constant([["l'￭", "eau", "(", "well", "￭-￭", "known", ")", "!"]]))[0].numpy()
    b"l'eau (well-known)!"

    Args:
        tokens: a ragged tensor (B, None) of strings.

    Returns:
        (B,) string.
    """
    return _rewritten(tf.strings.reduce_join(tokens, axis=-1, separator=" "), _MERGE)


def _rewritten(text, rules):
    for pattern, replacement in rules:
        text = tf.strings.regex_replace(text, pattern, replacement)
    return text
