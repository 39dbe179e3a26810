"""The options that an exported model's `generate` and `generate_ids` take: names, types, defaults, ranges.

This is the one list that export, client and server read; it needs no TensorFlow. Each option is an input of the signature,
and all of them are given::

    beam_size () int32, n_best () int32, ...    one number, name or truth value for the whole request
    seeds (B,) int64                            one for each text
    prefix (B,), banned (B, M), phrases (B, C) string; in `generate_ids` (B, P), (B, M, L), (B, C, L) int32, padded with 0

>>> options = filled({"beam_size": 8, "prefix": ["the", ""]}, rows=2)
>>> options["beam_size"], options["alpha"], options["banned"].shape
(np.int32(8), np.float32(0.6), (2, 1))

Shapes: **B** texts, **P** tokens of a forced beginning, **M** banned phrases, **C** phrases, **L** their tokens.
"""

from typing import Any, NamedTuple

import numpy as np

from tf_seq2seq.errors import InputError

LENGTH_PENALTIES = ("none", "average", "gnmt", "gnmt_tf", "sockeye", "word_reward")
COVERAGE_PENALTIES = ("none", "gnmt", "summary")
STOPS = ("optimal", "all_finished", "first_finished", "patience")


class Limits(NamedTuple):
    """What an exported model allows at most.

    Fields:
        beam_size: hypotheses or samples a text.
        target_length: tokens, END counted, that `max_length` may be.
        source_length: tokens, END counted, that are read of a text.
    """

    beam_size: int = 8
    target_length: int = 256
    source_length: int = 256


class Option(NamedTuple):
    """An option of the whole request.

    Fields:
        name, dtype: str, the dtype as NumPy calls it; "str" for a name.
        default: a Python value.
        least, most: the ends of its range, of numbers; `most` may be the name of one of `Limits`.
        open: "least", "most" or "", the end that is not in the range itself.
        choices: names, of a name.
        meaning: for people.
    """

    name: str
    dtype: str
    default: Any
    meaning: str
    least: Any = None
    most: Any = None
    open: str = ""
    choices: tuple = ()

    def range(self, limits):
        """(least, most) as numbers."""
        return self.least, getattr(limits, self.most) if isinstance(self.most, str) else self.most

    def allowed(self, limits):
        """What is allowed, in words.

        >>> OPTIONS["top_p"].allowed(Limits()), OPTIONS["stop"].allowed(Limits())
        ('above 0, at most 1', 'one of optimal, all_finished, first_finished, patience')
        """
        if self.dtype == "bool":
            return "true or false"
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        least, most = self.range(limits)
        low = f"above {least:g}" if self.open == "least" else f"at least {least:g}"
        high = f"below {most:g}" if self.open == "most" else f"at most {most:g}"
        return f"{low}, {high}"


def _integer(name, default, least, most, meaning):
    return Option(name, "int32", default, meaning, least, most)


def _number(name, default, least, most, meaning, open=""):
    return Option(name, "float32", default, meaning, least, most, open)


def _name(name, default, choices, meaning):
    return Option(name, "str", default, meaning, choices=choices)


_KINDS = {"str": np.str_, "bool": np.bool_, "int32": np.int32, "float32": np.float32}
_ALL = (
    _integer("beam_size", 4, 1, "beam_size", "live hypotheses of a beam search; 1 searches greedily"),
    _integer("n_best", 1, 1, "beam_size", "hypotheses given back, at most beam_size, or samples"),
    _name("length_penalty", "gnmt", LENGTH_PENALTIES, "how length and log-prob become a score"),
    _number("alpha", 0.6, -100, 100, "the length penalty's strength; of word_reward nats a token"),
    _number("beta", 0.0, -1, 1000, "the constant of sockeye, tokens", open="least"),
    _name(
        "coverage_penalty", "none", COVERAGE_PENALTIES, "what source tokens cost that were looked at little"
    ),
    _number("coverage_beta", 0.2, 0, 100, "the coverage penalty's strength, nats"),
    _name("stop", "optimal", STOPS, "when a beam search is through with a text"),
    _number("patience", 1.0, 0, 1000, "of stop=patience: beam_size times this are to finish", open="least"),
    _integer("samples", 0, 0, "beam_size", "independent samples instead of a beam search; 0: a beam search"),
    _number("temperature", 1.0, 0, 1000, "of samples; below 1 the likely become likelier", open="least"),
    _integer("top_k", 0, 0, 1_000_000, "draw from the k likeliest tokens; 0: from all"),
    _number("top_p", 1.0, 0, 1, "draw from the fewest likeliest that have this share; 1: all", open="least"),
    _number("typical", 1.0, 0, 1, "draw from the most typical that have this share; 1: all", open="least"),
    _number("epsilon", 0.0, 0, 1, "draw from those of at least this probability; 0: all", open="most"),
    _integer("min_length", 1, 1, "target_length", "the fewest tokens, END counted, at most max_length"),
    _integer("max_length", 100, 1, "target_length", "the most tokens, END counted"),
    _integer("no_repeat_ngram", 0, 0, 1000, "no sequence of that many tokens twice; 0: off"),
    _number(
        "repetition_penalty", 1.0, 0, 1000, "factor on log-probs of tokens already said; 1: off", open="least"
    ),
    Option("no_unk", "bool", False, "whether the unknown token is kept out"),
)
OPTIONS = {option.name: option for option in _ALL}
"""The options of a whole request, by name."""
DEFAULTS = {option.name: _KINDS[option.dtype](option.default) for option in _ALL}
"""Their defaults, NumPy scalars: those of `BeamSearch`, with one hypothesis given back."""
OWN_SEED = -1
"""The seed that stands for one made of the text's own words: the same text then draws the same wherever it comes."""
PER_TEXT = {
    "seeds": ("int64", lambda rows: np.full([rows], OWN_SEED, np.int64)),
    "prefix": ("str", lambda rows: np.full([rows], "", object)),
    "banned": ("str", lambda rows: np.full([rows, 1], "", object)),
    "phrases": ("str", lambda rows: np.full([rows, 1], "", object)),
}
"""The options of single texts: dtype, and a function of B that gives the default; texts are int32 in `generate_ids`."""
NAMES = (*OPTIONS, *PER_TEXT)
"""All names, in the order in which they are told."""


def filled(options, rows, ids=False):
    """All options of a request as NumPy values, with defaults for those that are left out.

    Args:
        options: dict of name to value; lists of phrases may differ in length.
        rows: B.
        ids: whether they are for `generate_ids`.

    Returns:
        dict of name to NumPy scalar or array, in the order of `NAMES`.

    Raises:
        InputError: for a name that there is not, or a value of another kind; ranges are the exported model's matter.
    """
    unknown = sorted(options.keys() - {*NAMES})
    if unknown:
        raise InputError(f"there is no option {unknown[0]!r}; there are {', '.join(NAMES)}")
    return {name: _value(name, options.get(name), rows, ids) for name in NAMES}


def _value(name, value, rows, ids):
    try:
        if name in OPTIONS:
            return DEFAULTS[name] if value is None else _scalar(OPTIONS[name].dtype, value)
        dtype, default = PER_TEXT[name]
        if name == "seeds":
            return default(rows) if value is None else np.asarray(value, dtype).reshape([rows])
        rank = (1 if name == "prefix" else 2) + ids
        if value is None:
            return np.zeros([rows] + [1] * (rank - 1), np.int32) if ids else default(rows)
        return _padded(value, rank, np.int32 if ids else object)
    except (TypeError, ValueError) as error:
        raise InputError(f"the option {name} cannot be {value!r}: {error}") from error


def _scalar(dtype, value):
    if dtype == "str" and not isinstance(value, str):
        raise TypeError("it is a name")
    if dtype == "int32" and int(value) != value:
        raise ValueError("it is a whole number")
    return _KINDS[dtype](value)


def _padded(value, rank, dtype):
    """Nested lists as an array of a rank, shorter ones filled up with 0 or ""."""
    sizes = [len(value), *(max(size, 1) for size in _longest(value, rank)[1:])]
    found = np.full(sizes, "" if dtype is object else 0, dtype)
    for place, one in _leaves(value, rank):
        if dtype is object and not isinstance(one, str):
            raise TypeError("texts were expected")
        found[place] = one
    return found


def _longest(value, rank):
    """The most entries that nested lists have on each axis."""
    if isinstance(value, (str, bytes)):
        raise TypeError("a list was expected")
    inner = [_longest(one, rank - 1) for one in value] if rank > 1 else []
    return [len(value), *(max(sizes) for sizes in zip(*inner))] if inner else [len(value)] + [0] * (rank - 1)


def _leaves(value, rank):
    """Pairs of a place, a tuple, and what stands there."""
    for number, one in enumerate(value):
        inner = _leaves(one, rank - 1) if rank > 1 else [((), one)]
        yield from (((number, *place), leaf) for place, leaf in inner)
