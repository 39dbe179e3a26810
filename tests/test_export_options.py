"""Every option of an exported model's `generate`, given at run time, does what a `TextGenerator` with it does."""

import numpy as np
import pytest
import tensorflow as tf
from export_requests import CHANGES, DRAWN, OUT_OF_RANGE, ROWS, SEARCHES, TEXTS, WIDE
from tiny_generator import tiny_generator

from tf_seq2seq.decoding import coverage, penalties, requests, stopping
from tf_seq2seq.decoding.beam_search import BeamSearch
from tf_seq2seq.decoding.constraints import Banned, NoRepeatNGrams, RepetitionPenalty
from tf_seq2seq.decoding.coverage import CoveragePenalty
from tf_seq2seq.decoding.hypotheses import best_first
from tf_seq2seq.decoding.penalties import LengthPenalty
from tf_seq2seq.decoding.sampling import Sampling
from tf_seq2seq.errors import InputError
from tf_seq2seq.export import options
from tf_seq2seq.export.options import DEFAULTS, NAMES, filled

pytestmark = pytest.mark.usefixtures("eagerly")


@pytest.fixture(scope="module")
def generator():
    return tiny_generator()


@pytest.fixture(scope="module")
def signatures(tiny_export):
    loaded = tf.saved_model.load(str(tiny_export))
    yield loaded.signatures
    del loaded  # its tables live as long as it does


def tensors(asked, rows, ids=False):
    return {name: tf.constant(value) for name, value in filled(asked, rows, ids).items()}


def generate(signatures, asked, texts=TEXTS):
    found = signatures["generate"](text=tf.constant(texts), **tensors(asked, len(texts)))
    return {name: value.numpy() for name, value in found.items()}


def strategy(asked):
    """The strategy, made of Python's values."""
    told = {name: asked.get(name, value.item()) for name, value in DEFAULTS.items()}
    constraints = [NoRepeatNGrams(told["no_repeat_ngram"])] if told["no_repeat_ngram"] else []
    constraints += [RepetitionPenalty(told["repetition_penalty"])] if told["repetition_penalty"] != 1 else []
    constraints += [Banned([1])] if told["no_unk"] else []
    shared = {**{name: told[name] for name in ("max_length", "min_length")}, "constraints": constraints}
    if told["samples"]:
        cuts = {"top_k": 0, "top_p": 1, "typical": 1, "epsilon": 0}
        cuts = {name: None if told[name] == off else told[name] for name, off in cuts.items()}
        return Sampling(told["samples"], told["temperature"], **cuts, **shared)
    penalty = LengthPenalty(told["length_penalty"], told["alpha"], told["beta"])
    name = told["coverage_penalty"]
    coverage = None if name == "none" else CoveragePenalty(name, told["coverage_beta"])
    names = ("beam_size", "n_best", "stop", "patience")
    return BeamSearch(
        length_penalty=penalty, coverage_penalty=coverage, **{name: told[name] for name in names}, **shared
    )


def reference(generator, asked):
    """The same from a `TextGenerator`."""
    conditions = {name: asked[name] for name in options.PER_TEXT if name in asked}
    conditions = requests.of_texts(conditions, generator.target_text, ROWS)
    searching = generator.with_strategy(strategy(asked))
    found = searching.generate_ids(generator.source_text.dense(TEXTS), **conditions)
    found = best_first(found, asked.get("n_best", 1))
    names = {"scores": "score", "log_probs": "log_prob", "lengths": "length"}
    wanted = {
        names.get(name, name): field.numpy() for name, field in found._asdict().items() if name != "ids"
    }
    text = tf.where([[not text.strip()] for text in TEXTS], "", generator.target_text.text(found.ids))
    return {**wanted, "text": text.numpy(), "tokens": generator.target_text.tokens(found.ids).numpy()}


def same(found, wanted):
    """Whether answers are alike, with as many steps as the longest of the hypotheses that are given back has."""
    for name, value in wanted.items():
        came = found[name]
        if name in ("tokens", "token_log_probs", "alignments"):
            steps = min(came.shape[2], value.shape[2])
            assert steps == max(found["length"].max(), 1)
            came, value = came[:, :, :steps], value[:, :, :steps]
        if came.dtype.kind == "f":
            np.testing.assert_allclose(came, value, rtol=1e-5, atol=1e-5, err_msg=name)
        else:
            np.testing.assert_array_equal(came, value, err_msg=name)


@pytest.mark.parametrize("asked", SEARCHES.values(), ids=SEARCHES)
def test_a_search_finds_what_the_generator_finds(generator, signatures, asked):
    same(generate(signatures, asked), reference(generator, asked))


@pytest.mark.parametrize("number", range(len(CHANGES)), ids=[name for name, _ in CHANGES])
def test_an_option_makes_a_difference(signatures, number):
    name, asked = CHANGES[number]
    found = generate(signatures, asked)
    without = generate(signatures, {key: value for key, value in asked.items() if key != name})
    assert (found["text"] != without["text"]).any() or (found["score"] != without["score"]).any()


def test_every_option_is_tested():
    assert {name for asked in SEARCHES.values() for name in asked} == {*NAMES}
    assert {name for name, _ in CHANGES} == {*NAMES} - {"n_best"}
    of_all = lambda name: {asked.get(name, DEFAULTS[name].item()) for asked in SEARCHES.values()}
    assert of_all("length_penalty") == {*options.LENGTH_PENALTIES}
    assert of_all("coverage_penalty") == {*options.COVERAGE_PENALTIES}
    assert of_all("stop") == {*options.STOPS}
    assert tuple(penalties._DIVISORS) == options.LENGTH_PENALTIES
    assert {*options.STOPS} == {*stopping.RULES} and {*options.COVERAGE_PENALTIES} == {
        "none",
        "gnmt",
        "summary",
    }
    assert coverage.as_coverage_penalty("gnmt").name in options.COVERAGE_PENALTIES


@pytest.mark.parametrize(
    "asked, message", OUT_OF_RANGE, ids=[message.split(" is")[0] for _, message in OUT_OF_RANGE]
)
def test_what_is_out_of_range_is_told_in_one_line(signatures, asked, message):
    with pytest.raises(tf.errors.InvalidArgumentError, match=rf"assertion failed: \[{message}"):
        generate(signatures, asked)


@pytest.mark.parametrize("name", options.PER_TEXT)
def test_options_of_texts_have_a_row_for_each(signatures, name):
    asked = tensors({}, ROWS) | {name: tensors({}, ROWS - 1)[name]}
    with pytest.raises(
        tf.errors.InvalidArgumentError, match=f"{name} has one row for each of {ROWS} texts; {ROWS - 1} came"
    ):
        signatures["generate"](text=tf.constant(TEXTS), **asked)


def test_what_is_drawn_for_a_text_is_its_own_matter(signatures):
    """Without seeds they are made of the texts; with them, they go with the texts."""
    for asked in (SEARCHES["samples"], DRAWN):
        turned = {**asked, "seeds": asked["seeds"][::-1]} if "seeds" in asked else asked
        found, again = generate(signatures, asked), generate(signatures, turned, TEXTS[::-1])
        np.testing.assert_array_equal(found["text"][::-1], again["text"])


@pytest.mark.parametrize(
    "asked",
    [
        {},
        DRAWN,
        {
            "prefix": [[4, 5]] + [[]] * (ROWS - 1),
            "phrases": [[[6], [7, 8]]] * ROWS,
            "banned": [[[9], [5, 6]]] * ROWS,
        },
    ],
    ids=["beam", "samples", "conditions"],
)
def test_ids_in_and_out(generator, signatures, asked):
    asked = {**WIDE, **asked}
    ids = generator.source_text.dense(TEXTS)
    found = signatures["generate_ids"](source_ids=ids, **tensors(asked, ROWS, ids=True))
    conditions = {
        name: tf.ragged.constant(value) if name != "seeds" else value
        for name, value in asked.items()
        if name in options.PER_TEXT
    }
    wanted = generator.with_strategy(strategy(asked)).generate_ids(ids, **conditions)
    steps = found["ids"].shape[2]
    np.testing.assert_array_equal(found["ids"], wanted.ids[:, : found["ids"].shape[1], :steps])
    np.testing.assert_allclose(
        found["score"], wanted.scores[:, : found["ids"].shape[1]], rtol=1e-5, atol=1e-5
    )
    assert found["alignments"].shape[3] == ids.shape[1] and not found["truncated"].numpy().any()


def test_requests_are_filled_with_defaults():
    found = filled({"banned": [["a", "b\x00"], []], "n_best": 2}, rows=2)
    assert [*found] == [*NAMES] and found["n_best"] == 2 and found["alpha"] == DEFAULTS["alpha"]
    assert found["banned"].tolist() == [["a", "b\x00"], ["", ""]]
    assert filled({"phrases": [[[4, 5], [6]], []]}, 2, ids=True)["phrases"].tolist() == [
        [[4, 5], [6, 0]],
        [[0, 0], [0, 0]],
    ]
    assert [value.shape for value in filled({}, 0).values()][-4:] == [(0,), (0,), (0, 1), (0, 1)]
    assert [value.shape for value in filled({}, 3, ids=True).values()][-4:] == [
        (3,),
        (3, 1),
        (3, 1, 1),
        (3, 1, 1),
    ]


@pytest.mark.parametrize(
    "asked, message",
    [
        ({"bean": 1}, "there is no option 'bean'; there are beam_size, "),
        ({"beam_size": 2.5}, "beam_size cannot be 2.5: it is a whole number"),
        ({"stop": 3}, "stop cannot be 3: it is a name"),
        ({"prefix": "the"}, "prefix cannot be 'the': a list was expected"),
        ({"banned": ["the", "a"]}, "banned cannot be .*: a list was expected"),
        ({"phrases": [[3], [4]]}, "phrases cannot be .*: texts were expected"),
        ({"seeds": [1]}, "seeds cannot be"),
    ],
)
def test_values_of_another_kind_are_told(asked, message):
    with pytest.raises(InputError, match=message):
        filled(asked, rows=2)
