"""Diversity against loops over words counted by hand, and against sacreBLEU itself."""

import json
import math
import random
import subprocess
import sys
from collections import Counter

import pytest
import sacrebleu

from tf_seq2seq.errors import InputError
from tf_seq2seq.evaluation.diversity import (
    Diversity,
    distinct,
    diversity,
    length_ratio,
    ngram_entropy,
    repetition_rate,
    self_bleu,
)

TEXTS = ["the cat sees the cat sees the dog.", "The dog sees nothing", "", "no", "the cat sees the dog."]
# Tokenizer 13a parts the last full stop of a text from its word.
WORDS = [
    ["the", "cat", "sees", "the", "cat", "sees", "the", "dog", "."],
    ["The", "dog", "sees", "nothing"],
    [],
    ["no"],
    ["the", "cat", "sees", "the", "dog", "."],
]


def ngrams(words, order):
    return [tuple(words[start : start + order]) for start in range(len(words) - order + 1)]


def test_by_hand():
    assert distinct(TEXTS, 1) == 8 / 20  # the cat sees dog . The nothing no
    assert (
        distinct(TEXTS, 2) == 8 / 16
    )  # the-cat cat-sees sees-the the-dog dog-. | The-dog dog-sees sees-nothing
    assert distinct(TEXTS, 1, lowercase=True) == 7 / 20
    assert repetition_rate(TEXTS, 1) == (4 + 0 + 0 + 0 + 1) / 20
    assert repetition_rate(TEXTS, 2) == (3 + 0 + 0 + 0 + 0) / 16
    assert distinct(["a,b"], 1, tokenize="none") == 1 and distinct(["a,b a"], 1, tokenize="13a") == 3 / 4
    assert diversity(TEXTS) == Diversity(8 / 20, 8 / 16, 3 / 16)
    assert diversity(TEXTS, lowercase=True).distinct1 == 7 / 20
    assert diversity(["a,b a"], tokenize="none") == Diversity(1.0, 1.0, 0.0)
    assert length_ratio(["a b.", "c"], ["a b c.", "d e"]) == 4 / 6


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_loops_over_words_say_the_same(order):
    rows = [ngrams(words, order) for words in WORDS]
    every = [ngram for row in rows for ngram in row]
    assert distinct(TEXTS, order) == len({*every}) / len(every)
    before = sum(ngram in row[:place] for row in rows for place, ngram in enumerate(row))
    assert repetition_rate(TEXTS, order) == before / len(every)
    shares = [count / len(every) for count in Counter(every).values()]
    nats = -sum(share * math.log(share) for share in shares)
    assert ngram_entropy(TEXTS, order, base=math.e) == pytest.approx(nats, rel=1e-12)
    assert ngram_entropy(TEXTS, order) == pytest.approx(nats / math.log(2), rel=1e-12)


def test_a_uniform_distribution_has_the_most_entropy():
    assert ngram_entropy(["a b", "c d", "e f", "g h"], 2) == pytest.approx(2)
    assert ngram_entropy(["a b", "a b"], 2) == 0


@pytest.mark.parametrize("texts", [[], [""], ["one"]])
def test_nothing_to_count_is_0(texts):
    assert distinct(texts, 2) == repetition_rate(texts, 2) == ngram_entropy(texts, 2) == 0


@pytest.mark.parametrize("measure", [distinct, repetition_rate, ngram_entropy])
def test_an_order_below_1_is_refused(measure):
    with pytest.raises(InputError, match="at least 1, not 0"):
        measure(TEXTS, 0)


@pytest.mark.parametrize("options", [{}, {"lowercase": True}, {"tokenize": "intl"}])
def test_self_bleu_is_sacrebleus_sentence_bleu_against_the_others(options):
    groups = [TEXTS[:2] + TEXTS[4:], ["a small dog runs away", "a big dog runs away", "A small DOG runs"]]
    expected = [
        sacrebleu.sentence_bleu(
            group[place], [text for other, text in enumerate(group) if other != place], **options
        )
        for group in groups
        for place in range(len(group))
    ]
    found = self_bleu(groups, **options)
    assert found.value == pytest.approx(sum(score.score for score in expected) / 6, rel=1e-12)
    assert 0 < found.value < 100
    case, tok = "lc" if options.get("lowercase") else "mixed", options.get("tokenize", "13a")
    assert found.signature == (
        f"nrefs:2|case:{case}|eff:yes|tok:{tok}|smooth:exp|version:{sacrebleu.__version__}"
    )


def test_self_bleu_leaves_single_texts_out_and_says_that_numbers_vary():
    two, three = ["a b c d e", "a b c d f"], ["a b c", "a b d", "x y z"]
    found = self_bleu([["alone"], two, [], three])
    weighted = (2 * self_bleu([two]).value + 3 * self_bleu([three]).value) / 5
    assert found.value == pytest.approx(weighted, rel=1e-12)
    assert found.signature.startswith("nrefs:var|") and self_bleu([two]).signature.startswith("nrefs:1|")
    with pytest.raises(InputError, match="give one that holds two"):
        self_bleu([["alone"], []])


def test_self_bleu_tells_copies_from_texts_without_a_common_word():
    assert self_bleu([["a b c d e"] * 4]).value == pytest.approx(100)
    assert self_bleu([["a b c d e", "f g h i j"]]).value == 0


def test_length_ratio_is_what_sacrebleus_brevity_penalty_sees():
    draw = random.Random(0)
    texts = [[" ".join(draw.choices("abc.", k=draw.randint(1, 9))) for _ in range(30)] for _ in range(3)]
    score = sacrebleu.corpus_bleu(texts[0], texts[1:])
    assert length_ratio(texts[0], [*zip(*texts[1:])]) == score.sys_len / score.ref_len != 1
    assert score.ref_len != sum(min(len(a.split()), len(b.split())) for a, b in zip(*texts[1:]))
    with pytest.raises(InputError, match="2 hypotheses but references for 1"):
        length_ratio(["a", "b"], ["a"])


def test_diversity_imports_no_tensorflow():
    program = (
        "import sys, json\n"
        "from tf_seq2seq.evaluation.diversity import *\n"
        "diversity(['a b']), self_bleu([['a', 'b']]), ngram_entropy(['a']), length_ratio(['a'], ['a'])\n"
        "print(json.dumps(sorted({'tensorflow', 'keras'} & set(sys.modules))))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []
