"""TextProcessor: round trips, padding, lengths, ids as input, saving, exporting, bad input."""

import json
import random
import subprocess
import sys
import unicodedata

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tf_seq2seq.data.pieces import SPLITS
from tf_seq2seq.data.text import TextProcessor
from tf_seq2seq.data.vocabulary import END, PAD, START, UNK, Vocabulary
from tf_seq2seq.data.words import join_words, split_words
from tf_seq2seq.errors import InputError

SENTENCES = [
    "Tom doesn't know where it's kept, does he?",
    "¿Dónde está el perro? ¡No lo sé!",
    "«Ven aquí», dijo ella; pero él no vino.",
    '"I\'m late," she said, "and you aren\'t."',
    "The well-known price (3.14 dollars) rose 50% at 10:30.",
    "It costs $1,000 - no more, no less...",
    "Aujourd'hui l'eau de l'été est froide.",
    "The dogs' bowl is Mary's; he'd 'borrowed' it.",
    "María se levantó a las 7:15 y dijo: —¡Buenos días!",
    "We'll see [sic] what they've done: A/B tests & more!",
]
MORE = [
    f"{a} {b} {c}."
    for a in ("Tom", "El perro", "Ella")
    for b in ("ve", "come", "sees")
    for c in ("pan", "it")
]
ODD = [b"", b"   ", b"\xff\xfe caf\xc3\xa9 \xc3", b"a\x00b", "🙂‍↔️ 你好。\u200b\ufeff".encode(), b"x" * 5000]


@pytest.fixture(scope="module")
def processors():
    sizes = {"words": 300, "characters": 200, "bytes": None, "subwords": 120}
    return {split: TextProcessor.fit(SENTENCES + MORE, split, vocab_size=sizes[split]) for split in SPLITS}


def strings(tensor):
    return [value.decode() for value in tensor.numpy().tolist()]


@pytest.mark.parametrize("split", SPLITS)
def test_sentences_come_back_as_they_were(processors, split):
    processor = processors[split]
    ids = processor.dense(SENTENCES)
    assert ids.dtype == tf.int32 and int(tf.reduce_max(ids)) < processor.vocab_size
    assert not np.any(ids.numpy() == UNK) and not np.any(ids.numpy() == START)
    assert strings(processor.text(ids)) == SENTENCES


def test_words_are_what_a_reader_calls_words():
    tokens = split_words(['"Don\'t," he said: ¿qué?', "(l'eau) 3.5km U.S. well-known a , b's"])
    assert [[token.decode() for token in row] for row in tokens.to_list()] == [
        ['"￭', "Don", "￭'t", ",", '￭"', "he", "said", ":", "¿", "qué", "?"],
        ["(", "l'￭", "eau", ")", "3.5km", "U", ".￭", "S", ".", "well", "￭-￭", "known", "a", "▁,", "b", "￭'s"],
    ]


@settings(max_examples=200, deadline=None)
@given(st.text(st.sampled_from("ab1É '’\"-.,:!¿([)] ▁$\n|…s"), max_size=30) | st.text(max_size=30))
@example("( ) (). ' 's' a'b'c --- ... 1.2.3 $ 5$ ¿ ¿qué? .")
def test_words_lose_no_sign_and_no_space(text):
    text = text.encode("utf-8", "replace").decode()
    tokens = split_words([text])
    assert b"" not in tokens.to_list()[0]
    spaced = "".join(" " if c.isspace() or unicodedata.category(c) in ("Cc", "Zs") else c for c in text)
    expected = " ".join(part for part in spaced.split(" ") if part).replace("￭", "■").replace("▁", "_")
    assert strings(join_words(tokens)) == [expected]


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=20))
@example("\x00\r\n\u2028")
def test_any_text_round_trips_through_bytes_and_characters(text):
    text = text.encode("utf-8", "replace").decode()
    raw = TextProcessor("bytes", normalize=False)
    assert strings(raw.text(raw.ids([text]))) == [text]
    assert raw.ids([text])[0].numpy().tolist() == [4 + byte for byte in text.encode()] + [END]
    characters = TextProcessor("characters", vocabulary=Vocabulary(sorted({*text, "a"})), normalize=False)
    assert strings(characters.text(characters.ids([text]))) == [text]
    assert characters.ids([text])[0].shape == [len(text) + 1]


@pytest.mark.parametrize("lowercase", [False, True])
def test_normal_form_and_lower_case_agree_with_python(lowercase):
    texts = ["ﬁne ＡＢＣ", "E\u0301lan ÑANDÚ ΑΒΓ Жук", "½ … ª"]
    processor = TextProcessor("bytes", lowercase=lowercase)
    expected = [unicodedata.normalize("NFKC", text) for text in texts]
    assert strings(processor.text(processor.ids(texts))) == [t.lower() if lowercase else t for t in expected]


def test_lower_case_holds_for_subwords_too():
    processor = TextProcessor.fit(SENTENCES + MORE, "subwords", 120, lowercase=True, algorithm="bpe")
    assert strings(processor.text(processor.ids(["¿DÓNDE ESTÁ María?"]))) == ["¿dónde está maría?"]


@pytest.mark.parametrize("split", SPLITS)
def test_odd_bytes_give_ids_and_valid_text(processors, split):
    processor = processors[split]
    texts = processor.text(processor.ids(ODD))
    assert strings(texts)[0] == ""
    assert all(row[-1] == END for row in processor.ids(ODD).to_list())
    unsplit = processor.dense(tf.zeros([0], tf.string))
    assert unsplit.shape[0] == 0 and processor.dense([]).shape[0] == 0


@pytest.mark.parametrize("split", SPLITS)
def test_texts_cannot_spell_special_ids(processors, split):
    row = processors[split].ids(["<s> <pad> </s> <unk>"])[0].numpy()
    assert not {PAD, START, END} & {*row[:-1].tolist()} and row[-1] == END


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("add_end", [True, False])
def test_maximum_length_counts_end_and_a_row_does_not_depend_on_its_batch(processors, split, add_end):
    whole = processors[split]
    cut = TextProcessor(
        split,
        vocabulary=None if split in ("bytes", "subwords") else whole.vocabulary,
        model=getattr(whole.pieces, "model", None),
        max_length=5,
        add_end=add_end,
    )
    expected = [row[: 5 - add_end] + [END] * add_end for row in whole.ids(SENTENCES).to_list()]
    assert cut.ids(SENTENCES).to_list() == expected
    assert [cut.ids([text]).to_list()[0] for text in SENTENCES[:3]] == expected[:3]
    assert cut.dense(SENTENCES + [""]).shape == [len(SENTENCES) + 1, 5]


@pytest.mark.parametrize("split", SPLITS)
def test_ids_are_as_good_as_strings(processors, split):
    processor = processors[split]
    ids = processor.ids(SENTENCES)
    rows = ids.to_list()
    forms = {
        "ragged": ids,
        "ragged int64": tf.cast(ids, tf.int64),
        "lists": rows,
        "lists without END": [row[:-1] for row in rows],
        "lists with START": [[START, *row] for row in rows],
        "arrays": [np.array(row) for row in rows],
        "padded": np.pad(ids.to_tensor(PAD).numpy(), [[0, 0], [0, 3]]),
    }
    for name, form in forms.items():
        assert processor.ids(form).to_list() == rows, name
    assert processor.ids([[4, processor.vocab_size, -1, 5], [], [4, END, 5, 6]]).to_list() == [
        [4, UNK, UNK, 5, END],
        [END],
        [4, END],
    ]


@pytest.mark.parametrize("split", SPLITS)
def test_text_keeps_leading_dimensions_and_stops_at_end(processors, split):
    processor = processors[split]
    one, two = processor.ids([SENTENCES[0], SENTENCES[1]]).to_list()
    length = max(len(one), len(two)) + 3
    rows = [[START, *one, *two], [*two, PAD, END, 7], [PAD] * 3, [10**6]]
    ids = np.array([(row + [PAD] * length)[:length] for row in rows], np.int64).reshape(2, 2, length)
    texts = processor.text(ids)
    assert texts.shape == [2, 2]
    assert strings(tf.reshape(texts, [-1])) == [SENTENCES[0], SENTENCES[1], "", "⁇"]
    assert strings(processor.text(ids[0, 0])[None]) == [SENTENCES[0]]
    tokens = processor.tokens(ids)
    assert tokens.shape == [2, 2, length]
    assert (
        tokens[0, 0, :2].numpy().tolist()[0] == b"<s>"
        and tokens[1, 0, 0] == b"<pad>"
        and tokens[1, 1, 0] == b"<unk>"
    )
    assert tokens[0, 1, 0].numpy().decode() == processor.vocabulary.token(two[0])


@pytest.mark.parametrize("split", SPLITS)
def test_texts_of_tokens_are_texts_of_their_ids(processors, split):
    """Any ids, special ones and impossible sequences included."""
    processor = processors[split]
    ids = np.random.default_rng(0).integers(0, processor.vocab_size, [20, 5, 12])
    ids = np.where(np.random.default_rng(1).random(ids.shape) < 0.15, np.arange(12) % 4, ids)
    tokens = processor.tokens(ids)
    np.testing.assert_array_equal(processor.text_of_tokens(tokens), processor.text(ids))
    assert processor.text_of_tokens(tokens[0, 0]).shape == []
    assert strings(processor.text_of_tokens([["<s>", "<unk>", "</s>", "a"], ["", "<pad>", "", ""]])) == [
        "⁇",
        "",
    ]


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("options", [{}, {"max_length": 5, "lowercase": True}, {"add_end": False}])
def test_tokens_of_texts_stand_beside_their_ids(processors, split, options):
    whole = processors[split]
    processor = TextProcessor(
        split,
        vocabulary=None if split in ("bytes", "subwords") else whole.vocabulary,
        model=getattr(whole.pieces, "model", None),
        **options,
    )
    texts = [*SENTENCES, "Ein Žluťoučký 你好 kůň", ""]
    ids, tokens = processor.ids(texts), processor.tokens_of_text(texts)
    np.testing.assert_array_equal(tokens.row_splits, ids.row_splits)
    names, known = processor.tokens(ids.flat_values).numpy(), ids.flat_values.numpy() != UNK
    np.testing.assert_array_equal(tokens.flat_values.numpy()[known], names[known])
    assert processor.tokens_of_text(ids).to_list() == ids.with_flat_values(names).to_list()


@pytest.mark.parametrize("split", SPLITS)
def test_unknown_tokens_are_read_from_the_text_and_written_back(processors, split):
    processor = processors[split]
    texts = ["Ein Žluťoučký (kůň), l'Žid!", "你好 kůň ▁ě"]
    assert split == "bytes" or UNK in processor.ids(texts).flat_values.numpy()
    tokens = processor.tokens_of_text(texts).to_tensor("")
    expected = [text.replace("▁", {"subwords": "", "words": "_"}.get(split, "▁")) for text in texts]
    assert strings(processor.text_of_tokens(tokens)) == expected


def test_tokens_of_another_processor_are_joined_to_words_of_their_own(processors):
    """What an unknown word is replaced by: a piece that the target's model does not know, or a whole text."""
    subwords = processors["subwords"]
    tokens = [["▁", "▁Žlu", "ť", "▁", "New York"], ["▁Žlu", "▁Žlu"], ["▁", "<0x41>"], ["a", "▁", "▁Žlu"]]
    tokens = [(row + [""] * 5)[:5] for row in tokens]
    assert strings(subwords.text_of_tokens(tokens)) == ["Žluť New York", "Žlu Žlu", "<0x41>", "a Žlu"]
    assert strings(processors["bytes"].text_of_tokens([["<0xC3>", "<0xB1>", "oño", "<0x41>"]])) == ["ñoñoA"]
    words = processors["words"].text_of_tokens([["(", "Žlu", "￭'s", "▁Zürich", ")", "."]])
    assert strings(words) == ["(Žlu's Zürich)."]


@pytest.mark.parametrize("algorithm", ["unigram", "bpe"])
def test_subwords_are_the_same_every_time_even_from_a_sample(algorithm, capfd):
    rng = random.Random(0)
    many = [" ".join(rng.sample(SENTENCES, 2)) for _ in range(300)]
    options = {"algorithm": algorithm, "vocab_size": 120, "sentence_limit": 101}
    one = TextProcessor.fit(iter(many), **options)
    two = TextProcessor.fit(tf.data.Dataset.from_tensor_slices(many), **options)
    assert one.pieces.model == two.pieces.model and one.vocab_size == 120
    assert capfd.readouterr().err == ""


def test_byte_fallback_knows_every_character():
    plain = TextProcessor.fit(SENTENCES, vocab_size=100)
    fallback = TextProcessor.fit(SENTENCES, vocab_size=360, byte_fallback=True)
    assert UNK in plain.ids(["Żółw 你"]).to_list()[0]
    assert strings(plain.text(plain.ids(["eŻe"]))) == ["e⁇e"]
    assert strings(fallback.text(fallback.ids(["Żółw 你"]))) == ["Żółw 你"]
    cut = fallback.ids(["你"])[:, :-2]  # END and the last byte are lost
    assert "\ufffd" in strings(fallback.text(cut))[0]


@pytest.mark.parametrize("split", SPLITS)
def test_a_saved_processor_loads_and_works_in_a_dataset(processors, split, tmp_path):
    processor = processors[split]
    processor.save(tmp_path / "source")
    processor.save(tmp_path / "source")  # it may be there already
    loaded = TextProcessor.load(tmp_path / "source")
    assert loaded.vocabulary.tokens == processor.vocabulary.tokens
    dataset = tf.data.Dataset.from_tensor_slices(SENTENCES).batch(4).map(loaded.ids).unbatch()
    assert [row.numpy().tolist() for row in dataset] == processor.ids(SENTENCES).to_list()


def test_processors_outlive_a_new_seed(processors):
    before = [processor.ids(SENTENCES).to_list() for processor in processors.values()]
    dataset = tf.data.Dataset.from_tensors(SENTENCES).map(processors["subwords"].dense)
    tf.random.set_seed(1)  # drops the kernels of eager operations, and what they own
    keras.backend.clear_session()
    assert [processor.ids(SENTENCES).to_list() for processor in processors.values()] == before
    np.testing.assert_array_equal(next(iter(dataset)), processors["subwords"].dense(SENTENCES))


DAMAGES = [
    ("words", lambda folder: (folder / "processor.json").unlink(), "No such file"),
    ("words", lambda folder: (folder / "processor.json").write_text("{"), "processor"),
    ("words", lambda folder: (folder / "processor.json").write_text("[]"), "processor"),
    ("words", lambda folder: (folder / "processor.json").write_text('{"split": "words"}'), "vocab_size"),
    ("words", lambda folder: (folder / "vocabulary.txt").unlink(), "vocabulary.txt"),
    ("characters", lambda folder: Vocabulary(["a"]).save(folder / "vocabulary.txt"), "but has 5 now"),
    ("subwords", lambda folder: (folder / "sentencepiece.model").write_bytes(b"junk"), "damaged"),
    ("subwords", lambda folder: (folder / "sentencepiece.model").write_bytes(b""), "damaged"),
    ("subwords", lambda folder: halve(folder / "sentencepiece.model"), "damaged|but has"),
    (
        "bytes",
        lambda folder: edit(folder / "processor.json", split="syllables"),
        "words, characters, bytes, subwords",
    ),
    ("bytes", lambda folder: edit(folder / "processor.json", colour="red"), "colour"),
]


def halve(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def edit(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(("split", "damage", "expected"), DAMAGES)
def test_a_damaged_folder_is_named(processors, tmp_path, split, damage, expected):
    processors[split].save(tmp_path / "p")
    damage(tmp_path / "p")
    with pytest.raises(InputError, match=expected) as error:
        TextProcessor.load(tmp_path / "p")
    assert str(tmp_path / "p") in str(error.value) and "\n" not in str(error.value)


BAD = [
    (lambda: TextProcessor.fit(SENTENCES, "subwords", 5000), r"set it to \d+ or less"),
    (lambda: TextProcessor.fit(SENTENCES, "subwords", 5000, algorithm="bpe"), r"set it to \d+ or less"),
    (lambda: TextProcessor.fit(SENTENCES, "subwords", 20), r"more than \d+"),
    (lambda: TextProcessor.fit(SENTENCES, algorithm="wordpiece"), "unigram"),
    (lambda: TextProcessor.fit(SENTENCES, sentence_limit=100), "more than 100"),
    (lambda: TextProcessor.fit([], "subwords"), "no sentence"),
    (lambda: TextProcessor.fit([], "words"), "holds no words"),
    (lambda: TextProcessor.fit(["", " "], "words"), "holds no words"),
    (lambda: TextProcessor.fit(SENTENCES, "syllables"), "words, characters, bytes, subwords"),
    (lambda: TextProcessor.fit(tf.data.Dataset.from_tensors(("a", "b")), "words"), "scalar strings"),
    (lambda: TextProcessor("words"), "vocabulary"),
    (lambda: TextProcessor("subwords"), "sentencepiece.model"),
    (lambda: TextProcessor("bytes", max_length=1), "at least 2"),
    (lambda: TextProcessor("bytes").ids("a"), "make it a batch"),
    (lambda: TextProcessor("bytes").ids([4, 5]), "make it a batch"),
    (lambda: TextProcessor("bytes").ids([[4.5]]), "strings or integer ids"),
]


@pytest.mark.parametrize(("make", "expected"), BAD)
def test_bad_arguments_are_told(make, expected):
    with pytest.raises(InputError, match=expected) as error:
        make()
    assert "\n" not in str(error.value)


def test_a_stated_limit_of_subwords_is_true():
    with pytest.raises(InputError) as error:
        TextProcessor.fit(SENTENCES, "subwords", 5000)
    limit = int(str(error.value).split("set it to ")[1].split()[0])
    assert TextProcessor.fit(SENTENCES, "subwords", limit).vocab_size == limit


@pytest.mark.parametrize("split", ["words", "subwords"])
def test_a_reader_s_own_error_is_not_hidden(split):
    def lines():
        yield "a b c"
        raise InputError("corpus.txt, line 2: not UTF-8")

    with pytest.raises(InputError, match="line 2"):
        TextProcessor.fit(lines(), split)


SERVE = """
import json, sys
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2
graph = saved_model_pb2.SavedModel.FromString(open(sys.argv[1] + "/saved_model.pb", "rb").read())
graph = graph.meta_graphs[0].graph_def
nodes = [*graph.node, *(node for function in graph.library.function for node in function.node_def)]
functions = {function.signature.name for function in graph.library.function}
import tensorflow_text
module = tf.saved_model.load(sys.argv[1])
texts = tf.constant(json.loads(sys.argv[2]))
answer = {split: [t.decode() for t in getattr(module, split)(texts).numpy()] for split in sys.argv[3:]}
answer["ids"] = module.plain(tf.constant([[68, 69, 3, 7]])).numpy().tolist()[0].decode()
answer["ops"] = sorted({node.op for node in nodes if not hasattr(tf.raw_ops, node.op)} - functions)
answer["foreign"] = [name for name in sys.modules if name.startswith(("tf_seq2seq", "sentencepiece"))]
print(json.dumps(answer))
"""


def there_and_back(processor):
    def function(text):
        ids = processor.dense(text)
        again = processor.text_of_tokens(processor.tokens_of_text(text).to_tensor(""))
        return tf.strings.join([processor.text(ids), processor.tokens(ids)[:, 0], again])

    return function


def test_a_copied_export_answers_with_tensorflow_and_tf_text_alone(processors, tmp_path):
    module = tf.Module()
    text, ids = tf.TensorSpec([None], tf.string), tf.TensorSpec([None, None], tf.int32)
    for split, processor in processors.items():
        setattr(module, f"{split}_processor", processor)
        setattr(module, split, tf.function(there_and_back(processor), input_signature=[text]))
    module.plain = tf.function(processors["bytes"].text, input_signature=[ids])
    tf.saved_model.save(module, tmp_path / "written")
    (tmp_path / "written").rename(tmp_path / "copied")
    texts = [*SENTENCES, "caf\ufffd"]
    command = [sys.executable, "-c", SERVE, tmp_path / "copied", json.dumps(texts), *SPLITS]
    answer = json.loads(subprocess.run(command, cwd=tmp_path, check=True, capture_output=True).stdout)
    for split in SPLITS:
        assert answer[split] == strings(getattr(module, split)(tf.constant(texts)))
    assert answer["ids"] == "@A" and answer["foreign"] == []
    served = {"NormalizeUTF8", "SentencepieceOp", "SentencepieceTokenizeOp", "SentencepieceDetokenizeOp"}
    assert {*answer["ops"]} <= served, "TF Serving's TF-Text 2.12.1 was tried with these operations only"


def test_two_subword_models_in_one_export_stay_two(tmp_path):
    """TF-Text finds a model by its operation's name: source and target must not read with one model."""
    sides = [
        ["ab ab cd ab", "cd ab cd", "ab cd ab ab"],
        ["the cat sleeps", "the house is big", "the big cat"],
    ]

    class Both(tf.Module):
        def __init__(self):
            super().__init__()
            self.source, self.target = (
                TextProcessor.fit(side, vocab_size=size) for side, size in zip(sides, (10, 20))
            )

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
        def __call__(self, text):
            return {"back": self.target.text(self.target.dense(text)), "source_ids": self.source.dense(text)}

    module, text = Both(), tf.constant(["the cat sleeps"])
    tf.saved_model.save(module, str(tmp_path), signatures=module.__call__)
    answer = tf.saved_model.load(str(tmp_path)).signatures["serving_default"](text)
    assert answer["back"].numpy().tolist() == [b"the cat sleeps"]
    np.testing.assert_array_equal(answer["source_ids"], module.source.dense(text))
