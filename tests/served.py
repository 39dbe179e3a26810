"""For tests of serving: a model of NumPy that has an exported model's signatures, and a server of it in this process."""

import functools
import json
import threading
import time
from typing import NamedTuple

import numpy as np
import urllib3

from tf_seq2seq.errors import InputError
from tf_seq2seq.export.options import OPTIONS, PER_TEXT
from tf_seq2seq.serving.tensors import Spec

NAME = "tiny"
MAX_BYTES = 100_000
MAX_ROWS = 64
LONGEST = 40  # tokens of a source that the model reads
_STRING = np.dtype(object)
_TYPES = {"O": "DT_STRING", "f": "DT_FLOAT", "i": "DT_INT32", "l": "DT_INT64", "b": "DT_BOOL", "?": "DT_BOOL"}


class Answer(NamedTuple):
    code: int
    told: dict
    headers: dict


def source_tokens(text):
    """What the model reads of a text, list of str."""
    return [*text.split()[: LONGEST - 1], "</s>"]


def target_tokens(text, place, prefix=""):
    """What the model says, list of str: its prefix, the source's words backwards, place times an exclamation mark."""
    return [*prefix.split(), *text.split()[LONGEST - 2 :: -1], *("!" * place), "</s>"]


def log_probs(text, place, prefix=""):
    """The log-prob of each target token, list of float."""
    return [-0.1 * (place + 1) * (at + 1) for at, _ in enumerate(target_tokens(text, place, prefix))]


class Model:
    """Has the signatures `serving_default`, `generate`, `score`, and `slow` and `fail`."""

    version = 1

    def __init__(self):
        texts = Spec(_STRING, (None,))
        options = {
            name: Spec(_STRING if option.dtype == "str" else np.dtype(option.dtype), ())
            for name, option in OPTIONS.items()
        }
        ranks = {"seeds": 1, "prefix": 1, "banned": 2, "phrases": 2}
        by_text = {
            name: Spec(_STRING if dtype == "str" else np.dtype(dtype), (None,) * ranks[name])
            for name, (dtype, _) in PER_TEXT.items()
        }
        self.inputs = {
            "serving_default": {"text": texts},
            "generate": {"text": texts, **options, **by_text},
            "score": {"source": texts, "target": texts},
            "slow": {"text": texts},
            "fail": {"text": texts},
        }
        self.sizes = []  # of the batches that came

    def __call__(self, signature, inputs):
        return getattr(self, f"_{signature}")(inputs)

    def signatures(self):
        return {
            name: {
                "inputs": {key: _info(spec) for key, spec in inputs.items()},
                "outputs": {"score": _info(Spec(np.dtype("f4"), (None,)))},
                "method_name": "tensorflow/serving/predict",
            }
            for name, inputs in self.inputs.items()
        }

    def _generate(self, inputs):
        if not 1 <= inputs["beam_size"] <= 8:
            raise InputError(f"beam_size is at least 1, at most 8; {inputs['beam_size']} came")
        texts = _decoded(inputs["text"])
        self.sizes.append(len(texts))
        places, prefixes = range(inputs["n_best"]), _decoded(inputs["prefix"])
        rows = [[(text, place, prefix) for place in places] for text, prefix in zip(texts, prefixes)]
        tokens = [[target_tokens(*one) for one in row] for row in rows]
        sources = [source_tokens(text) for text in texts]
        numbers = [[log_probs(*one) for one in row] for row in rows]
        alignments = [
            [[_looked(at, len(source)) for at, _ in enumerate(said)] for said in row]
            for row, source in zip(tokens, sources)
        ]
        sums = np.array([[sum(each) for each in row] for row in numbers], np.float32)
        return {
            "text": _texts([[" ".join(said[:-1]) for said in row] for row in tokens], 2),
            "score": sums / 2,
            "log_prob": sums,
            "length": np.array([[len(said) for said in row] for row in tokens], np.int32),
            "finished": np.array([[place != 1 for place in places] for _ in texts]),
            "tokens": _texts(tokens, 3),
            "token_log_probs": _padded(numbers, 3, np.zeros([], np.float32)),
            "alignments": _padded(alignments, 4, np.zeros([], np.float32)),
            "source_tokens": _texts(sources, 2),
            "truncated": np.array([len(text.split()) >= LONGEST for text in texts]),
        }

    def _serving_default(self, inputs):
        said = [target_tokens(text, 0) for text in _decoded(inputs["text"])]
        return {
            "text": _texts([" ".join(tokens[:-1]) for tokens in said], 1),
            "score": np.array([-len(tokens) for tokens in said], np.float32),
        }

    def _score(self, inputs):
        tokens = [[*text.split(), "</s>"] for text in _decoded(inputs["target"])]
        numbers = [[-0.5 * len(source)] * len(each) for source, each in zip(inputs["source"], tokens)]
        return {
            "log_prob": np.array([sum(each) for each in numbers], np.float32),
            "length": np.array([len(each) for each in tokens], np.int32),
            "tokens": _texts(tokens, 2),
            "token_log_probs": _padded(numbers, 2, np.zeros([], np.float32)),
            "truncated": np.zeros([len(tokens)], bool),
        }

    def _slow(self, inputs):
        time.sleep(1.5)
        return {"text": inputs["text"]}

    def _fail(self, inputs):
        raise RuntimeError("a secret of the server")


@functools.cache
def url():
    """Where the model is served, in a thread of this process."""
    return serve(Model())


def serve(model, threads=4, queue=64):
    """Serves a model in a thread that ends with the process; gives the URL."""
    from tf_seq2seq.serving.rest_api import RestApi
    from tf_seq2seq.serving.server import Server, bound, page_of

    page = page_of(NAME, model.version, model.inputs)
    server = Server(RestApi(model, NAME, MAX_ROWS), threads, queue, MAX_BYTES, page)
    listening = bound("127.0.0.1", 0)
    threading.Thread(target=server.run, args=[listening], daemon=True).start()
    return f"http://127.0.0.1:{listening.getsockname()[1]}"


def ask(place, path, body=None, method=None, **more):
    """An answer to one request; `body` is bytes, or what JSON is made of."""
    if body is not None and not isinstance(body, bytes):
        body = json.dumps(body).encode()
    answer = urllib3.request(
        method or ("GET" if body is None else "POST"),
        place + path,
        body=body,
        timeout=60,
        retries=False,
        **more,
    )
    return Answer(answer.status, json.loads(answer.data), dict(answer.headers))


def _info(spec):
    dims = [{"size": "-1", "name": ""} for _ in spec.shape]
    return {
        "dtype": _TYPES[spec.dtype.char],
        "tensor_shape": {"dim": dims, "unknown_rank": False},
        "name": "x:0",
    }


def _looked(at, count):
    """A row of attention that looks at one place more than at the others."""
    return [0.5 * (place == at % count) + 0.5 / count for place in range(count)]


def _decoded(texts):
    return [text.decode("utf-8", "replace") for text in texts]


def _texts(values, rank):
    padded = _padded(values, rank, np.array("<pad>", object))
    flat = np.empty(padded.size, object)
    flat[:] = [text.encode() for text in padded.ravel()]
    return flat.reshape(padded.shape)


def _padded(values, rank, filling):
    """Nested lists as an array, shorter ones filled up."""
    if rank == 1:
        array = np.full([len(values)], filling[()], filling.dtype)
        array[:] = values
        return array
    inner = [_padded(one, rank - 1, filling) for one in values]
    shape = np.max([one.shape for one in inner], axis=0) if inner else [0] * (rank - 1)
    array = np.full([len(inner), *shape], filling[()], filling.dtype)
    for row, one in enumerate(inner):
        array[(row, *map(slice, one.shape))] = one
    return array
