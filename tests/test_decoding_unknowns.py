"""Unknown words are replaced: against a loop in Python, saved by Keras, and inside an exported SavedModel."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_seq2seq.data.text import TextProcessor
from tf_seq2seq.data.vocabulary import END, PAD, UNK, Vocabulary
from tf_seq2seq.decoding.unknowns import UnknownReplacement
from tf_seq2seq.errors import InputError

DICTIONARY = {"gato": "cat", "señor": "Mr", "nueva": "New York", "▁x": "never"}
SOURCE = ["gato", "▁gato", "señor￭", "￭nueva￭", "Žižek", "▁", "<unk>", "</s>", "<pad>", "<s>", ""]
TRANSLATED = {"gato": "cat", "▁gato": "▁cat", "señor￭": "Mr￭", "￭nueva￭": "￭New York￭"}
NO_WORD = {"</s>", "<pad>", "<s>", ""}


def decoded(tokens):
    return np.vectorize(bytes.decode, otypes=[object])(tokens.numpy())


def random_search(seed, rows=12, beam=3, length=7, width=6):
    """ids, tokens, alignments, source tokens; some sources hold no word at all."""
    draw = np.random.default_rng(seed)
    ids = draw.choice([PAD, UNK, UNK, END, 4, 5], [rows, beam, length]).astype("int32")
    alignments = draw.dirichlet(np.full(width, 0.3), [rows, beam, length]).astype("float32")
    source = draw.choice(SOURCE, [rows, width])
    source[:3] = draw.choice([*NO_WORD], [3, width])
    return ids, np.array(["<pad>", "<unk>", "<s>", "</s>", "a", "b"])[ids], alignments, source


def by_loop(ids, tokens, alignments, source, translated):
    expected = tokens.astype(object)
    for b, k, t in np.ndindex(ids.shape):
        places = [s for s in range(len(source[b])) if source[b, s] not in NO_WORD]
        if ids[b, k, t] == UNK and places:
            word = source[b, max(places, key=lambda s: alignments[b, k, t, s])]
            expected[b, k, t] = translated.get(word, word)
    return expected


@pytest.mark.parametrize("dictionary", [None, DICTIONARY], ids=["copied", "dictionary"])
@pytest.mark.parametrize("graph", [False, True], ids=["eager", "graph"])
def test_every_unk_gets_the_word_that_it_looked_at(dictionary, graph):
    replace = UnknownReplacement(dictionary)
    call = tf.function(replace.__call__) if graph else replace
    search = random_search(0)
    expected = by_loop(*search, TRANSLATED if dictionary else {})
    found = decoded(call(*map(tf.constant, search)))
    np.testing.assert_array_equal(found, expected)
    changed = found != search[1]
    assert changed.sum() > 20 and not changed[:3].any() and (search[1][:3] == "<unk>").any()
    assert not dictionary or {*TRANSLATED.values()} <= {*found.ravel()}


def test_source_tokens_may_be_narrower_than_the_alignments():
    alignments = [[[[0.2, 0.1, 0.7]]]]
    assert decoded(UnknownReplacement()([[[UNK]]], [[["<unk>"]]], alignments, [["x", "y"]])).item() == "x"
    empty = tf.zeros([1, 0], tf.string)
    assert decoded(UnknownReplacement()([[[UNK]]], [[["<unk>"]]], alignments, empty)).item() == "<unk>"


def test_a_model_without_attention_is_refused():
    with pytest.raises(InputError, match="no attention"):
        UnknownReplacement()([[[1]]], [[["<unk>"]]], None, [["a"]])


@pytest.mark.parametrize(
    "content",
    [
        "gato\tcat\nseñor\tMr\nnueva\tNew York\n▁x\tnever\n",
        "gato|||cat\nseñor ||| Mr\n\nnueva ||| New York ||| 0.3 0.1\n▁x|||never\n",
        "\ufeffgato\tcat\t-0.1\ngato\tkitty\t-2.5\r\nseñor\tMr\nnueva\tNew York\n▁x\tnever",
    ],
    ids=["tabs", "bars", "first counts"],
)
def test_files_of_both_forms(content, tmp_path):
    (tmp_path / "dictionary").write_text(content, encoding="utf-8")
    for path in (tmp_path / "dictionary", str(tmp_path / "dictionary")):
        assert UnknownReplacement(path).get_config() == {"dictionary": DICTIONARY}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("a\tb\nhouse\n", "dictionary, line 2: expected a source word"),
        ("a|||\n", "line 1: expected"),
        ("\tb\n", "line 1: expected"),
        ("a\t</s>\n", "neither empty nor special"),
        ("", "is empty"),
        (None, "cannot read"),
        ({"a": ""}, "neither empty nor special"),
        ({"<unk>": "b"}, "neither empty nor special"),
        ({"a": 3}, "neither empty nor special"),
    ],
)
def test_what_is_no_dictionary_is_refused(content, words, tmp_path):
    if isinstance(content, str):
        (tmp_path / "dictionary").write_text(content)
    with pytest.raises(InputError, match=words) as error:
        UnknownReplacement(content if isinstance(content, dict) else tmp_path / "dictionary")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("dictionary", [None, DICTIONARY, {"class_name": "a", "config": "b", "module": "c"}])
def test_keras_saves_and_loads_it(dictionary):
    replace = UnknownReplacement(dictionary)
    written = json.dumps(keras.saving.serialize_keras_object(replace))
    again = keras.saving.deserialize_keras_object(json.loads(written))
    assert type(again) is UnknownReplacement and again.get_config() == {"dictionary": dictionary}
    search = random_search(1)
    np.testing.assert_array_equal(again(*search), replace(*search))


def exported(tmp_path, source, target, replace):
    """Texts of given ids and alignments, out of a SavedModel that was written and read again."""

    class Replacing(tf.Module):
        def __init__(self):
            super().__init__()
            self.source, self.target, self.replace = source, target, replace

        @tf.function(
            input_signature=[
                tf.TensorSpec([None], tf.string),
                tf.TensorSpec([None, None, None], tf.int32),
                tf.TensorSpec([None, None, None, None], tf.float32),
            ]
        )
        def __call__(self, text, ids, alignments):
            tokens = self.source.tokens_of_text(text).to_tensor("<pad>")
            tokens = self.replace(ids, self.target.tokens(ids), alignments, tokens)
            return {"text": self.target.text_of_tokens(tokens)}

    module = Replacing()
    tf.saved_model.save(module, str(tmp_path / "it"), signatures=module.__call__)
    return tf.saved_model.load(str(tmp_path / "it")).signatures["serving_default"]


def test_an_exported_model_writes_names_that_neither_vocabulary_has(tmp_path):
    (tmp_path / "dictionary").write_text("gato\tcat\n")
    replace = UnknownReplacement(tmp_path / "dictionary")
    (tmp_path / "dictionary").unlink()
    source = TextProcessor("words", vocabulary=Vocabulary(["el", "come", "."]))
    target = TextProcessor("words", vocabulary=Vocabulary(["the", "eats", "."]))
    call = exported(tmp_path, source, target, replace)
    text = tf.constant(["el gato come.", "Žižek come."])  # 5 and 4 tokens, END counted
    ids = [[[4, UNK, 5, 6, END], [UNK, END, 0, 0, 0]], [[UNK, 5, 6, END, 0], [UNK, UNK, 6, 5, 4]]]
    alignments = np.full([2, 2, 5, 5], 0.01, "float32")
    alignments[0, 0, 1, 1] = alignments[0, 1, 0, 2] = alignments[1, :, :, 0] = 0.4
    alignments[..., 3:] = 0.5  # END and PAD are looked at most, and never copied, nor is the full stop
    alignments[0, ..., 3] = 0.0
    found = call(text=text, ids=tf.constant(ids, tf.int32), alignments=tf.constant(alignments))["text"]
    assert decoded(found).tolist() == [["the cat eats.", "come"], ["Žižek eats.", "Žižek Žižek. eats the"]]


def test_subwords_take_a_piece_as_it_stands_in_the_source(tmp_path):
    sentences = ["el perro come pan", "la casa es grande", "una casa en la calle"]
    source = TextProcessor.fit(sentences, "subwords", 23)
    target = TextProcessor.fit(["the dog eats bread", "the house is big", "a house"], "subwords", 20)
    call = exported(tmp_path, source, target, UnknownReplacement())
    tokens = decoded(source.tokens_of_text(["la Жук casa"])[0]).tolist()
    ids = target.ids(["the dog"]).to_list()[0][:-1] + target.ids(["Ж"]).to_list()[0]
    alignments = np.zeros([1, 1, len(ids), len(tokens)], "float32")
    alignments[..., tokens.index("Жук")] = 1.0
    assert ids[-2] == UNK
    found = call(
        text=tf.constant(["la Жук casa"]), ids=tf.constant([[ids]]), alignments=tf.constant(alignments)
    )
    assert decoded(found["text"]).item() == "the dog Жук"
