"""A client of TF Serving's REST API. It needs no TensorFlow.

::

    from tf_seq2seq.serving.client import Client

    with Client("http://localhost:8501", "es_en") as client:
        client.generate(["¿Dónde está la estación?"], beam_size=4, n_best=2)[0].text
"""

import json
from urllib.parse import quote

import urllib3

from tf_seq2seq.errors import InputError
from tf_seq2seq.serving.errors import (
    BadRequest,
    Busy,
    NotFound,
    ServerError,
    Timeout,
    Unreachable,
)
from tf_seq2seq.serving.inputs import generated_in_batches, scored_in_batches
from tf_seq2seq.serving.results import Metadata, Signature, VersionStatus
from tf_seq2seq.serving.retrying import retrying
from tf_seq2seq.serving.tensors import received, sendable

_CONNECTIONS = 16  # kept open, for as many threads
_BUSY, _LATE = (429, 502, 503), (408, 504)
_SHOWN = 200  # characters of an answer that is no JSON


class Client:
    """Asks one model of TF Serving, or of ``tf-seq2seq serve``, over HTTP; may be used from several threads.

    Args:
        url: str, such as "http://localhost:8501".
        model: str, the model's name at the server.
        version: int; None for the highest that the server has.
        timeout: float, seconds that an answer may take.
        connect_timeout: float, seconds that a connection may take.
        retries: int, how often a request is sent again if the server is not reached or has too much to do.
        batch_size: int, the most texts in a request.

    Raises:
        InputError: if the URL is none, or a number is out of range.
    """

    def __init__(
        self, url, model, version=None, *, timeout=60.0, connect_timeout=5.0, retries=3, batch_size=32
    ):
        parsed = urllib3.util.parse_url(url)
        if parsed.scheme not in ("http", "https") or not parsed.host:
            raise InputError(f'url is such as "http://localhost:8501", not {url!r}')
        if batch_size < 1 or retries < 0:
            raise InputError(
                f"batch_size is at least 1 and retries at least 0, not {batch_size} and {retries}"
            )
        where = f"/versions/{version}" if version is not None else ""
        self.url = f"{url.rstrip('/')}/v1/models/{quote(model, safe='')}{where}"
        self.retries = retries
        self.batch_size = batch_size
        self._timeout = urllib3.Timeout(connect=connect_timeout, read=timeout)
        self._pool = urllib3.PoolManager(maxsize=_CONNECTIONS)

    def generate(self, texts, **options):
        """Generates targets.

        Args:
            texts: list of str, any number; bytes are sent as they are.
            **options: of the signature `generate`; `tf_seq2seq.export.options.OPTIONS` has them and what holds
                without them. Besides, each a list with one for each text: `prefix` (str), `banned` and `phrases` (lists of
                str), `seeds` (int).

        Returns:
            list of `Generated`, one for each text, in their order.

        Raises:
            InputError: for an option that there is not, or of a wrong type.
            ServingError: its kinds are in `tf_seq2seq.serving.errors`.
        """
        return generated_in_batches(self.predict, texts, options, self.batch_size)

    def score(self, sources, targets):
        """How likely the model thinks given targets.

        Args:
            sources: list of str.
            targets: list of as many str.

        Returns:
            list of `Scored`, in their order.

        Raises:
            InputError: if they are not as many.
            ServingError: as `generate`.
        """
        return scored_in_batches(self.predict, sources, targets, self.batch_size)

    def predict(self, signature, inputs):
        """Runs any signature, such as `encode` and `step`.

        Args:
            signature: str.
            inputs: dict of arrays; strings are bytes, of dtype object.

        Returns:
            dict of arrays: str of dtype object, bool, int64 or float32.

        Raises:
            ServingError: as `generate`.
        """
        columns = {name: sendable(array) for name, array in inputs.items()}
        body = json.dumps({"signature_name": signature, "inputs": columns}).encode()
        outputs = self._member(self._answer("POST", ":predict", body), "outputs")
        if not isinstance(outputs, dict):  # a signature's only output has no name
            outputs = {next(iter(self.metadata().signatures[signature].outputs)): outputs}
        return {name: received(value) for name, value in outputs.items()}

    def metadata(self):
        """What the server tells of the model: `Metadata`."""
        answer = self._answer("GET", "/metadata")
        spec = self._member(answer, "model_spec")
        signatures = self._member(answer, "metadata")["signature_def"]["signature_def"]
        return Metadata(
            spec["name"],
            int(spec["version"]),
            {name: _signature(one) for name, one in signatures.items() if one.get("inputs")},
        )

    def status(self):
        """How the model's versions are: list of `VersionStatus`."""
        versions = self._member(self._answer("GET", ""), "model_version_status")
        return [
            VersionStatus(int(one["version"]), one["state"], one.get("status", {}).get("error_message", ""))
            for one in versions
        ]

    def close(self):
        """Closes the connections; the client can still be used and opens new ones."""
        self._pool.clear()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()

    def _answer(self, method, path, body=None):
        return retrying(lambda: self._sent(method, self.url + path, body), self.retries)

    def _sent(self, method, url, body):
        headers = {"Content-Type": "application/json"} if body is not None else {}
        try:
            answer = self._pool.request(
                method, url, body=body, headers=headers, timeout=self._timeout, retries=False, redirect=False
            )
        except (urllib3.exceptions.ReadTimeoutError, TimeoutError) as error:
            raise Timeout(f"{url}: no answer within {self._timeout.read_timeout} seconds") from error
        except urllib3.exceptions.HTTPError as error:
            raise Unreachable(f"{url}: {_reason(error)}") from error
        return _parsed(url, answer.status, answer.data.decode("utf-8", "replace"))

    def _member(self, answer, name):
        if name not in answer:
            raise ServerError(f"{self.url}: the answer has no {name!r}; is this TF Serving's REST API?")
        return answer[name]


def _parsed(url, code, text):
    """The JSON object of an answer, or the error that it is."""
    try:
        answer = json.loads(text)
    except ValueError:
        answer = None
    if code == 200 and isinstance(answer, dict):
        return answer
    told = answer.get("error") if isinstance(answer, dict) else None
    raise _kind(code)(told or f"{url}: HTTP {code}: {text[:_SHOWN]!r}")


def _kind(code):
    if code in _BUSY:
        return Busy
    if code in _LATE:
        return Timeout
    if code == 404:
        return NotFound
    if 400 <= code < 500:
        return BadRequest
    return ServerError


def _reason(error):
    return getattr(error, "reason", None) or error


def _signature(told):
    return Signature(
        *({name: _tensor(info) for name, info in told[side].items()} for side in ("inputs", "outputs"))
    )


def _tensor(info):
    shape = info["tensor_shape"]
    dtype = info["dtype"].removeprefix("DT_").lower()
    sizes = [int(size["size"]) for size in shape.get("dim", [])]
    unknown = shape.get("unknown_rank", False)
    return {"float": "float32"}.get(dtype, dtype), None if unknown else [None if n < 0 else n for n in sizes]
