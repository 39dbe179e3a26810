"""A golden pair: requests and the answers that they had when the model was exported, kept beside the model.

::

    <version>/assets.extra/golden.json    [{"request": {...}, "response": {...}}, ...]

Both are written as TensorFlow Serving's REST API has them, by columns, so that a request can be sent as it is::

    {"signature_name": "serving_default", "inputs": {"text": ["..."]}}
    {"outputs": {"text": ["..."], "score": [-0.5], ...}}

An export checks them after reloading what it wrote. So can whoever gets a copy: this file needs NumPy, TensorFlow and
TF-Text alone, of the version at hand or of stock TensorFlow Serving, and runs by itself::

    python golden.py saved_models/es_en/1

A *request* is a pair: a signature's name and its inputs, arrays by name.
"""

import json
import sys
from pathlib import Path

import numpy as np

FILE = Path("assets.extra") / "golden.json"
_TOLERANCE = 1e-3  # of scores in nats, absolute and relative: machines and versions round differently


def answer(signatures, request):
    """What a signature says to a request.

    Args:
        signatures: concrete functions by name, as ``tf.saved_model.load(folder).signatures`` has them.
        request: (signature's name, inputs by name).

    Returns:
        NumPy arrays by output.
    """
    import tensorflow as tf

    name, inputs = request
    dtypes = {spec.name: spec.dtype for spec in tf.nest.flatten(signatures[name].structured_input_signature)}
    inputs = {key: tf.constant(value, dtypes[key]) for key, value in inputs.items()}
    return {key: value.numpy() for key, value in signatures[name](**inputs).items()}


def record(signatures, requests, file):
    """Writes requests and what the signatures say to them.

    Args:
        signatures: as for `answer`.
        requests: list of requests.
        file: path of the JSON file; its folder is made if missing.
    """
    pairs = []
    for name, inputs in requests:
        outputs = answer(signatures, (name, inputs))
        request = {"signature_name": name, "inputs": _columns(inputs)}
        pairs.append({"request": request, "response": {"outputs": _columns(outputs)}})
    Path(file).parent.mkdir(parents=True, exist_ok=True)
    lines = ",\n".join(json.dumps(pair, ensure_ascii=False) for pair in pairs)
    Path(file).write_text(f"[\n{lines}\n]\n", encoding="utf-8")


def check(folder, model=None, file=None):
    """Asks an exported model what it was asked when it was made, and compares.

    Strings, integers and booleans are to be equal, floats within a thousandth.

    Args:
        folder: path of an exported version, e.g. ``saved_models/es_en/1``.
        model: the loaded one; None to load it from the folder.
        file: of the pairs; None for the folder's own.

    Returns:
        A line for each difference, list of str; an empty one if it answers as it did.
    """
    pairs = json.loads(Path(file or Path(folder) / FILE).read_text(encoding="utf-8"))
    model = model or _load(folder)
    found = []
    for number, pair in enumerate(pairs, start=1):
        name, before = pair["request"]["signature_name"], pair["response"]["outputs"]
        now = _columns(answer(model.signatures, (name, pair["request"]["inputs"])))
        keys = [*before, *(key for key in now if key not in before)]
        lines = [_difference(before.get(key), now.get(key)) for key in keys]
        found += [f"request {number}, {name}, {key}: {line}" for key, line in zip(keys, lines) if line]
    return found


def _load(folder):
    import tensorflow as tf
    import tensorflow_text  # noqa: F401 it registers the operations of subwords

    return tf.saved_model.load(str(folder))


def _columns(tensors):
    """Arrays by name as JSON has them: lists of str, int, bool and float."""
    return {key: _plain(np.asarray(value)) for key, value in tensors.items()}


def _plain(value):
    if value.dtype.kind == "f":  # the shortest decimals that give the same float32 again
        return value.astype(str).astype(float).tolist()
    if value.dtype.kind in "OSU" and value.size:
        return np.vectorize(_text, otypes=[object])(value).tolist()
    return value.tolist()


def _text(value):
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)


def _difference(before, now):
    """What is to be said of two values of an output; "" if they are the same."""
    if before is None or now is None:
        return "there is no such output any more" if now is None else "the output is new"
    before, now = np.array(before), np.array(now)
    if before.shape != now.shape:
        return f"shape {now.shape} instead of {before.shape}"
    if before.dtype.kind == "f" and now.dtype.kind == "f":
        other = ~np.isclose(now, before, rtol=_TOLERANCE, atol=_TOLERANCE)
    else:
        other = now != before
    if not other.any():
        return ""
    place = tuple(np.argwhere(other)[0].tolist())
    pair = f"{now[place].item()!r} instead of {before[place].item()!r}"
    return f"{pair} at {list(place)}, {other.sum()} of {other.size} differ"


def main(arguments):
    """Prints what is different and returns the exit code: 0 if nothing is."""
    folder = arguments[0]
    found = check(folder, file=arguments[1] if len(arguments) > 1 else None)
    print("\n".join(found) or f"{folder} answers as it did when it was exported")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
