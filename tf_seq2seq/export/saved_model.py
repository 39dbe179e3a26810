"""A generator becomes one SavedModel, strings in, strings out, in the layout of TF Serving.

::

    <path>/<integer>/    saved_model.pb, variables/, assets/    the highest integer is what TF Serving serves

    signature        inputs                 outputs, B texts, K = n_best, T target tokens, S source tokens
    serving_default  text (B,)              text string, score float32, length int32, truncated bool of the best, (B,) each
    generate         text, all options      text, score, log_prob, length, finished (B, K); tokens, token_log_probs
                                            (B, K, T); alignments (B, K, T, S); source_tokens (B, S); truncated (B,)
    generate_ids     source_ids (B, S),     ids (B, K, T) instead of texts and tokens
                     options with ids
    score            source, target (B,)    log_prob, length (B,); tokens, token_log_probs (B, T); truncated (B,)
    encode           text (B,)              source_tokens, start_ids (B,), state_0, ..., memory_0, ..., truncated
    step             ids (N,), state_0,     log_probs (N, V), state_0, ..., alignments (N, S)
                     ..., memory_0, ...

The options are those of `tf_seq2seq.export.options`; all of them are given in every request. Models without attention give
no alignments.

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

from tf_seq2seq.errors import InputError
from tf_seq2seq.export import card, description, golden, warmup
from tf_seq2seq.export.compact import compact
from tf_seq2seq.export.compression import compressed
from tf_seq2seq.export.options import DEFAULTS, Limits
from tf_seq2seq.export.signatures import Signatures
from tf_seq2seq.files import replacing

_OPTIONS = tf.saved_model.SaveOptions(experimental_custom_gradients=False)


def export_saved_model(
    generator,
    path,
    *,
    max_beam_size=8,
    max_source_length=None,
    max_target_length=256,
    weights=None,
    about=None,
):
    """Writes the next version of a SavedModel: ``<path>/1``, then ``<path>/2``, and so on.

    Only what the signatures read is written: no optimizer, no metrics. Beside it stand requests for TF Serving to warm up
    with, and a golden pair (`tf_seq2seq.export.golden`), which is checked here: what was written is loaded again.

    Args:
        generator: a `TextGenerator`; `serving_default` searches by its strategy.
        path: the folder of the versions; made if missing.
        max_beam_size: the largest `beam_size` and number of `samples` that `generate` takes.
        max_source_length: tokens, END counted, that are read of a text; what is longer is cut and `truncated`. None for
            the source processor's own maximum, else 256.
        max_target_length: the largest `max_length` that `generate` takes, tokens.
        weights: "float32", or "bfloat16" or "int8" to store them in a half or a quarter of that
            (`tf_seq2seq.export.compression`); None for what the generator's model has.
        about: str, Markdown that the model card begins with: data, licence, command, scores, limits.

    Returns:
        Path of the new version's folder.

    Raises:
        InputError: if a size is too small, or it cannot be written; older versions are kept and no half-written one is
            left.
    """
    path = Path(path)
    own = generator.source_text.max_length or 256
    limits = Limits(max_beam_size, max_target_length, own if max_source_length is None else max_source_length)
    _check(limits)
    version = path / str(_next_version(path))
    model, stored = exported_model(generator, weights)
    signatures = Signatures(generator, model, limits)
    module = tf.Module()
    module.parts, module.weights = signatures.parts, _variables(signatures.traced.values())
    module.stored = stored
    with replacing(version) as new, _quiet(), _disk_errors():
        tf.saved_model.save(module, str(new), signatures.traced, _OPTIONS)
        compact(new / "saved_model.pb")
        _try_out(generator, signatures.traced, limits, path.name, new)
        description.write(generator, new)
        card.write(generator, new, version, limits, weights or "float32", about)
    return version


def exported_model(generator, weights=None):
    """The model whose variables are written.

    Args:
        generator: `TextGenerator`.
        weights: as `export_saved_model` has it.

    Returns:
        the generator's model, or a copy with weights of that type; and a list of what else is to be tracked.
    """
    if weights in (None, "float32"):
        return (generator.model if weights is None else generator.model.with_weights(weights)), []
    return compressed(generator.model, weights)


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


def _try_out(generator, traced, limits, name, folder):
    """Writes the golden pair and the warm-up requests, loads what was written and compares its answers."""
    texts = warmup.example_texts(generator.source_text)
    warmup.write(folder / warmup.FILE, name, warmup.warmup_requests(texts, traced, limits))
    with _unoptimized(), _quiet():
        golden.record(traced, warmup.example_requests(texts, traced, limits), folder / golden.FILE)
        found = golden.check(folder)
    if found:
        raise InputError(
            f"the exported model, loaded again, answers otherwise than the generator ({found[0]}): it is not kept"
        )


@contextlib.contextmanager
def _unoptimized():
    """Without TensorFlow's rewriting of graphs: of one that is run a few times it takes three times what it saves."""
    name = "disable_meta_optimizer"
    before = tf.config.optimizer.get_experimental_options().get(name, False)
    tf.config.optimizer.set_experimental_options({name: True})
    try:
        yield
    finally:
        tf.config.optimizer.set_experimental_options({name: before})


def _check(limits):
    """Raises InputError for limits below the defaults of the options."""
    for name, least in (
        ("beam_size", DEFAULTS["beam_size"]),
        ("target_length", DEFAULTS["max_length"]),
        ("source_length", 2),
    ):
        came = getattr(limits, name)
        if not isinstance(came, int) or came < least:
            raise InputError(f"max_{name} is a whole number of at least {least}, not {came!r}")


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
    """Without TensorFlow's lines on how it saves and loads, such as that no gradients are saved; errors are told."""
    loggers = tf.get_logger(), logging.getLogger("absl")
    levels = [logger.level for logger in loggers]
    for logger, least in zip(loggers, (logging.WARNING, logging.ERROR)):
        logger.setLevel(max(logger.level, least))
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels):
            logger.setLevel(level)
