"""How varied outputs are, how much they repeat themselves, and how long they are.

Words are those of sacreBLEU's tokenizer, 13a by default, as in `tf_seq2seq.evaluation.scores`; an n-gram lies
inside one text. No TensorFlow is imported.

>>> round(distinct(["a dog runs", "a cat runs"], 1), 3), distinct(["a dog runs", "a cat runs"], 2)
(0.667, 1.0)
"""

from typing import NamedTuple

from tf_seq2seq.errors import InputError
from tf_seq2seq.evaluation.information import unigram_entropy
from tf_seq2seq.evaluation.scores import Score, corpus_bleu


class Diversity(NamedTuple):
    """What `evaluate` tells about a list of texts, each from 0 to 1.

    Fields:
        distinct1, distinct2: `distinct` of single words and of pairs of words.
        repetition_rate: `repetition_rate` of pairs of words.
    """

    distinct1: float
    distinct2: float
    repetition_rate: float


def diversity(texts, *, lowercase=False, tokenize="13a"):
    """The numbers of `Diversity`.

    >>> diversity(["go on and on and on"])
    Diversity(distinct1=0.5, distinct2=0.6, repetition_rate=0.4)

    Args:
        texts: strings.
        lowercase: whether to ignore case.
        tokenize: sacreBLEU's tokenizer.

    Returns:
        `Diversity`.
    """
    options = {"lowercase": lowercase, "tokenize": tokenize}
    return Diversity(
        distinct(texts, 1, **options), distinct(texts, 2, **options), repetition_rate(texts, 2, **options)
    )


def distinct(texts, order=1, *, lowercase=False, tokenize="13a"):
    """Distinct-n: how many of the n-grams of all texts together are different ones.

    ::

        distinct-n = |set of n-grams of all texts| / number of n-grams of all texts

    It falls as texts are added, so compare equal numbers of texts. Of the hypotheses of one source it tells
    how unlike they are; the mean over sources is the usual number there. The paper divides by the number of
    words for pairs, too; by the number of n-grams, as here, a text without repetition has 1.

    Args:
        texts: strings.
        order: n.
        lowercase: whether to ignore case.
        tokenize: sacreBLEU's tokenizer.

    Returns:
        float, 0 to 1; 0 where no text has an n-gram.

    Source:
        Li et al. 2016, A Diversity-Promoting Objective Function for Neural Conversation Models.
    """
    found = [ngram for row in _ngrams(texts, order, lowercase, tokenize) for ngram in row]
    return len(set(found)) / max(len(found), 1)


def repetition_rate(texts, order=2, *, lowercase=False, tokenize="13a"):
    """How many n-grams came before in the same text: 0 for a text without repetition.

    ::

        sum over texts of (n-grams - different n-grams) / sum over texts of n-grams

    Copies in another text do not count. Texts of people repeat themselves, too: compare with references. The
    mean over texts, instead of this ratio of sums, is the seq-rep-n of Welleck et al.

    >>> repetition_rate(["the the the the the"]), repetition_rate(["the cat", "the cat"])
    (0.75, 0.0)

    Args:
        texts: strings.
        order: n.
        lowercase: whether to ignore case.
        tokenize: sacreBLEU's tokenizer.

    Returns:
        float, 0 to 1; 0 where no text has an n-gram.

    Source:
        Welleck et al. 2020, Neural Text Generation with Unlikelihood Training (seq-rep-n).
    """
    rows = _ngrams(texts, order, lowercase, tokenize)
    repeated = sum(len(row) - len(set(row)) for row in rows)
    return repeated / max(sum(map(len, rows)), 1)


def ngram_entropy(texts, order=4, *, base=2, lowercase=False, tokenize="13a"):
    """Ent-n: entropy of the distribution of the n-grams of all texts together.

    ::

        Ent-n = -sum_w F(w)/F log F(w)/F      F(w) the count of n-gram w, F of all

    Unlike distinct-n it sees how evenly n-grams are used; it grows as texts are added.

    >>> ngram_entropy(["a b", "a b", "b c", "c a"], order=2)
    1.5

    Args:
        texts: strings.
        order: n.
        base: of the logarithm: 2 gives bits, `math.e` nats.
        lowercase: whether to ignore case.
        tokenize: sacreBLEU's tokenizer.

    Returns:
        float, bits for base 2; 0 where no text has an n-gram.

    Source:
        Zhang et al. 2018, Generating Informative and Diverse Conversational Responses via Adversarial
        Information Maximization (Ent-n).
    """
    found = [ngram for row in _ngrams(texts, order, lowercase, tokenize) for ngram in row]
    return unigram_entropy(found, base) if found else 0.0


def self_bleu(groups, *, lowercase=False, tokenize="13a"):
    """Self-BLEU: how alike the texts of a group are; lower is more varied.

    Each text of a group is the hypothesis and all other texts of its group are its references of sacreBLEU's
    sentence BLEU (effective order, smoothing "exp"). The mean is over texts of groups of two or more. With
    the hypotheses of each source as groups it compares those; with ``[outputs]``, a single group, it is Zhu
    et al.'s over a corpus of outputs. Time grows with the square of a group's size: for a whole corpus, take
    a sample of some hundreds.

    >>> round(self_bleu([["the cat sat", "the cat sat"], ["one of its kind"]]).value, 3)
    100.0

    Args:
        groups: sequences of strings.
        lowercase: whether to ignore case.
        tokenize: sacreBLEU's tokenizer.

    Returns:
        `Score`, 0 to 100.

    Raises:
        InputError: if no group has two texts.

    Source:
        Zhu et al. 2018, Texygen: A Benchmarking Platform for Text Generation Models.
    """
    from sacrebleu.metrics import BLEU

    groups = [list(group) for group in groups]
    groups = [group for group in groups if len(group) > 1]
    if not groups:
        raise InputError("self-BLEU compares the texts of a group; give one that holds two texts or more")
    metric = BLEU(lowercase=lowercase, tokenize=tokenize, effective_order=True)
    scores = [
        metric.sentence_score(text, group[:place] + group[place + 1 :]).score
        for group in groups
        for place, text in enumerate(group)
    ]
    if len({len(group) for group in groups}) > 1:
        metric.num_refs = -1  # sacreBLEU's sign for a number that varies
    return Score(sum(scores) / len(scores), str(metric.get_signature()))


def length_ratio(hypotheses, references, *, tokenize="13a"):
    """Words of the hypotheses to words of the references, as BLEU's brevity penalty counts them.

    Of several references the one closest in length counts, the shorter of two equally close.

    >>> length_ratio(["a dog."], ["a small dog."])
    0.75

    Args:
        hypotheses: strings.
        references: for each hypothesis a string, or a sequence of as many strings as every other has.
        tokenize: sacreBLEU's tokenizer.

    Returns:
        float; below 1 BLEU has a brevity penalty.

    Raises:
        InputError: if the counts differ or there is nothing to compare.
    """
    return corpus_bleu(hypotheses, references, tokenize=tokenize).length_ratio


def _ngrams(texts, order, lowercase, tokenize):
    """The n-grams of each text: list of lists of tuples of str."""
    from sacrebleu.metrics import BLEU

    if order < 1:
        raise InputError(f"order is the number of words of an n-gram, at least 1, not {order}")
    split = BLEU(tokenize=tokenize).tokenizer
    rows = [split((text.lower() if lowercase else text).rstrip()).split() for text in texts]
    return [list(zip(*(row[start:] for start in range(order)))) for row in rows]
