"""Requests that a server makes to a model before it serves it, so that the first user waits for nothing.

::

    <version>/assets.extra/tf_serving_warmup_requests    a TFRecord of PredictionLog messages

TensorFlow Serving reads that file by itself. A first call of a signature traces, allocates and prepares its products; it
does so once for each number of texts. The messages are TensorFlow Serving's own, written here without its package: they are
nothing but nested fields that begin with their length::

    PredictionLog   predict_log   = 6: PredictLog
    PredictLog      request       = 1: PredictRequest
    PredictRequest  model_spec    = 1: ModelSpec    inputs = 2: a map, whose entries have key = 1, value = 2: TensorProto
    ModelSpec       name          = 1               signature_name = 3

A *request* is a pair: a signature's name and its inputs, arrays by name.

Source: tensorflow_serving/apis/prediction_log.proto, predict.proto and model.proto; protobuf's wire format.
"""

import itertools
from pathlib import Path

import numpy as np
import tensorflow as tf

from tf_seq2seq.data.words import SPACE
from tf_seq2seq.export.options import Limits, filled

FILE = Path("assets.extra") / "tf_serving_warmup_requests"
BATCH_SIZES = (1, 4, 16)  # texts; what a batching server would round up to
LIMITS = Limits()
_SEARCHES = (
    {"beam_size": 4, "n_best": 2},
    {"beam_size": 1},
    {"samples": 2, "n_best": 2, "temperature": 0.8, "top_p": 0.9},
)
_LENGTH = 20  # tokens of the examples' targets; a golden pair is for reading, too


def example_texts(source_text, count=4):
    """Some texts made of a vocabulary's first tokens of letters; the last one is empty.

    >>> from tf_seq2seq.data.text import TextProcessor
    >>> example_texts(TextProcessor.fit(["a b c d e f g"], "words"), count=3)
    ['a', 'b c', '']

    Args:
        source_text: a `TextProcessor`.
        count: how many.

    Returns:
        list of str.
    """
    tokens = [token.strip(SPACE) for token in source_text.vocabulary.tokens]
    words = itertools.cycle([token for token in tokens if token.isalpha()] or ["a", "b", "c"])
    return [" ".join(itertools.islice(words, length)) for length in range(1, count)] + [""]


def example_requests(texts, signatures, limits=LIMITS):
    """A few requests for a golden pair: each way to search, with these texts.

    Args:
        texts: list of str.
        signatures: names of what the model has; of `serving_default`, `generate` and `score` those are asked.
        limits: the model's `Limits`.

    Returns:
        list of requests.
    """
    text = _strings(texts)
    found = [("serving_default", {"text": text})]
    for options in _SEARCHES:
        options = options | {"max_length": _LENGTH, "seeds": [*range(len(texts))]}
        found.append(("generate", {"text": text} | _within(options, len(texts), limits)))
    found.append(("score", {"source": text, "target": text}))
    return [request for request in found if request[0] in signatures]


def warmup_requests(texts, signatures, limits=LIMITS, batch_sizes=BATCH_SIZES):
    """Requests of some sizes for `serving_default` and, with default options, `generate`.

    Args:
        texts: list of str; they are taken round and round.
        signatures: names of what the model has.
        limits: the model's `Limits`.
        batch_sizes: numbers of texts.

    Returns:
        list of requests.
    """
    found = []
    for rows in batch_sizes:
        text = _strings([texts[row % len(texts)] for row in range(rows)])
        found += [
            ("serving_default", {"text": text}),
            ("generate", {"text": text} | _within({}, rows, limits)),
        ]
    return [request for request in found if request[0] in signatures]


def write(file, model_name, requests):
    """Writes the file that TensorFlow Serving reads.

    Args:
        file: its path; the folder is made if missing.
        model_name: under which the model is served.
        requests: list of requests, a thousand at most.
    """
    Path(file).parent.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(str(file)) as writer:
        for name, inputs in requests:
            writer.write(prediction_log(model_name, name, inputs))


def prediction_log(model_name, signature_name, inputs):
    """One PredictionLog message of a predict request.

    >>> prediction_log("m", "s", {})
    b'2\\n\\n\\x08\\n\\x06\\n\\x01m\\x1a\\x01s'

    Args:
        model_name, signature_name: str.
        inputs: arrays by name.

    Returns:
        bytes.
    """
    model_spec = _field(1, model_name.encode()) + _field(3, signature_name.encode())
    request = _field(1, model_spec)
    for key, value in inputs.items():
        tensor = tf.make_tensor_proto(value).SerializeToString()
        request += _field(2, _field(1, key.encode()) + _field(2, tensor))
    return _field(6, _field(1, request))


def _field(number, content):
    """A field that begins with its length: its number and wire type 2, the length, the content."""
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(value):
    """An integer in groups of seven bits, the lowest first, each but the last marked by its highest bit."""
    groups = b""
    while value > 0x7F:
        groups += bytes([value & 0x7F | 0x80])
        value >>= 7
    return groups + bytes([value])


def _within(options, rows, limits):
    """All options, none of them above what the model allows."""
    options = filled(options, rows)
    most = {"max_length": limits.target_length} | dict.fromkeys(
        ("beam_size", "n_best", "samples"), limits.beam_size
    )
    return options | {name: np.minimum(options[name], np.int32(value)) for name, value in most.items()}


def _strings(texts):
    return np.array([text.encode() for text in texts], object)
