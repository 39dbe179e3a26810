"""A generator over a split of pairs: every score, and the texts behind them."""

import time
from dataclasses import dataclass

import tensorflow as tf
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from tf_seq2seq.errors import InputError
from tf_seq2seq.evaluation.diversity import Diversity, diversity, self_bleu
from tf_seq2seq.evaluation.information import unigram_entropy
from tf_seq2seq.evaluation.scores import Bleu, Rouge, Score, corpus_bleu, corpus_chrf, exact_match, rouge
from tf_seq2seq.evaluation.teacher_forced import Likelihood, likelihood


@dataclass(frozen=True)
class Evaluation:
    """What `evaluate` found; `tf_seq2seq.evaluation.report` prints it.

    Fields:
        bleu, chrf, rouge: with their signatures.
        exact_match: share of hypotheses equal to their reference, 0 to 1.
        likelihood: teacher-forced numbers of the references: perplexity, bits a token, accuracy, output
            entropy.
        hypothesis_entropy, reference_entropy: bits, of the distribution of single words.
        hypothesis_diversity, reference_diversity: distinct-1 and distinct-2 and the repetition rate.
        self_bleu: of the hypotheses of each source, with its signature; None where each has one only.
        seconds: of generation alone.
        sources, hypotheses, references: lists of str, in the split's order.
    """

    bleu: Bleu
    chrf: Score
    rouge: Rouge
    exact_match: float
    likelihood: Likelihood
    hypothesis_entropy: float
    reference_entropy: float
    hypothesis_diversity: Diversity
    reference_diversity: Diversity
    self_bleu: Score | None
    seconds: float
    sources: list
    hypotheses: list
    references: list

    @property
    def sentences_per_second(self):
        """Sentences generated in a second."""
        return len(self.hypotheses) / max(self.seconds, 1e-9)


def evaluate(generator, split, *, limit=None, batch_size=64, lowercase=False, tokenize="13a", progress=True):
    """Generates for every source of a split and scores the best hypotheses against the references.

    Sentences are taken in order of length, so that a batch holds little padding, and put back in their own.

    Args:
        generator: a `TextGenerator`.
        split: `tf.data.Dataset` of (source, target) strings, such as ``pairs.test``; or a list of pairs of
            str.
        limit: at most so many pairs, from the beginning.
        batch_size: sentences generated at once.
        lowercase: whether BLEU, chrF, exact match, diversity and self-BLEU ignore case.
        tokenize: sacreBLEU's tokenizer, of BLEU, diversity and self-BLEU.
        progress: whether to show a bar on standard error.

    Returns:
        `Evaluation`.

    Raises:
        InputError: if the split is empty.
    """
    sources, references = _read(split, limit)
    order = sorted(range(len(sources)), key=lambda row: len(sources[row]))
    batches = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    with _bar(progress) as bar:
        start = time.perf_counter()
        several = _generate(generator, sources, batches, bar)
        seconds = time.perf_counter() - start
        rated = likelihood(generator, _rating_batches(sources, references, batches, bar))
    hypotheses = [texts[0] for texts in several]
    words = {"lowercase": lowercase, "tokenize": tokenize}
    return Evaluation(
        bleu=corpus_bleu(hypotheses, references, **words),
        chrf=corpus_chrf(hypotheses, references, lowercase=lowercase),
        rouge=rouge(hypotheses, references),
        exact_match=exact_match(hypotheses, references, lowercase=lowercase),
        likelihood=rated,
        hypothesis_entropy=_word_entropy(hypotheses),
        reference_entropy=_word_entropy(references),
        hypothesis_diversity=diversity(hypotheses, **words),
        reference_diversity=diversity(references, **words),
        self_bleu=self_bleu(several, **words) if max(map(len, several)) > 1 else None,
        seconds=seconds,
        sources=sources,
        hypotheses=hypotheses,
        references=references,
    )


def generate_texts(generator, sources, batch_size=64):
    """The best text for each source.

    Args:
        generator: a `TextGenerator`.
        sources: list of str.
        batch_size: sentences generated at once.

    Returns:
        list of str.
    """
    rows = range(len(sources))
    batches = [rows[start : start + batch_size] for start in rows[::batch_size]]
    return [texts[0] for texts in _generate(generator, sources, batches)]


def read_pairs(split, limit=None):
    """A split's first pairs as Python strings.

    >>> read_pairs([("uno", "one"), ("dos", "two")], limit=1)
    [('uno', 'one')]

    Args:
        split: `tf.data.Dataset` of (source, target) strings, or an iterable of pairs of str.
        limit: at most so many; all by default.

    Returns:
        list of pairs of str.
    """
    if not isinstance(split, tf.data.Dataset):
        return [tuple(pair) for pair in split][:limit]
    split = split.take(-1 if limit is None else limit)
    return [tuple(text.decode("utf-8", "replace") for text in pair) for pair in split.as_numpy_iterator()]


def _read(split, limit):
    pairs = read_pairs(split, limit)
    if not pairs:
        raise InputError(
            "the split to evaluate has no pair; give one that holds at least one source and its target"
        )
    sources, references = zip(*pairs)
    return list(sources), list(references)


def _generate(generator, sources, batches, bar=None):
    """The texts of each source, best first."""
    several = [[""]] * len(sources)
    for rows in _tracked(batches, bar, "generating"):
        found = generator([sources[row] for row in rows]).n_best()
        for row, texts in zip(rows, found):
            several[row] = texts
    return several


def _rating_batches(sources, references, batches, bar):
    for rows in _tracked(batches, bar, "rating references"):
        yield [sources[row] for row in rows], [references[row] for row in rows]


def _word_entropy(texts):
    words = [word for text in texts for word in text.split()]
    return unigram_entropy(words) if words else 0.0


def _tracked(batches, bar, title):
    """Yields the batches and moves a bar that counts sentences."""
    task = bar.add_task(title, total=sum(map(len, batches))) if bar else None
    for rows in batches:
        yield rows
        if bar:
            bar.advance(task, len(rows))


def _bar(show):
    columns = (
        TextColumn("{task.description:<18}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("sentences"),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=Console(stderr=True), disable=not show, transient=True)
