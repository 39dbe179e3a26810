"""Ten thousand hostile strings through the shipped model: no crash, each row its own answer, memory flat.

The folder is asked as a server asks it: with TensorFlow alone, by signatures.
"""

import resource
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_text  # noqa: F401  its operations are in the graph
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tf_seq2seq.export.options import filled

pytestmark = pytest.mark.hostile

FOLDER = Path(__file__).parents[1] / "saved_models" / "tatoeba_es_en" / "1"
ROWS, EXAMPLES = 50, 200  # strings at once, and how often
MORE_MEMORY = 200  # MiB that may come after a fifth of them: allocators keep some

PIECES = [
    "\x00",
    "\u202e",
    "\u200f",
    "\ufeff",
    "\r\n",
    "\t",
    "👩‍👩‍👧",
    "שלום",
    "ﷺ",
    "e\u0301" * 30,
    "▁",
    "</s>",
    "<pad>",
    "￭",
    "%s",
    "{}",
]
PIECES += ["el gato", "¿Dónde está?", "a" * 300, "1e999", "\\x00", "𝕬𝖇", "\U0010ffff", "\x7f\x80", " " * 40]
STRINGS = st.one_of(
    st.binary(max_size=40),
    st.text(max_size=40).map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.lists(st.sampled_from(PIECES), max_size=6).map(lambda some: "".join(some).encode()),
)
BATCHES = st.lists(STRINGS, min_size=ROWS, max_size=ROWS)


@pytest.fixture(scope="module")
def signatures():
    return tf.saved_model.load(str(FOLDER)).signatures


def memory():
    """MiB that the process has taken at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def asked(signature, texts, **more):
    return {name: one.numpy() for name, one in signature(text=tf.constant(texts, tf.string), **more).items()}


def test_ten_thousand_strings(signatures):
    """A batch's rows, turned round and cut in two, have the same answers."""
    translate, seen = signatures["serving_default"], []

    @settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(BATCHES)
    def run(texts):
        found = asked(translate, texts)
        assert all(len(values) == ROWS for values in found.values())
        assert not np.isnan(found["score"]).any() and (found["length"] <= 40).all()
        assert all(text == b"" for text, source in zip(found["text"], texts) if not source.strip())
        [text.decode("utf-8") for text in found["text"]]
        seen.append((ROWS, 0, memory()))
        if len(seen) % 5:
            return
        order = np.arange(ROWS)[::-1]
        halves = [asked(translate, [texts[row] for row in rows]) for rows in np.split(order, [7])]
        again = {name: np.concatenate([one[name] for one in halves])[::-1] for name in found}
        for row in range(ROWS):
            close = abs(again["score"][row] - found["score"][row]) < 1e-3  # rivals as likely as that
            assert close, texts[row]
        differ = sum(a != b for a, b in zip(again["text"], found["text"]))
        seen[-1] = (ROWS, differ, memory())

    run()
    strings, differ, taken = zip(*seen)
    assert sum(strings) >= 10_000
    assert sum(differ) < 10, "more than rivals that are as likely"
    assert max(taken) - taken[len(taken) // 5] < MORE_MEMORY, "memory grows"


@settings(max_examples=60, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(texts=st.lists(STRINGS, min_size=4, max_size=4), data=st.data())
def test_hostile_conditions(texts, data):
    """Forced beginnings, phrases and bans are answered, or refused with a reason."""
    generate = _generate()
    options = filled({"max_length": 30, "beam_size": 3, "n_best": 2}, 4)
    conditions = {
        "prefix": tf.constant(data.draw(st.lists(STRINGS, min_size=4, max_size=4)), tf.string),
        "banned": tf.constant([[data.draw(STRINGS)] for _ in texts], tf.string),
        "phrases": tf.constant([[data.draw(STRINGS)] for _ in texts], tf.string),
    }
    given_ = {name: tf.constant(value) for name, value in options.items() if name not in conditions}
    try:
        found = asked(generate, texts, **given_, **conditions)
    except tf.errors.InvalidArgumentError as error:
        assert any(f"{name}" in error.message for name in conditions), error.message
    else:
        assert found["text"].shape == (4, 2) and not np.isnan(found["score"]).any()


_LOADED = {}


def _generate():
    if not _LOADED:
        _LOADED["it"] = tf.saved_model.load(str(FOLDER))
    return _LOADED["it"].signatures["generate"]


@pytest.mark.parametrize(
    "texts",
    [[], [""], ["gato " * 20_000], ["\x00" * 100_000], ["a" * 100_000, "gato"], ["gato"] * 4096],
    ids=["none", "empty", "words", "zeros", "one word", "many"],
)
def test_huge_requests(texts, signatures):
    found = asked(signatures["serving_default"], texts)
    assert all(len(values) == len(texts) for values in found.values())
    said = [text.replace("\x00", "") for text in texts]  # of NUL nothing is left
    assert found["truncated"].tolist() == [len(text) > 1000 for text in said]
    if "gato" in texts:
        assert found["text"][-1] == asked(signatures["serving_default"], ["gato"])["text"][0]
