"""Vocabulary: order, limits, text file, pretrained vectors."""

import gzip
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tf_seq2seq.data.vocabulary import END, PAD, SPECIAL_TOKENS, START, UNK, Vocabulary
from tf_seq2seq.errors import InputError


def test_special_tokens_have_ids_0_to_3():
    vocabulary = Vocabulary(["a"])
    assert [vocabulary.id(token) for token in SPECIAL_TOKENS] == [PAD, UNK, START, END] == [0, 1, 2, 3]
    assert vocabulary.id("a") == 4 and vocabulary.id("b") == UNK
    assert vocabulary.token(4) == "a" and len(vocabulary) == 5 and "a" in vocabulary and "b" not in vocabulary


def test_build_counts_the_special_tokens_and_breaks_ties_by_code_point():
    sequences = [["b", "a", "c"], ["c", "d", "<s>"], ["c"]]
    assert Vocabulary.build(sequences).tokens[4:] == ["c", "a", "b", "d"]
    assert Vocabulary.build(sequences, max_size=6).tokens[4:] == ["c", "a"]
    assert Vocabulary.build(sequences, min_count=2).tokens[4:] == ["c"]
    assert Vocabulary.build(iter([])).tokens == [*SPECIAL_TOKENS]


@settings(max_examples=50, deadline=None)
@given(st.sets(st.text(st.characters(exclude_categories=["Cs"]), min_size=1)))
def test_any_tokens_survive_the_text_file(tmp_path_factory, tokens):
    path = tmp_path_factory.mktemp("v") / "vocabulary.txt"
    saved = Vocabulary(sorted(tokens - {*SPECIAL_TOKENS}))
    saved.save(path)
    assert Vocabulary.load(path).tokens == saved.tokens
    assert path.read_bytes().count(b"\n") == len(saved)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (None, "No such file"),
        (b"", "begins with"),
        (b"the\nof\nand\nto\n", "begins with the lines <pad> <unk> <s> </s>"),
        (b"<pad>\n<unk>\n<s>\n</s>\na\na\n", "'a' came twice"),
        (b"<pad>\n<unk>\n<s>\n</s>\na\n\nb\n", "token 5 is ''"),
        (b"<pad>\n<unk>\n<s>\n</s>\n\xff\xfe\n", "utf-8"),
    ],
)
def test_a_damaged_file_is_named(tmp_path, content, expected):
    path = tmp_path / "vocabulary.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=expected) as error:
        Vocabulary.load(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_impossible_arguments():
    with pytest.raises(InputError, match="at least 5"):
        Vocabulary.build([["a"]], max_size=4)
    with pytest.raises(InputError, match="twice"):
        Vocabulary(["a", "<s>"])
    with pytest.raises(InputError, match="0 to 4"):
        Vocabulary(["a"]).token(-1)


WORD2VEC = "4 2\nel 1 2\n. . 3 4\nmundo 5 6\notro 7 8\n"


@pytest.mark.parametrize("kind", ["word2vec", "glove", "gzip"])
def test_vectors_are_found_as_written_without_marks_and_in_lower_case(tmp_path, kind):
    path = tmp_path / ("v.txt.gz" if kind == "gzip" else "v.txt")
    text = WORD2VEC if kind == "word2vec" else WORD2VEC.split("\n", 1)[1]
    path.write_bytes(gzip.compress(text.encode()) if kind == "gzip" else text.encode())
    vocabulary = Vocabulary(["el", "Mundo", "▁El", "nada", ". ."])
    vectors = vocabulary.vectors(path, 2, initializer=lambda shape: np.full(shape, 9.0))
    assert vectors.dtype == np.float32 and vectors.shape == (9, 2)
    assert vectors.tolist() == [[0, 0], *[[9, 9]] * 3, [1, 2], [5, 6], [1, 2], [9, 9], [3, 4]]


def test_rows_not_found_are_as_large_as_those_found_and_always_the_same(tmp_path):
    path = tmp_path / "v.txt"
    table = np.random.default_rng(1).normal(0, 0.3, [50, 40])
    path.write_text("\n".join(f"t{i} " + " ".join(map(str, row)) for i, row in enumerate(table)))
    vocabulary = Vocabulary([f"t{i}" for i in range(100)])
    vectors = vocabulary.vectors(path, 40)
    np.testing.assert_allclose(vectors[4:54], table, rtol=1e-6)
    assert 0.27 < vectors[54:].std() < 0.33
    np.testing.assert_array_equal(vectors, vocabulary.vectors(path, 40))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"el 1 2\nla 1 2 3\n", "line 1: expected a token and 3 numbers"),
        (b"le 1 2 3\n", "none of the 5 tokens"),
        (b"el 1 2 x\n", "line 1"),
    ],
)
def test_vectors_of_another_size_or_language(tmp_path, content, expected):
    (tmp_path / "v.txt").write_bytes(content)
    with pytest.raises(InputError, match=expected):
        Vocabulary(["el"]).vectors(tmp_path / "v.txt", 3)


def test_damaged_vectors(tmp_path):
    (tmp_path / "v.gz").write_bytes(gzip.compress(b"el 1 2\n" * 1000)[:-20])
    for name in ("v.gz", "missing.txt"):
        with pytest.raises(InputError, match="cannot read vectors"):
            Vocabulary(["el"]).vectors(tmp_path / name, 2)


def test_the_module_is_light():
    code = "import sys; from tf_seq2seq.data.vocabulary import PAD; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
