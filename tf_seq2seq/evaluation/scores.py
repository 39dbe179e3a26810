"""Texts and their references become numbers.

Corpus scores come from the tools of record, with the signature that makes them comparable. This module
imports them and NumPy only, never TensorFlow, so that scoring two files is quick.

>>> corpus_bleu(["the cat sat on the mat"], ["the cat sat on the mat"])
Bleu(value=100.0..., signature='nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:...', length_ratio=1.0)
"""

import re
from typing import NamedTuple

import numpy as np

from tf_seq2seq.errors import InputError


class Score(NamedTuple):
    """A number and how it was made.

    Fields:
        value: float, 0 to 100.
        signature: str, sacreBLEU's.
    """

    value: float
    signature: str


class Bleu(NamedTuple):
    """Corpus BLEU.

    Fields:
        value: float, 0 to 100.
        signature: str, sacreBLEU's.
        length_ratio: float, tokens of the hypotheses to tokens of the references; below 1 there is a brevity
            penalty.
    """

    value: float
    signature: str
    length_ratio: float


class Rouge(NamedTuple):
    """Mean ROUGE F-measures of sentence pairs.

    Fields:
        rouge1, rouge2, rougeL: float, 0 to 1: single words, pairs of words, longest common subsequence.
        signature: str, the tool, its version and the split into words.
    """

    rouge1: float
    rouge2: float
    rougeL: float
    signature: str


def corpus_bleu(hypotheses, references, *, lowercase=False, tokenize="13a"):
    """BLEU of a corpus by sacreBLEU, on detokenised text.

    Args:
        hypotheses: strings.
        references: for each hypothesis a string, or a sequence of as many strings as every other has.
        lowercase: whether to ignore case.
        tokenize: sacreBLEU's tokenizer: ``"13a"``, ``"intl"``, ``"char"``, ``"zh"``, ``"ja-mecab"``,
            ``"none"``, ...

    Returns:
        `Bleu`.

    Raises:
        InputError: if the counts differ or there is nothing to score.

    Source:
        Papineni et al. 2002, BLEU; Post 2018, A Call for Clarity in Reporting BLEU Scores.
    """
    from sacrebleu.metrics import BLEU

    metric = BLEU(lowercase=lowercase, tokenize=tokenize)
    result = metric.corpus_score(*_streams(hypotheses, references))
    return Bleu(result.score, str(metric.get_signature()), result.sys_len / max(result.ref_len, 1))


def corpus_chrf(hypotheses, references, *, lowercase=False, word_order=0):
    """chrF of a corpus by sacreBLEU: the F2-measure of character n-grams up to 6.

    >>> corpus_chrf(["casas"], ["casas"]).value
    100.0

    Args:
        hypotheses: strings.
        references: as for `corpus_bleu`.
        lowercase: whether to ignore case.
        word_order: longest word n-gram counted as well; 2 is chrF++.

    Returns:
        `Score`.

    Raises:
        InputError: if the counts differ or there is nothing to score.

    Source:
        Popović 2015, chrF.
    """
    from sacrebleu.metrics import CHRF

    metric = CHRF(lowercase=lowercase, word_order=word_order)
    result = metric.corpus_score(*_streams(hypotheses, references))
    return Score(result.score, str(metric.get_signature()))


def sentence_bleu(hypothesis, references, *, lowercase=False):
    """BLEU of one sentence by NLTK: words split at spaces, n-grams up to 4, smoothing method 3.

    Method 3 (NIST's) puts 1/2, 1/4, ... of one match where an n-gram length has none; a sentence without a
    single right word is 0.

    >>> sentence_bleu("a cat sat on it", ["a cat sat on it"])
    1.0

    Args:
        hypothesis: a string.
        references: a string or several.
        lowercase: whether to ignore case.

    Returns:
        float, 0 to 1, as NLTK gives it.

    Source:
        Chen and Cherry 2014, A Systematic Comparison of Smoothing Techniques for Sentence-Level BLEU, section
        3.
    """
    from nltk.translate.bleu_score import SmoothingFunction
    from nltk.translate.bleu_score import sentence_bleu as nltk_bleu

    references = [references] if isinstance(references, str) else references
    words = [_words(text, lowercase) for text in [hypothesis, *references]]
    return float(nltk_bleu(words[1:], words[0], smoothing_function=SmoothingFunction().method3))


def rouge(hypotheses, references, *, tokenize="unicode", stemmer=False):
    """ROUGE-1, ROUGE-2 and ROUGE-L by the rouge-score package.

    The package's own split, ``"ascii"``, drops every letter that is not a-z, and so the whole of a Russian
    text. The default takes the words of any script, and is the same on plain English.

    >>> scores = rouge(["el niño come"], ["el niño bebe"])
    >>> round(scores.rouge1, 3), round(scores.rouge2, 3), round(scores.rougeL, 3)
    (0.667, 0.5, 0.667)

    Args:
        hypotheses: strings.
        references: for each a string or several, of which the best counts.
        tokenize: ``"unicode"`` or ``"ascii"``; both lower-case.
        stemmer: whether to take off English endings (``"ascii"`` only).

    Returns:
        `Rouge`, the means over sentences.

    Raises:
        InputError: if the counts differ, there is nothing to score or the tokenizer is unknown.

    Source:
        Lin 2004, ROUGE.
    """
    from importlib.metadata import version

    from rouge_score.rouge_scorer import RougeScorer

    if tokenize not in ("unicode", "ascii"):
        raise InputError(f"tokenize is 'unicode' or 'ascii', not {tokenize!r}")
    hypotheses, references = _paired(hypotheses, references)
    names = ["rouge1", "rouge2", "rougeL"]
    scorer = RougeScorer(
        names, use_stemmer=stemmer, tokenizer=_UnicodeWords() if tokenize == "unicode" else None
    )
    rows = [scorer.score_multi(several, text) for text, several in zip(hypotheses, references)]
    means = [float(np.mean([row[name].fmeasure for row in rows])) for name in names]
    signature = (
        f"tool:rouge-score|tok:{tokenize}|stem:{'yes' if stemmer else 'no'}|version:{version('rouge-score')}"
    )
    return Rouge(*means, signature)


class _UnicodeWords:
    def tokenize(self, text):
        return re.findall(r"[^\W_]+", text.lower())


def exact_match(hypotheses, references, *, lowercase=False):
    """Share of hypotheses that are equal to a reference, apart from spaces at the ends.

    >>> exact_match(["yes", "No."], ["yes ", "no."])
    0.5

    Args:
        hypotheses: strings.
        references: for each a string or several.
        lowercase: whether to ignore case.

    Returns:
        float, 0 to 1.

    Raises:
        InputError: if the counts differ or there is nothing to score.
    """
    hypotheses, references = _paired(hypotheses, references)
    same = (lambda text: text.strip().lower()) if lowercase else str.strip
    hits = [same(text) in map(same, several) for text, several in zip(hypotheses, references)]
    return sum(hits) / len(hits)


def _words(text, lowercase):
    return (text.lower() if lowercase else text).split()


def _paired(hypotheses, references):
    """Two lists of one length, the second of lists of strings."""
    hypotheses = list(hypotheses)
    references = [[several] if isinstance(several, str) else list(several) for several in references]
    if len(hypotheses) != len(references):
        raise InputError(
            f"{len(hypotheses)} hypotheses but references for {len(references)}; give one of each a sentence"
        )
    if not hypotheses:
        raise InputError("there is nothing to score; give at least one hypothesis and its reference")
    return hypotheses, references


def _streams(hypotheses, references):
    """The same in sacreBLEU's order: a list of references for each of several translators."""
    hypotheses, references = _paired(hypotheses, references)
    if len({len(several) for several in references}) > 1:
        raise InputError("sacreBLEU wants the same number of references for every hypothesis")
    return hypotheses, [list(stream) for stream in zip(*references)]
