"""Forms of phrases in the graph are those that the command line finds; bans of single texts hold for these alone."""

import numpy as np
import pytest
import tensorflow as tf
from tiny_generator import SOURCES, TARGETS, tiny_generator

from tf_seq2seq.commands import constraints
from tf_seq2seq.data.text import TextProcessor
from tf_seq2seq.decoding.beam_search import BeamSearch
from tf_seq2seq.decoding.constraints import Banned
from tf_seq2seq.decoding.phrase_forms import banned_ids, phrase_forms
from tf_seq2seq.decoding.sampling import Sampling

PHRASES = [
    "house",
    "the house",
    "?",
    "-",
    "'s",
    "is the",
    "a",
    "¿dónde",
    "…",
    "cat's eye",
    "  the  dog ",
    "x",
    "",
    " ",
    "a-b",
    "\x00",
]
SENTENCES = [*TARGETS, "is the well-known cat's eye - a dog - a-b ?", *SOURCES]


def processors():
    fit = lambda split, **options: TextProcessor.fit(SENTENCES, split, **options)
    return [
        fit("words"),
        fit("words", lowercase=True),
        fit("characters"),
        fit("bytes"),
        fit("subwords", vocab_size=45),
    ]


@pytest.mark.parametrize("text", processors(), ids=lambda text: text.split)
def test_forms_are_those_of_the_command_line(text):
    found = phrase_forms(tf.constant(PHRASES), text.ids).numpy()
    wanted = constraints.phrase_forms([phrase.strip() for phrase in PHRASES], text)
    for phrase, forms, expected in zip(PHRASES, found, wanted):
        forms = {tuple(form[form != 0].tolist()) for form in forms} - {()}
        assert forms == (set(map(tuple, expected)) if phrase.strip() else set()), phrase


def test_forms_that_are_too_long_are_left_out():
    text = TextProcessor("bytes")
    assert phrase_forms(tf.constant(["abcd", "abc"]), text.ids, longest=3).numpy().any(
        axis=(1, 2)
    ).tolist() == [False, True]
    assert banned_ids(tf.zeros([2, 0], tf.string), text.ids).shape == (2, 0, 0)
    assert banned_ids(tf.zeros([0, 2], tf.string), text.ids).shape[0] == 0


@pytest.mark.parametrize(
    "strategy", [BeamSearch(4, max_length=9), Sampling(3, max_length=9)], ids=["beam", "samples"]
)
def test_a_text_has_bans_of_its_own(strategy, eagerly):
    generator = tiny_generator(strategy)
    texts, banned = SOURCES[:3], [["house"], [], ["and", "dog"]]
    found = generator(texts, banned=banned)
    free = generator(texts)
    for row, phrases in enumerate(banned):
        forms = [form for forms in constraints.phrase_forms(phrases, generator.target_text) for form in forms]
        alone = strategy.get_config() | {"constraints": [Banned(forms)] if forms else []}
        wanted = generator.with_strategy(type(strategy).from_config(alone))([texts[row]])
        steps = wanted.tokens.shape[2]
        np.testing.assert_array_equal(found.tokens[row, :, :steps], wanted.tokens[0])
        np.testing.assert_allclose(found.scores[row], wanted.scores[0], rtol=1e-5)
    assert (found.text.numpy() != free.text.numpy()).any(axis=1).tolist()[1] is False
    assert (found.text.numpy() != free.text.numpy()).any()
