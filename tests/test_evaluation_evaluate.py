"""A whole evaluation with a small untrained model, against the same numbers made one sentence at a time."""

import io
import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from rich.console import Console

from tf_seq2seq.data.text import TextProcessor
from tf_seq2seq.decoding.beam_search import BeamSearch
from tf_seq2seq.decoding.ensemble import Ensemble
from tf_seq2seq.decoding.generator import TextGenerator
from tf_seq2seq.errors import InputError
from tf_seq2seq.evaluation.alignments import plot_generated
from tf_seq2seq.evaluation.diversity import diversity, self_bleu
from tf_seq2seq.evaluation.evaluate import evaluate, generate_texts, read_pairs
from tf_seq2seq.evaluation.information import entropy
from tf_seq2seq.evaluation.report import (
    as_text,
    numbers,
    sample_rows,
    samples_markdown,
    samples_table,
    save_numbers,
    scores_table,
)
from tf_seq2seq.evaluation.scores import corpus_bleu, corpus_chrf, exact_match
from tf_seq2seq.evaluation.teacher_forced import likelihood, output_entropy
from tf_seq2seq.models import zoo

PAIRS = [
    ("la casa", "a house"),
    ("un perro grande y una casa", "a big dog and a house"),
    ("gato", "cat"),
    ("el gato duerme", "the cat sleeps"),
    ("¿dónde?", "where"),
]


def make_generator(model):
    source = TextProcessor.fit([pair[0] for pair in PAIRS], "words", max_length=20)
    target = TextProcessor.fit([pair[1] for pair in PAIRS], "characters")
    model = model(source.vocab_size, target.vocab_size, units=8, embedding_size=6)
    random = np.random.default_rng(9)
    for weight in model.trainable_weights:
        weight.assign(random.normal(size=weight.shape))
    return TextGenerator(model, source, target, BeamSearch(2, max_length=12))


@pytest.fixture(scope="module")
def generator():
    keras.utils.set_random_seed(0)
    return make_generator(zoo.luong2015)


@pytest.fixture(scope="module")
def evaluation(generator):
    split = tf.data.Dataset.from_tensor_slices(tuple(map(list, zip(*PAIRS))))
    return evaluate(generator, split, batch_size=2, progress=False)


def test_texts_stay_in_the_splits_order(generator, evaluation):
    assert list(zip(evaluation.sources, evaluation.references)) == PAIRS
    assert evaluation.hypotheses == [generator(source).best()[0] for source, _ in PAIRS]
    assert len(set(evaluation.hypotheses)) > 2
    assert generate_texts(generator, evaluation.sources, batch_size=3) == evaluation.hypotheses


def test_scores_are_those_of_the_hypotheses(evaluation):
    texts = evaluation.hypotheses, evaluation.references
    assert evaluation.bleu == corpus_bleu(*texts) and evaluation.chrf == corpus_chrf(*texts)
    assert evaluation.chrf.value > 0 and evaluation.exact_match == exact_match(*texts)
    assert evaluation.hypothesis_diversity == diversity(evaluation.hypotheses)
    assert (
        evaluation.reference_diversity == diversity(evaluation.references) != evaluation.hypothesis_diversity
    )
    assert evaluation.sentences_per_second == len(PAIRS) / evaluation.seconds


def test_self_bleu_is_among_the_hypotheses_of_a_source(generator, evaluation):
    several = [generator(source).n_best() for source, _ in PAIRS]
    assert [len(texts[0]) for texts in several] == [2] * 5
    assert evaluation.self_bleu == self_bleu([texts[0] for texts in several])
    table = as_text(scores_table(evaluation), width=200)
    assert "self-BLEU" in table and evaluation.self_bleu.signature in table
    found = numbers(evaluation)
    assert (found["self_bleu"], found["self_bleu_signature"]) == evaluation.self_bleu


def test_no_self_bleu_of_single_hypotheses(generator):
    single = TextGenerator(
        generator.model, generator.source_text, generator.target_text, BeamSearch(2, n_best=1, max_length=12)
    )
    found = evaluate(single, PAIRS, progress=False)
    assert found.self_bleu is None and numbers(found)["self_bleu"] is None
    assert "self-BLEU" not in as_text(scores_table(found)) and "distinct-1" in as_text(scores_table(found))


def test_likelihood_is_the_sum_over_sentences_alone(generator, evaluation):
    nll = bits = correct = tokens = 0
    for source, reference in PAIRS:
        labels = generator.target_text.dense([reference]).numpy()
        inputs = {
            "source_ids": generator.source_text.dense([source]),
            "target_ids": np.concatenate([[[2]], labels[:, :-1]], 1).astype("int32"),
        }
        logits = generator.model(inputs).numpy()[0].astype("float64")
        p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
        nll -= np.log(p[np.arange(len(p)), labels[0]]).sum()
        bits += entropy(p).sum()
        correct += (p.argmax(-1) == labels[0]).sum()
        tokens += len(p)
    found = evaluation.likelihood
    assert found.tokens == tokens == sum(len(reference) + 1 for _, reference in PAIRS)
    assert found.nll_sum == pytest.approx(nll, rel=1e-5) and found.correct == correct
    assert found.perplexity == pytest.approx(np.exp(nll / tokens), rel=1e-5)
    assert found.output_entropy == pytest.approx(bits / tokens, rel=1e-5)


@pytest.mark.usefixtures("eagerly")
@pytest.mark.parametrize("combine", ["probs", "log_probs"])
def test_an_ensembles_likelihood_is_that_of_its_step_function(generator, combine):
    """Teacher-forced, against `score`, which asks the ensemble token by token."""
    other = make_generator(zoo.plain).model
    for weight in other.trainable_weights:
        weight.assign(weight[..., ::-1])
    texts = generator.source_text, generator.target_text, generator.strategy
    ensemble = Ensemble([generator.model, other], [0.6, 0.4], combine, renormalize=True)
    asked = TextGenerator(ensemble, *texts)
    found = likelihood(asked, [list(zip(*PAIRS))])
    nll = -float(tf.reduce_sum(asked.score(*map(list, zip(*PAIRS))).log_probs))
    single = likelihood(generator, [list(zip(*PAIRS))])
    assert found.nll_sum == pytest.approx(nll, rel=1e-5) and found.tokens == single.tokens
    assert abs(found.nll_sum - single.nll_sum) > 1


def test_output_entropy_is_numpys_over_the_real_tokens():
    logits = np.random.default_rng(0).normal(size=(2, 3, 9)).astype("float32")
    mask = np.array([[True, True, False], [True, False, False]])
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    assert float(output_entropy(logits, mask)) == pytest.approx(entropy(p[mask]).mean(), rel=1e-5)


def test_the_report_tells_every_number(tmp_path, evaluation):
    save_numbers(evaluation, tmp_path / "results.json")
    found = json.loads((tmp_path / "results.json").read_text())
    assert found == numbers(evaluation)
    assert found["bleu"] == evaluation.bleu.value and found["signature"].startswith("nrefs:1|case:mixed")
    assert found["sentences"] == 5 and found["perplexity"] == evaluation.likelihood.perplexity
    ours, theirs = evaluation.hypothesis_diversity, evaluation.reference_diversity
    assert (found["distinct1"], found["distinct2"], found["repetition_rate"]) == ours
    assert found["reference_distinct2"] == theirs.distinct2
    text = as_text(scores_table(evaluation), samples_table(sample_rows(evaluation, 3)), width=200)
    assert f"{ours.distinct1:.3f} / {ours.distinct2:.3f}" in text
    assert f"references {100 * theirs.repetition_rate:.1f} %" in text
    for part in (f"{evaluation.bleu.value:.1f}", evaluation.chrf.signature, "la casa", "el gato"):
        assert part in text


def test_a_sample_is_shown_as_it_is_whatever_it_holds():
    row = ("[bold]a|b", "*c*", "a <b>")
    assert all(cell in as_text(samples_table([row])) for cell in row)
    assert samples_markdown([row]).splitlines()[-1] == r"| \[bold\]a\|b | \*c\* | a \<b\> |"


def test_a_hit_is_green():
    console = Console(file=io.StringIO(), force_terminal=True, color_system="standard", width=80)
    console.print(samples_table([("a", "hit", "hit"), ("b", "missed", "other")]))
    lines = console.file.getvalue().splitlines()
    assert ["hit" in line for line in lines] == ["\x1b[32m" in line for line in lines]


def test_limits_and_lists():
    assert read_pairs(PAIRS, 2) == PAIRS[:2]
    split = tf.data.Dataset.from_tensor_slices((["ñ", "b"], ["c", "d"]))
    assert read_pairs(split) == [("ñ", "c"), ("b", "d")] and read_pairs(split, 1) == [("ñ", "c")]


def test_nothing_to_evaluate_is_refused(generator):
    with pytest.raises(InputError, match="the split to evaluate has no pair"):
        evaluate(generator, [])


def test_the_picture_is_of_the_best_hypothesis(generator):
    figure = plot_generated(generator, "el gato duerme")
    axes, best = figure.axes[0], generator("el gato duerme").sentences()[0]
    assert [label.get_text() for label in axes.xaxis.get_ticklabels()] == ["el", "gato", "duerme", "</s>"]
    assert [label.get_text() for label in axes.yaxis.get_ticklabels()] == best.tokens[0]
    np.testing.assert_allclose(axes.images[0].get_array(), best.alignments[0])


def test_a_model_without_attention_has_no_picture():
    with pytest.raises(InputError, match="no attention to draw"):
        plot_generated(make_generator(zoo.plain), "gato")
