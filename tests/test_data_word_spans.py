"""Words of tokens: against Python's own split of the same text."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tf_seq2seq.data.pieces import SPLITS
from tf_seq2seq.data.text import TextProcessor
from tf_seq2seq.data.vocabulary import Vocabulary
from tf_seq2seq.data.word_spans import WordSpans, word_spans
from tf_seq2seq.errors import InputError

SENTENCES = [
    "the well-known dog, he said, didn't come.",
    "¿dónde está la casa grande?",
    "it costs 3.14 € or more",
    "un perro y un gato duermen",
]


@pytest.fixture(scope="module")
def processors():
    sizes = {"words": 100, "characters": 100, "bytes": None, "subwords": 46}
    found = {split: TextProcessor.fit(SENTENCES, split, sizes[split]) for split in SPLITS}
    found["fallback"] = TextProcessor.fit(SENTENCES, "subwords", 300, byte_fallback=True)
    return found


def tokens_of(processor, text):
    return [token.decode() for token in processor.tokens_of_text([text])[0].numpy()]


@pytest.mark.parametrize("name", ["characters", "bytes", "subwords", "fallback"])
@pytest.mark.parametrize("text", [*SENTENCES, "  la   casa ", "x", "", " ", "Ж你 casa", "a ▁b"])
def test_words_are_what_stands_between_spaces(processors, name, text):
    """Each word is spelt by exactly the tokens that are said to be its own."""
    processor = processors[name]
    tokens = tokens_of(processor, text)
    spans = processor.word_spans(tokens)
    if name in ("subwords", "fallback"):
        text = text.replace("▁", " ")  # SentencePiece reads it as a space
    assert spans.words == text.split()
    assert len(spans.word_of) == len(tokens) and spans.word_of[-1] == -1
    for place, word in enumerate(spans.words):
        own = [token for token, of in zip(tokens, spans.word_of) if of == place]
        assert processor.text_of_tokens(own).numpy().decode().strip() == word
    inside = spans.word_of[:-1]
    assert inside == sorted(inside) and (-1 not in inside or not spans.words)


@settings(max_examples=50, deadline=None)
@given(st.text(st.sampled_from("abé 你\t."), max_size=15))
def test_any_text_of_bytes_and_characters(text):
    for processor in (
        TextProcessor("bytes", normalize=False),
        TextProcessor("characters", vocabulary=Vocabulary("ab"), normalize=False),
    ):
        spans = processor.word_spans(tokens_of(processor, text))
        assert spans.words == text.split()


def test_words_and_signs_are_their_own_words(processors):
    tokens = tokens_of(processors["words"], "He didn't say (l'eau) , did he?")
    spans = processors["words"].word_spans(tokens)
    assert spans.words == ["He", "didn", "'t", "say", "(", "l'", "eau", ")", ",", "did", "he", "?"]
    assert spans.word_of == [*range(12), -1]


CASES = [
    ("subwords", ["▁", "a", "b", "▁c"], (["ab", "c"], [0, 0, 0, 1])),
    ("subwords", ["<s>", "▁a", "<unk>", "</s>", "<pad>"], (["a⁇"], [-1, 0, 0, -1, -1])),
    (
        "subwords",
        ["a▁", "b▁", "▁"],
        (["a", "b"], [0, 1, 1]),
    ),  # a mark at the end of words, and a space left over
    ("subwords", ["▁a▁b", "c"], (["a", "bc"], [0, 1])),  # one piece over two words
    ("subwords", ["▁", "<0xC3>", "<0xB1>", "▁a"], (["ñ", "a"], [0, 0, 0, 1])),
    ("subwords", ["▁", "▁", "</s>"], ([], [-1, -1, -1])),
    ("characters", ["a", "▁", "<unk>", "\u3000", "b"], (["a▁⁇", "b"], [0, 0, 0, 1, 1])),
    ("bytes", ["<0xC3>", "<0x20>", "<0x61>"], (["\ufffd", "a"], [0, 1, 1])),
    ("words", ["<unk>", "￭-￭", "￭", "</s>"], (["⁇", "-", "￭"], [0, 1, 2, -1])),
    ("words", [], ([], [])),
]


@pytest.mark.parametrize(("split", "tokens", "expected"), CASES)
def test_by_hand(split, tokens, expected):
    assert word_spans(tokens, split) == WordSpans(*expected)


def test_an_unknown_split_is_refused():
    with pytest.raises(InputError, match="words, characters, bytes, subwords"):
        word_spans(["a"], "syllables")
