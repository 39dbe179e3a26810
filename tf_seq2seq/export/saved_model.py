"""A generator becomes one SavedModel, strings in, strings out, in the layout of TF Serving.

::

    <path>/<integer>/    saved_model.pb, variables/, assets/    the highest integer is what TF Serving serves

    signature        input          outputs
    serving_default  text (B,)      text string, score float32, length int32 of the best hypothesis, each (B,)
    greedy           text (B,)      the same three, each (B, K), best first; K = 1
    beam             text (B,)      the same three, each (B, K), best first

Text processors, vocabularies and weights are inside: a copy of the folder is all that another machine needs,
besides TensorFlow and TF-Text::

    import tensorflow as tf, tensorflow_text
    translate = tf.saved_model.load("<path>/1").signatures["serving_default"]
    translate(text=tf.constant(["¿Dónde está?"]))["text"]

Shapes: **B** texts, **K** hypotheses a text.
"""

import contextlib
import logging
from pathlib import Path

import tensorflow as tf

from tf_seq2seq.decoding.beam_search import BeamSearch
from tf_seq2seq.decoding.greedy import Greedy
from tf_seq2seq.errors import InputError
from tf_seq2seq.files import replacing

_TEXT = tf.TensorSpec([None], tf.string, name="text")


def export_saved_model(generator, path):
    """Writes the next version of a SavedModel: ``<path>/1``, then ``<path>/2``, and so on.

    `serving_default` searches as the generator does. The signatures `greedy` and `beam` are always there: the
    one that the generator's strategy is not gets the same maximum length, and `beam` the defaults of
    `BeamSearch`.
    Only what generation reads is written: no optimizer, no metrics; weights in float32.

    Args:
        generator: a `TextGenerator`.
        path: the folder of the versions; made if missing.

    Returns:
        Path of the new version's folder.

    Raises:
        InputError: if it cannot be written; older versions are kept and no half-written one is left.
    """
    path = Path(path)
    module, signatures = _exported(generator)
    version = path / str(_next_version(path))
    with replacing(version) as new, _quiet(), _disk_errors():
        tf.saved_model.save(module, str(new), signatures=signatures)
    return version


def size_in_bytes(folder):
    """Bytes of all files in a folder, such as an exported version.

    >>> import tempfile
    >>> size_in_bytes(tempfile.mkdtemp())
    0

    Args:
        folder: path.

    Returns:
        int.
    """
    return sum(file.stat().st_size for file in Path(folder).rglob("*") if file.is_file())


def _exported(generator):
    """A module that tracks what the signatures need and nothing else, and the signatures.

    The model itself stays outside: Keras would have its optimizer and training functions saved with it.
    """
    greedy, beam = _with_strategy(generator, Greedy), _with_strategy(generator, BeamSearch)
    module = tf.Module()
    module.source_text, module.target_text = generator.source_text, generator.target_text
    module.unknowns = generator.unknowns
    signatures = {"serving_default": _best(generator), "greedy": _all(greedy), "beam": _all(beam)}
    module.weights = _variables(signatures.values())
    return module, signatures


def _with_strategy(generator, strategy):
    """The generator itself if it has that kind of strategy, else another one of the same parts."""
    if isinstance(generator.strategy, strategy):
        return generator
    length = getattr(generator.strategy, "max_length", None)
    strategy = strategy() if length is None else strategy(max_length=length)
    return generator.with_strategy(strategy)


def _all(generator):
    """A traced signature: every hypothesis, (B, K) each."""

    @tf.function(input_signature=[_TEXT])
    def generate(text):
        return _outputs(generator.generate(text))

    return generate.get_concrete_function()


def _best(generator):
    """A traced signature: the best hypothesis, (B,) each."""

    @tf.function(input_signature=[_TEXT])
    def generate(text):
        outputs = _outputs(generator.generate(text))
        return {name: output[:, 0] for name, output in outputs.items()}  # (B, K) -> (B,)

    return generate.get_concrete_function()


def _outputs(found):
    return {"text": found.text, "score": found.scores, "length": found.hypotheses.lengths}


def _variables(functions):
    """The variables that traced functions read, each once."""
    return [*{variable.ref(): variable for function in functions for variable in function.variables}.values()]


def _next_version(path):
    if path.exists() and not path.is_dir():
        raise InputError(f"{path} is a file, but versions are written to a folder: give another path")
    versions = [int(child.name) for child in path.glob("*") if child.name.isdecimal()]
    return max(versions, default=0) + 1


@contextlib.contextmanager
def _disk_errors():
    """TensorFlow's errors of the disk as Python's."""
    try:
        yield
    except tf.errors.OpError as error:
        message = error.message.split("\n")[0].partition(" [Op:")[0]
        raise OSError(message.rpartition("; ")[2]) from error  # what is before it names a file that is gone


@contextlib.contextmanager
def _quiet():
    """Without TensorFlow's lines on how it saves; warnings and errors are told."""
    logger = tf.get_logger()
    level = logger.level
    logger.setLevel(max(level, logging.WARNING))
    try:
        yield
    finally:
        logger.setLevel(level)
