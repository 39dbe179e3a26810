"""Requests to an exported model: searches with every option, differences that options make, options out of range."""

from tiny_generator import SOURCES

from tf_seq2seq.export.options import STOPS

TEXTS = [*SOURCES, "", "gato", "un ñandú come la casa"]
ROWS = len(TEXTS)
WIDE = {"n_best": 3, "max_length": 9}
DRAWN = {"samples": 4, "n_best": 4, "max_length": 9, "seeds": [*range(ROWS)]}
PHRASES = [["dog"], ["the house", "eats"], [], ["sleeps"], [], ["big"], ["a dog"], []]
BEGINNINGS = ["the", "", "a cat", "where is", "", "dog", "", "big"]
BANNED = [["house"], ["is", "and"], [], ["where is"], ["dog", "cat"], [], ["?"], ["house house"]]

SEARCHES = {
    "greedy": {"beam_size": 1, "max_length": 9},
    "wide": {**WIDE, "beam_size": 8, "length_penalty": "average", "alpha": 1.0},
    "sockeye": {
        **WIDE,
        "beam_size": 3,
        "length_penalty": "sockeye",
        "alpha": 1.3,
        "beta": 3.0,
        "coverage_penalty": "gnmt",
        "coverage_beta": 3.0,
    },
    "all_finished": {
        **WIDE,
        "length_penalty": "word_reward",
        "alpha": 0.5,
        "stop": "all_finished",
        "max_length": 30,
    },
    "first_finished": {
        **WIDE,
        "length_penalty": "gnmt_tf",
        "alpha": 2.5,
        "stop": "first_finished",
        "min_length": 4,
    },
    "patience": {
        **WIDE,
        "length_penalty": "none",
        "stop": "patience",
        "patience": 2.5,
        "coverage_penalty": "summary",
    },
    "repetition": {
        **WIDE,
        "beam_size": 8,
        "no_repeat_ngram": 2,
        "repetition_penalty": 3.0,
        "no_unk": True,
        "max_length": 20,
    },
    "forced": {**WIDE, "prefix": BEGINNINGS, "banned": BANNED},
    "phrases": {**WIDE, "beam_size": 6, "phrases": PHRASES},
    "much": {
        **WIDE,
        "phrases": PHRASES,
        "prefix": ["the"] * ROWS,
        "banned": [["and"]] * ROWS,
        "no_repeat_ngram": 2,
        "coverage_penalty": "summary",
        "stop": "all_finished",
    },
    "samples": {name: value for name, value in DRAWN.items() if name != "seeds"},
    "top_p": {**DRAWN, "top_p": 0.6},
    "typical": {**DRAWN, "typical": 0.6, "epsilon": 0.05},
    "cuts": {
        **DRAWN,
        "samples": 8,
        "temperature": 1.5,
        "top_k": 5,
        "top_p": 0.9,
        "typical": 0.9,
        "epsilon": 0.02,
    },
    "sampled": {
        **DRAWN,
        "prefix": BEGINNINGS,
        "banned": BANNED,
        "no_repeat_ngram": 1,
        "min_length": 5,
        "repetition_penalty": 2.0,
    },
}
"""What a `TextGenerator` finds, too: every option is in one of them at least, with another value than its default."""

CHANGES = [
    ("beam_size", {**WIDE, "beam_size": 3}),
    ("beam_size", {**WIDE, "beam_size": 8}),
    ("length_penalty", {**WIDE, "length_penalty": "average", "alpha": 1.0}),
    ("alpha", {**WIDE, "alpha": 2.5}),
    ("beta", {**WIDE, "length_penalty": "sockeye", "beta": 3.0}),
    ("coverage_penalty", {**WIDE, "coverage_penalty": "gnmt"}),
    ("coverage_penalty", {**WIDE, "coverage_penalty": "summary"}),
    ("coverage_beta", {**WIDE, "coverage_penalty": "gnmt", "coverage_beta": 3.0}),
    *(("stop", {**WIDE, "stop": stop, "max_length": 30}) for stop in STOPS if stop != "optimal"),
    ("patience", {**WIDE, "stop": "patience", "patience": 0.25, "max_length": 30}),
    ("samples", DRAWN),
    ("samples", {**DRAWN, "samples": 8, "n_best": 3}),
    ("seeds", {**DRAWN, "seeds": [7] * ROWS}),
    ("temperature", {**DRAWN, "temperature": 3.0}),
    ("top_k", {**DRAWN, "top_k": 3}),
    ("top_p", {**DRAWN, "top_p": 0.5}),
    ("typical", {**DRAWN, "typical": 0.6}),
    ("epsilon", {**DRAWN, "epsilon": 0.15}),
    ("min_length", {**WIDE, "min_length": 7}),
    ("min_length", {**DRAWN, "min_length": 7}),
    ("max_length", {**WIDE, "max_length": 3}),
    ("max_length", {**DRAWN, "max_length": 3}),
    ("no_repeat_ngram", {**WIDE, "no_repeat_ngram": 2}),
    ("no_repeat_ngram", {**DRAWN, "no_repeat_ngram": 1}),
    ("repetition_penalty", {**WIDE, "repetition_penalty": 3.0}),
    ("repetition_penalty", {**DRAWN, "repetition_penalty": 3.0}),
    ("no_unk", {**WIDE, "beam_size": 8, "n_best": 8, "no_unk": True}),
    ("prefix", {**WIDE, "prefix": BEGINNINGS}),
    ("prefix", {**DRAWN, "prefix": BEGINNINGS}),
    ("banned", {**WIDE, "banned": BANNED}),
    ("banned", {**DRAWN, "banned": BANNED}),
    ("phrases", {**WIDE, "phrases": PHRASES}),
]
"""An option, and a request in which it makes a difference."""

OUT_OF_RANGE = [
    ({"beam_size": 0}, "beam_size is at least 1, at most 8; 0 came"),
    ({"beam_size": 9}, "beam_size is at least 1, at most 8; 9 came"),
    (
        {"beam_size": 2, "n_best": 3},
        "n_best is at most beam_size, or samples where these are above 0; 3 came",
    ),
    ({"samples": 1, "n_best": 2}, "n_best is at most beam_size, or samples"),
    ({"samples": -1}, "samples is at least 0, at most 8; -1 came"),
    ({"length_penalty": "wu"}, "length_penalty is one of none, average, .*; wu came"),
    ({"coverage_penalty": "wu"}, "coverage_penalty is one of none, gnmt, summary; wu came"),
    ({"stop": "later"}, "stop is one of .*; later came"),
    ({"alpha": float("nan")}, "alpha is at least -100, at most 100; -?nan came"),
    ({"alpha": float("inf")}, "alpha is at least -100, at most 100; inf came"),
    ({"beta": -1.0}, "beta is above -1, .*; -1 came"),
    ({"coverage_beta": -0.5}, "coverage_beta is at least 0, .*; -0.5 came"),
    ({"patience": 0.0}, "patience is above 0, .*; 0 came"),
    ({"temperature": 0.0}, "temperature is above 0, .*; 0 came"),
    ({"top_k": -3}, "top_k is at least 0, .*; -3 came"),
    ({"top_p": 2.0}, "top_p is above 0, at most 1; 2 came"),
    ({"typical": 0.0}, "typical is above 0, at most 1; 0 came"),
    ({"epsilon": 1.0}, "epsilon is at least 0, below 1; 1 came"),
    ({"max_length": 257}, "max_length is at least 1, at most 256; 257 came"),
    ({"min_length": 0}, "min_length is at least 1, .*; 0 came"),
    ({"min_length": 9, "max_length": 8}, "min_length is at most max_length; 9 came"),
    ({"no_repeat_ngram": -1}, "no_repeat_ngram is at least 0, .*; -1 came"),
    ({"repetition_penalty": float("nan")}, "repetition_penalty is above 0, .*nan came"),
    (
        {"max_length": 2, "prefix": ["the big house"] * ROWS},
        "prefix is at most max_length, 2, tokens long; 3 tokens came",
    ),
    (
        {"max_length": 2, "phrases": [["the big house"]] * ROWS},
        "phrases is at most max_length, 2, tokens long; 3 tokens",
    ),
    (
        {"prefix": ["the " * 5000] * ROWS},
        "prefix is at most max_length, 100, tokens long; 26[67] tokens came",
    ),
    (
        {"samples": 2, "phrases": [["dog"]] * ROWS},
        "samples is 0, a beam search, where there are phrases; 2 came",
    ),
]
"""A request, and what is said of it."""
