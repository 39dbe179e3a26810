"""Whether what a text gets depends on that text alone: the same texts in other batches, orders and paddings.

Two runs of a text agree if they have the same hypotheses, with scores that agree to a tolerance. Where tokens differ, that
is a rivals' matter if their scores are as good as equal: of two such rivals rounding chooses, as sums of the same numbers
round differently in larger matrices::

    scores a, b agree        |a - b| <= tolerance * max(1, |a|)
    hypotheses are rivals    |score a - score b| <= rivals in the same place of the list, or
                             |log P(a_t) - log P(b_t)| <= rivals for their first different tokens

Shapes: **B** texts, **S** source length.
"""

import itertools
import math
import random
from typing import NamedTuple

import tensorflow as tf

from tf_seq2seq.data.vocabulary import PAD
from tf_seq2seq.decoding import requests
from tf_seq2seq.decoding.batching import in_batches
from tf_seq2seq.errors import InputError


class InvarianceRun(NamedTuple):
    """What one way to put texts together gave, compared with the first.

    Fields:
        name: str, how texts were put together.
        texts: how many.
        same: texts with the same tokens in all hypotheses.
        rivals: texts whose tokens differ between rivals only.
        difference: the greatest difference of scores of the same tokens, relative, absolute below 1.
        gap: the greatest difference of hypotheses with other tokens, in nats, as rivals are judged by it.
    """

    name: str
    texts: int
    same: int = 0
    rivals: int = 0
    difference: float = 0.0
    gap: float = 0.0


class InvarianceFault(NamedTuple):
    """A text that did not get the same.

    Fields:
        row: its place among the texts.
        text: str.
        run: the name of the run.
        expected, found: text and score of the hypotheses that differ, in the first run and in this one.
    """

    row: int
    text: str
    run: str
    expected: tuple
    found: tuple

    def __str__(self):
        told = [f"{text!r} ({score:.6f})" for text, score in (self.expected, self.found)]
        return f"{self.text!r} is {told[0]} at first and {told[1]} {self.run}"


class Invariance(NamedTuple):
    """What `batch_invariance` found.

    Fields:
        runs: list of `InvarianceRun`; the first is what others are compared with.
        faults: list of `InvarianceFault`, at most one for a text.
    """

    runs: list
    faults: list

    @property
    def holds(self):
        """Whether no text depends on its batch."""
        return not self.faults

    def table(self):
        """The runs as lines of text."""
        width = max(len(run.name) for run in self.runs)
        heads = ("texts", "same tokens", "rivals", "scores differ by", "rivals by")
        lines = [f"{'':<{width}}  " + "  ".join(heads)]
        for run in self.runs:
            cells = (run.texts, run.same, run.rivals, f"{run.difference:.1e}", f"{run.gap:.1e}")
            cells = (f"{cell:>{len(head)}}" for cell, head in zip(cells, heads))
            lines.append(f"{run.name:<{width}}  " + "  ".join(cells))
        return "\n".join(lines)


class _Way(NamedTuple):
    """How texts are put together: their order, the size of batches, and columns of padding."""

    name: str
    order: list
    batch_size: int
    batch_tokens: int | None = None
    window: int = 1
    padding: int = 0


class _Hypothesis(NamedTuple):
    ids: list
    scores: tuple  # the score and the log-prob
    token_log_probs: list


def batch_invariance(
    generator,
    texts,
    *,
    batch_size=32,
    batch_tokens=None,
    window=16,
    conditions=None,
    sizes=(7, 64),
    padding=5,
    rivals=1e-4,
    tolerance=1e-5,
    seed=0,
    done=None,
):
    """Generates for texts in several ways and compares.

    The ways are: in batches as `TextGenerator.generate_all` makes them, one by one, shuffled in batches of each of `sizes`,
    and in the first batches with more padding.

    What a beam dropped on the way cannot be seen afterwards: where rounding chose between rivals there, and what came of
    them differs by more, that is told as a fault.

    Args:
        generator: a `TextGenerator`.
        texts: list of str.
        batch_size, batch_tokens, window: as `TextGenerator.generate_all` has them.
        conditions: dict of `prefix`, `phrases`, `seeds`, `limit`: lists with one value for each text; or None.
        sizes: of batches of shuffled texts.
        padding: columns of PAD added at the right.
        rivals: nats, see the module; for weights in bfloat16 give some hundredths.
        tolerance: likewise; for weights in bfloat16 give as much.
        seed: of the shuffling.
        done: function that is called with the number of texts after each batch.

    Returns:
        `Invariance`.

    Raises:
        InputError: if there is no text.
    """
    if not texts:
        raise InputError("there is no text to generate for; give at least one")
    texts = [*texts]
    order = [*range(len(texts))]
    shuffled = random.Random(seed).sample(order, len(order))
    asked = _Way(f"in batches of {batch_size}", order, batch_size, batch_tokens, window)
    ways = [asked, _Way("one by one", order, 1)]
    ways += [_Way(f"shuffled, in batches of {size}", shuffled, size) for size in sizes]
    ways += [asked._replace(name=f"with {padding} columns of padding", padding=padding)]
    runs, faults, expected = [], {}, None
    for way in ways:
        found = _generated(generator, texts, conditions or {}, way, done)
        expected = expected or found
        run, differing = _compared(way.name, expected, found, rivals, tolerance)
        runs.append(run)
        for row, pair in differing.items():
            told = (_told(generator.target_text, one) for one in pair)
            faults.setdefault(row, InvarianceFault(row, texts[row], way.name, *told))
    return Invariance(runs, [fault for _, fault in sorted(faults.items())])


def _generated(generator, texts, conditions, way, done):
    """The `_Hypothesis` lists of all texts, in their order."""

    def lengths(rows):
        if way.window == 1:
            return [0] * len(rows)  # the order is as it is
        return generator.source_text.ids([texts[row] for row in rows]).row_lengths().numpy().tolist()

    def answer(rows):
        batch = [texts[row] for row in rows]
        mine = {name: [values[row] for row in rows] for name, values in conditions.items()}
        mine = {name: values for name, values in mine.items() if any(one not in ("", []) for one in values)}
        if not way.padding:
            return _hypotheses(generator(batch, **mine).hypotheses)
        ids = tf.pad(generator.source_text.dense(batch), [[0, 0], [0, way.padding]], constant_values=PAD)
        mine = requests.of_texts(mine, generator.target_text, len(rows))
        return _hypotheses(generator.generate_ids(ids, **mine))

    found = in_batches(way.order, lengths, answer, way.batch_size, way.batch_tokens, way.window, done)
    return [found for _, found in sorted(zip(way.order, found), key=lambda pair: pair[0])]


def _hypotheses(found):
    """The `_Hypothesis` list of each source, without empty places."""
    ids, lengths, scores, log_probs, each = (
        field.numpy().tolist()
        for field in (found.ids, found.lengths, found.scores, found.log_probs, found.token_log_probs)
    )
    return [
        [
            _Hypothesis(ids[row][k][:length], (scores[row][k], log_probs[row][k]), each[row][k][:length])
            for k, length in enumerate(lengths[row])
            if length
        ]
        for row in range(len(ids))
    ]


def _compared(name, expected, found, rivals, tolerance):
    """A `InvarianceRun`, and the pairs of hypotheses that should be the same, by their row."""
    same = among_rivals = 0
    difference, gap, differing = 0.0, 0.0, {}
    for row, lists in enumerate(zip(expected, found)):
        pairs = [*itertools.zip_longest(*lists)]
        others = [pair for pair in pairs if None in pair or pair[0].ids != pair[1].ids]
        differences = [_difference(*pair) for pair in pairs if pair not in others]
        gaps = [_gap(*pair) for pair in others]
        difference, gap = max([difference, *differences]), max([gap, *gaps])
        wrong = [pair for pair in others if _gap(*pair) > rivals]
        wrong += [pair for pair in pairs if pair not in others and _difference(*pair) > tolerance]
        same += not others
        among_rivals += bool(others) and not wrong
        if wrong:
            differing[row] = wrong[0]
    return InvarianceRun(name, len(expected), same, among_rivals, difference, gap), differing


def _difference(first, second):
    """Of the scores of the same tokens."""
    pairs = [pair for pair in zip(first.scores, second.scores) if pair[0] != pair[1]]  # infinities are equal
    return max((abs(a - b) / max(1.0, abs(a)) for a, b in pairs), default=0.0)


def _gap(first, second):
    """How far two hypotheses are from being rivals, in nats."""
    if first is None or second is None:
        return math.inf
    places = enumerate(zip(first.ids, second.ids))
    place = next((place for place, (a, b) in places if a != b), None)
    gap = abs(first.scores[0] - second.scores[0])
    if place is None:
        return gap
    return min(gap, abs(first.token_log_probs[place] - second.token_log_probs[place]))


def _told(target_text, hypothesis):
    """Text and score, for the reader of a fault."""
    if hypothesis is None:
        return "nothing", -math.inf
    return target_text.text([hypothesis.ids]).numpy()[0].decode("utf-8", "replace"), hypothesis.scores[0]
