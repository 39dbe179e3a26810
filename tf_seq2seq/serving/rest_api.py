"""TF Serving's REST API for one model, from a request's body to an answer's, without any HTTP.

::

    GET  /v1/models/<name>[/versions/<v>]             status
    GET  /v1/models/<name>[/versions/<v>]/metadata    signatures
    POST /v1/models/<name>[/versions/<v>]:predict     {"signature_name": ..., "inputs" or "instances": ...}

``inputs`` are columns, one array for each input, and are answered by ``outputs``; ``instances`` are rows and are
answered by ``predictions``. A signature's only output stands there without its name. An error is ``{"error": ...}``.

Source: TensorFlow Serving, "RESTful API".
"""

import json
import re

from tf_seq2seq.errors import InputError
from tf_seq2seq.serving.tensors import from_json, is_base64, to_json

_MODEL = r"/v1/models/(?P<name>[^/:]+)(?:/versions/(?P<version>\d+))?"
_ROUTES = {
    "status": ("GET", re.compile(_MODEL)),
    "metadata": ("GET", re.compile(_MODEL + "/metadata")),
    "predict": ("POST", re.compile(_MODEL + ":predict")),
}
_DEFAULT = "serving_default"
MOST_VALUES = (
    4_000_000  # in an answer; alignments of 32 texts, 8 hypotheses, 100 tokens on each side are 2.6 million
)


class Refused(Exception):
    """A request that is not answered, with its HTTP status code.

    Args:
        code: int.
        message: str, for the client.
    """

    def __init__(self, code, message):
        super().__init__(message)
        self.code = code


class RestApi:
    """Answers requests for one model; may be called from several threads.

    Args:
        model: `ExportedModel`, or anything with its attributes.
        name: str, what the model is called in paths.
        max_rows: int, the most rows (texts) of a request.
    """

    def __init__(self, model, name, max_rows):
        self.model = model
        self.name = name
        self.max_rows = max_rows

    def route(self, method, path):
        """What is asked for.

        Args:
            method: "GET", "POST" or another.
            path: str, of the URL.

        Returns:
            "status", "metadata" or "predict".

        Raises:
            Refused: 400 if there is no such thing, 404 if it is another model or version.
        """
        for what, (verb, pattern) in _ROUTES.items():
            found = pattern.fullmatch(path) if method == verb else None
            if found:
                self._check_model(found["name"], found["version"])
                return what
        raise Refused(400, f"Malformed request: {method} {path}")

    def _check_model(self, name, version):
        if name != self.name:
            raise Refused(404, f"Servable not found for request: {name}; this server has {self.name}")
        if version is not None and int(version) != self.model.version:
            raise Refused(
                404,
                f"Servable not found for request: {name} version {version}; this server has version {self.model.version}",
            )

    def status(self):
        """The model is there: a dict, as JSON has it."""
        fine = {"error_code": "OK", "error_message": ""}
        return {
            "model_version_status": [
                {"version": str(self.model.version), "state": "AVAILABLE", "status": fine}
            ]
        }

    def metadata(self):
        """The model's signatures: a dict, as JSON has it."""
        spec = {"name": self.name, "signature_name": "", "version": str(self.model.version)}
        return {
            "model_spec": spec,
            "metadata": {"signature_def": {"signature_def": self.model.signatures()}},
        }

    def predict(self, body):
        """Runs a signature.

        Args:
            body: bytes, of the request.

        Returns:
            dict, as JSON has it.

        Raises:
            InputError: if the request is malformed or the graph refuses it.
            Refused: 413 if it has too many rows, or its answer too many values.
        """
        request = _parsed(body)
        signature = request.get("signature_name") or _DEFAULT
        specs = self._specs(signature)
        if ("instances" in request) == ("inputs" in request):
            raise InputError("give one of 'inputs' (columns) and 'instances' (rows)")
        in_rows = "instances" in request
        columns = (
            _columns_of_rows(request["instances"], specs) if in_rows else _columns(request["inputs"], specs)
        )
        arrays = {name: from_json(value, specs[name], name) for name, value in columns.items()}
        self._check_rows(arrays)
        outputs = self.model(signature, arrays)
        _check_size(outputs)
        return {"predictions": _rows(outputs)} if in_rows else {"outputs": _unnamed(_as_json(outputs))}

    def _specs(self, signature):
        if not isinstance(signature, str):
            raise InputError("'signature_name' is a string")
        if not self.model.inputs.get(signature):  # one without inputs is not for clients
            names = ", ".join(name for name, specs in self.model.inputs.items() if specs)
            raise InputError(f'Serving signature name: "{signature}" not found; there are {names}')
        return self.model.inputs[signature]

    def _check_rows(self, arrays):
        rows = max((len(array) for array in arrays.values() if array.ndim), default=0)
        if rows > self.max_rows:
            raise Refused(
                413, f"at most {self.max_rows} rows in a request, not {rows}: send them in several requests"
            )


def _check_size(outputs):
    values = sum(output.size for output in outputs.values())
    if values > MOST_VALUES:
        raise Refused(
            413,
            f"at most {MOST_VALUES:,} values in an answer, not {values:,}: ask for fewer or shorter texts at once",
        )


def _parsed(body):
    try:
        request = json.loads(body.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise InputError(f"JSON Parse error: not UTF-8 at byte {error.start}") from None
    except RecursionError:
        raise InputError("JSON Parse error: lists are nested too deeply") from None
    except ValueError as error:
        raise InputError(f"JSON Parse error: {str(error).split(';')[0]}") from None
    if not isinstance(request, dict):
        raise InputError("the request is a JSON object with 'inputs' or 'instances'")
    return request


def _columns(inputs, specs):
    """Each input's JSON value; others than the signature has are passed over, as TF Serving does."""
    if not isinstance(inputs, dict) or is_base64(inputs):
        if len(specs) > 1:
            raise InputError(f"'inputs' is an object here, with {', '.join(sorted(specs))}")
        return dict.fromkeys(specs, inputs)
    missing = sorted(set(specs) - set(inputs))
    if missing:
        raise InputError(f"Missing named input: {', '.join(missing)} in 'inputs' object")
    return {name: inputs[name] for name in specs}


def _columns_of_rows(instances, specs):
    """Each input's JSON value: the list of what each row has."""
    if not isinstance(instances, list) or not instances:
        raise InputError("'instances' is a list of at least one row")
    named = [isinstance(row, dict) and not is_base64(row) for row in instances]
    if not any(named) and len(specs) == 1:
        return dict.fromkeys(specs, instances)
    for number, row in enumerate(instances):
        if not named[number] or set(row) != set(specs):
            raise InputError(f"row {number} of 'instances' is an object with {', '.join(sorted(specs))}")
    return {name: [row[name] for row in instances] for name in specs}


def _as_json(outputs):
    return {name: to_json(output, name.endswith("_bytes")) for name, output in outputs.items()}


def _unnamed(outputs):
    return outputs if len(outputs) > 1 else next(iter(outputs.values()))


def _rows(outputs):
    sizes = {output.shape[:1] for output in outputs.values()}
    if len(sizes) > 1 or () in sizes:
        raise InputError("the outputs of this signature are not one for each row: ask with 'inputs'")
    columns = _as_json(outputs)
    return [_unnamed(dict(zip(columns, values))) for values in zip(*columns.values())]
