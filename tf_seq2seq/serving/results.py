"""What a client gives back, in Python's own types.

Shapes: **B** texts, **K** hypotheses a text, **T** target tokens, **S** source tokens.
"""

from typing import Any, NamedTuple

import numpy as np

_PADDING = ("", "<pad>")


class Generated(NamedTuple):
    """What was generated for one text; best hypothesis first.

    Fields:
        text: list of str, one a hypothesis.
        scores, log_probs: lists of float, in nats for log_probs.
        finished: list of bool, False where the length limit came before the end.
        tokens: list of lists of str, the end included where finished.
        token_log_probs: list of lists of float, nats, one a token.
        alignments: list of float32 arrays (tokens, source tokens), one a hypothesis; None without attention.
        source_tokens: list of str.
        truncated: bool, whether the text was longer than the model reads.
    """

    text: list
    scores: list
    log_probs: list
    finished: list
    tokens: list
    token_log_probs: list
    alignments: Any
    source_tokens: list
    truncated: bool


class Scored(NamedTuple):
    """How likely the model thinks a target of a source.

    Fields:
        log_prob: float, nats, the sum over the tokens.
        tokens: list of str, the end included.
        token_log_probs: list of float, nats, one a token.
        truncated: bool, whether a text was longer than the model reads.
    """

    log_prob: float
    tokens: list
    token_log_probs: list
    truncated: bool


class Signature(NamedTuple):
    """What a signature takes and gives.

    Fields:
        inputs, outputs: dicts from names to pairs of a dtype, such as "float32", and a shape, a list with None where any
            size will do; the shape is None if the rank is unknown.
    """

    inputs: dict
    outputs: dict


class Metadata(NamedTuple):
    """What a server tells of a model.

    Fields:
        name: str.
        version: int.
        signatures: dict from names to `Signature`.
    """

    name: str
    version: int
    signatures: dict


class VersionStatus(NamedTuple):
    """How a version of a model is.

    Fields:
        version: int.
        state: "AVAILABLE" if it can be asked; else "START", "LOADING", "UNLOADING" or "END".
        message: str, what went wrong; empty if nothing did.
    """

    version: int
    state: str
    message: str


def generated(outputs):
    """What the signature `generate` gave.

    Args:
        outputs: dict of arrays; strings are str, of dtype object.

    Returns:
        list of `Generated`, one for each text; places without a hypothesis are left out.
    """
    return [
        _generated({name: array[row] for name, array in outputs.items()})
        for row in range(len(outputs["text"]))
    ]


def scored(outputs):
    """What the signature `score` gave: a list of `Scored`.

    >>> scored({"log_prob": [-1.5], "length": [1], "tokens": [["a", ""]], "token_log_probs": [[-1.5, 0.0]],
    ...     "truncated": [False]})
    [Scored(log_prob=-1.5, tokens=['a'], token_log_probs=[-1.5], truncated=False)]
    """
    columns = (outputs[name] for name in ("log_prob", "length", "tokens", "token_log_probs", "truncated"))
    return [
        Scored(float(log_prob), [*tokens[:length]], np.asarray(each)[:length].tolist(), bool(truncated))
        for log_prob, length, tokens, each, truncated in zip(*columns)
    ]


def _generated(row):
    """`Generated` of one text's arrays, (K, ...) each."""
    lengths = [int(length) for length in row["length"] if length > 0]
    best = slice(len(lengths))
    source_tokens = _unpadded([*row["source_tokens"]])
    alignments = row.get("alignments")
    if alignments is not None:
        alignments = [
            np.array(one[:length, : len(source_tokens)], np.float32)
            for one, length in zip(alignments, lengths)
        ]
    return Generated(
        text=[*row["text"][best]],
        scores=row["score"][best].tolist(),
        log_probs=row["log_prob"][best].tolist(),
        finished=row["finished"][best].tolist(),
        tokens=[[*one[:length]] for one, length in zip(row["tokens"], lengths)],
        token_log_probs=[one[:length].tolist() for one, length in zip(row["token_log_probs"], lengths)],
        alignments=alignments,
        source_tokens=source_tokens,
        truncated=bool(row["truncated"]),
    )


def _unpadded(tokens):
    while tokens and tokens[-1] in _PADDING:
        tokens.pop()
    return tokens
