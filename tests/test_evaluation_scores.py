"""Text scores against the tools of record."""

import json
import math
import subprocess
import sys

import pytest
import sacrebleu

from tf_seq2seq.errors import InputError
from tf_seq2seq.evaluation.scores import corpus_bleu, corpus_chrf, exact_match, rouge, sentence_bleu

HYPOTHESES = [
    "the cat sat on a mat today",
    "He didn't see us.",
    "nothing in common",
    "",
    "Where is the station?",
]
REFERENCES = [
    "the cat sat on the mat",
    "he did not see us .",
    "one two three",
    "a word",
    "Where is the train station?",
]
SECOND = ["a cat was on the mat", "He didn't see us.", "zero", "", "Where's the station?"]


@pytest.mark.parametrize("lowercase", [False, True])
@pytest.mark.parametrize("tokenize", ["13a", "intl", "char"])
@pytest.mark.parametrize("references", [REFERENCES, list(zip(REFERENCES, SECOND))])
def test_bleu_is_sacrebleu(references, tokenize, lowercase):
    streams = [REFERENCES] if references is REFERENCES else [REFERENCES, SECOND]
    score = corpus_bleu(HYPOTHESES, references, lowercase=lowercase, tokenize=tokenize)
    expected = sacrebleu.corpus_bleu(HYPOTHESES, streams, lowercase=lowercase, tokenize=tokenize)
    assert score.value == expected.score > 0
    assert score.length_ratio == expected.sys_len / expected.ref_len
    case = "lc" if lowercase else "mixed"
    assert score.signature == (
        f"nrefs:{len(streams)}|case:{case}|eff:no|tok:{tokenize}|smooth:exp|version:{sacrebleu.__version__}"
    )


@pytest.mark.parametrize("word_order", [0, 2])
def test_chrf_is_sacrebleu(word_order):
    score = corpus_chrf(HYPOTHESES, REFERENCES, word_order=word_order)
    assert score.value == sacrebleu.corpus_chrf(HYPOTHESES, [REFERENCES], word_order=word_order).score > 0
    assert f"nw:{word_order}" in score.signature and sacrebleu.__version__ in score.signature


def test_sentence_bleu_equals_sacrebleus_with_the_same_smoothing():
    hypothesis, reference = "the cat sat on a mat today", "the cat sat on the mat"
    expected = (
        sacrebleu.sentence_bleu(hypothesis, [reference], smooth_method="exp", tokenize="none").score / 100
    )
    assert sentence_bleu(hypothesis, reference) == pytest.approx(expected)
    assert sentence_bleu("THE CAT sat on a mat today", [reference], lowercase=True) == pytest.approx(expected)
    assert sentence_bleu("the cat sat on a mat today", ["no", hypothesis]) == 1
    assert sentence_bleu("", "a") == sentence_bleu("b", "a") == 0


def test_rouge_is_rouge_score_and_equals_counts_by_hand():
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(["rouge1", "rouge2", "rougeL"])
    rows = [scorer.score(reference, text) for text, reference in zip(HYPOTHESES, REFERENCES)]
    for tokenize in ("unicode", "ascii"):
        found = rouge(HYPOTHESES, REFERENCES, tokenize=tokenize)
        for name in ("rouge1", "rouge2", "rougeL"):
            assert getattr(found, name) == pytest.approx(sum(row[name].fmeasure for row in rows) / len(rows))
    by_hand = rouge(["a b c d"], ["a c b d e"])  # 4, 0 and 3 hits of 4 and 5 words
    assert by_hand[:3] == pytest.approx((2 * 4 / 9, 0.0, 2 * 3 / 9))


def test_rouge_reads_other_scripts_where_the_ascii_split_sees_nothing():
    assert rouge(["я вижу дом"], ["я вижу лес"]).rouge1 == pytest.approx(2 / 3)
    assert rouge(["я вижу дом"], ["я вижу лес"], tokenize="ascii").rouge1 == 0


def test_exact_match_counts_whole_sentences():
    assert exact_match(HYPOTHESES, list(zip(REFERENCES, SECOND))) == 2 / 5
    assert exact_match(["Yes"], ["yes"]) == 0 and exact_match(["Yes"], ["yes"], lowercase=True) == 1


@pytest.mark.parametrize("score", [corpus_bleu, corpus_chrf, rouge, exact_match])
def test_unequal_counts_and_nothing_at_all_are_refused(score):
    with pytest.raises(InputError, match="2 hypotheses but references for 1; give one of each"):
        score(["a", "b"], ["a"])
    with pytest.raises(InputError, match="nothing to score; give at least one"):
        score([], [])


def test_ragged_references_are_refused():
    with pytest.raises(InputError, match="same number of references"):
        corpus_bleu(["a", "b"], [["a"], ["b", "c"]])


def test_scoring_imports_no_tensorflow():
    program = (
        "import sys, json\n"
        "from tf_seq2seq.evaluation.scores import *\n"
        "corpus_bleu(['a'], ['a']), rouge(['a'], ['a']), sentence_bleu('a', 'a')\n"
        "print(json.dumps(sorted({'tensorflow', 'keras'} & set(sys.modules))))"
    )
    output = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout
    assert json.loads(output) == []


def test_keras_nlp_metrics_agree():
    """BLEU, ROUGE and perplexity of keras-nlp, which takes seconds to import."""
    keras_nlp = pytest.importorskip("keras_nlp")
    import numpy as np
    import tensorflow as tf

    from tf_seq2seq.evaluation.information import perplexity

    bleu = keras_nlp.metrics.Bleu(tokenizer=tf.strings.split)
    bleu.update_state([[reference] for reference in REFERENCES], HYPOTHESES)
    assert 100 * float(bleu.result()) == pytest.approx(
        sacrebleu.corpus_bleu(HYPOTHESES, [REFERENCES], tokenize="none", smooth_method="none").score, rel=1e-5
    )
    ours = rouge(HYPOTHESES, REFERENCES)
    for order, expected in ((1, ours.rouge1), (2, ours.rouge2)):
        metric = keras_nlp.metrics.RougeN(order=order)
        metric.update_state(REFERENCES, HYPOTHESES)
        assert float(metric.result()["f1_score"]) == pytest.approx(expected, abs=1e-6)
    logits = np.random.default_rng(0).normal(size=(2, 3, 7)).astype("float32")
    labels = np.array([[4, 5, 3], [6, 3, 0]])
    metric = keras_nlp.metrics.Perplexity(from_logits=True, mask_token_id=0)
    metric.update_state(labels, logits)
    log_probs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    nll = -np.take_along_axis(log_probs, labels[..., None], -1)[labels != 0].sum()
    assert perplexity(float(nll), 5) == pytest.approx(float(metric.result()), rel=1e-5)
    assert math.isfinite(float(metric.result()))
