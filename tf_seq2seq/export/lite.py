"""Greedy decoding as one LiteRT (TensorFlow Lite) file: ids in, ids out, for phones and small boards.

::

    <folder>/model.tflite    source_ids (1, S) int32 -> ids (1, T) int32, both padded with PAD = 0
    <folder>/source/         the source's text processor: processor.json, sentencepiece.model or vocabulary.txt
    <folder>/target/         the target's

Shapes are fixed: **S** source tokens, END counted, and **T** target tokens. The file has built-in operations only, so any
LiteRT runtime runs it. Text stays outside. A client in any language does what `LiteGenerator` does here:

1. Normalise and split the text as processor.json says: NFKC (unless the split is subwords, whose model does it), lower case
   if `lowercase`; then sentencepiece.model, or the line number in vocabulary.txt (1 if it is not there), or byte + 4.
2. Cut to S - 1 ids, put END = 3 after them and PAD = 0 up to S; run the file.
3. Read the ids up to END = 3, and put the pieces together again.

With LiteRT's own package, which needs no TensorFlow::

    from ai_edge_litert.interpreter import Interpreter
    greedy = Interpreter("model.tflite").get_signature_runner()
    greedy(source_ids=numpy.array([[7, 12, 3] + [0] * (S - 3)], "int32"))["ids"]

Whatever the generator's strategy is, the file searches greedily: the likeliest token, PAD and START left out, until END.
Its constraints and the replacement of unknown words are not in it.
"""

import importlib.util
import logging
import tempfile
import warnings
from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from tf_seq2seq.data.text import TextProcessor
from tf_seq2seq.data.vocabulary import END, PAD, START
from tf_seq2seq.errors import InputError
from tf_seq2seq.files import replacing
from tf_seq2seq.models.seq2seq import Seq2Seq

QUANTIZATIONS = ("float32", "float16", "int8")
_MODEL, _SOURCE, _TARGET = "model.tflite", "source", "target"
_LISTS = {"TensorListReserve", "TensorListStack", "TensorListGetItem", "TensorListFromTensor"}


def export_lite(generator, path, max_source_length=64, max_length=64, quantization="float32"):
    """Writes a folder of a LiteRT file and the text processors that its clients need.

    Args:
        generator: a `TextGenerator` of one `Seq2Seq`.
        path: the folder; an older one is replaced.
        max_source_length: S, tokens, END counted.
        max_length: T, tokens, END counted.
        quantization: "float32"; "float16", half as large; or "int8", a quarter: weights of 8 bits with a scale, activations
            in float32 (dynamic range).

    Returns:
        Path of the ``.tflite`` file.

    Raises:
        InputError: for an ensemble, a shortlist, or a model with operations that LiteRT does not have.
    """
    _check(generator, max_source_length, max_length, quantization)
    content = _converted(generator.model, max_source_length, max_length, quantization)
    path = Path(path)
    with replacing(path, holds=(_MODEL, _SOURCE, _TARGET)) as new:
        new.mkdir()
        (new / _MODEL).write_bytes(content)
        generator.source_text.save(new / _SOURCE)
        generator.target_text.save(new / _TARGET)
    return path / _MODEL


class LiteGenerator:
    """Runs what `export_lite` wrote by the LiteRT interpreter, of the package ai-edge-litert or, without it, TensorFlow's.

    Args:
        folder: the folder.

    Raises:
        InputError: if it is none, or damaged.
    """

    def __init__(self, folder):
        folder = Path(folder)
        if not (folder / _MODEL).exists():
            raise InputError(f"{folder} has no {_MODEL}: give a folder that export_lite wrote")
        self.source_text = TextProcessor.load(folder / _SOURCE)
        self.target_text = TextProcessor.load(folder / _TARGET)
        try:
            self._interpreter = _interpreter((folder / _MODEL).read_bytes())
            self._run = self._interpreter.get_signature_runner()
        except (ValueError, RuntimeError) as error:
            raise InputError(f"cannot load {folder / _MODEL}: {error}; export it again") from error
        self.max_source_length = int(self._run.get_input_details()["source_ids"]["shape"][1])

    def __call__(self, texts):
        """Generates for a list of str -> list of str; "" for a blank text."""
        ids = self.generate_ids(self.source_text.dense(texts).numpy())
        found = self.target_text.text(ids).numpy().tolist()
        return [new.decode() if text.strip() else "" for text, new in zip(texts, found)]

    def generate_ids(self, source_ids):
        """Generates for (B, S') int ids, each row on its own -> (B, T) int32; a longer source is cut, an END kept."""
        return np.concatenate([self._run(source_ids=self._row(row))["ids"] for row in np.asarray(source_ids)])

    def _row(self, ids):
        ids, most = ids[ids != PAD], self.max_source_length
        if len(ids) > most:
            ids = np.concatenate([ids[: most - 1], ids[-1:]])
        return np.pad(ids, [0, most - len(ids)]).astype(np.int32)[None]


def _check(generator, max_source_length, max_length, quantization):
    if quantization not in QUANTIZATIONS:
        raise InputError(f"quantization is one of {', '.join(QUANTIZATIONS)}, not {quantization!r}")
    for name, value, least in (("max_source_length", max_source_length, 2), ("max_length", max_length, 1)):
        if not isinstance(value, int) or value < least:
            raise InputError(
                f"{name} is a whole number of tokens, END counted, at least {least}, not {value!r}"
            )
    if type(generator.model) is not Seq2Seq:
        kind = type(generator.model).__name__
        raise InputError(f"LiteRT takes one Seq2Seq, but the generator has {kind}: export one of its models")
    if generator.shortlist is not None:
        raise InputError(
            "a shortlist's size changes with the source, which LiteRT has not: export without it"
        )


def _converted(model, max_source_length, max_length, quantization):
    """The bytes of the file."""
    function = _greedy(model, max_source_length, max_length)
    module = tf.Module()
    module.weights = function.variables
    logger, level = tf.get_logger(), tf.get_logger().level
    logger.setLevel(logging.ERROR)
    try:
        with tempfile.TemporaryDirectory() as folder:
            tf.saved_model.save(module, folder, signatures=function)
            _tell_shapes_of_lists(Path(folder) / "saved_model.pb")
            return _converter(folder, quantization).convert()
    except Exception as error:  # of several classes, of which none is public
        reason = str(error).strip().splitlines()[0][:200]
        raise InputError(f"LiteRT cannot run this model ({reason}): export it as a SavedModel") from error
    finally:
        logger.setLevel(level)


def _converter(folder, quantization):
    converter = tf.lite.TFLiteConverter.from_saved_model(folder)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    if quantization != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if quantization == "float16":
        converter.target_spec.supported_types = [tf.float16]
    return converter


def _greedy(model, max_source_length, max_length):
    """The traced search of one source, all shapes known."""

    @tf.function(
        input_signature=[tf.TensorSpec([1, max_source_length], tf.int32, name="source_ids")], autograph=False
    )
    def greedy(source_ids):
        state, memory = model.start({"source_ids": source_ids})
        state = tf.nest.map_structure(lambda leaf: tf.ensure_shape(leaf, [1, *leaf.shape[1:]]), state)
        places = tf.range(max_length)[None]

        def step(time, last, done, ids, state):
            output = model.step(last, state, memory)
            new = tf.where(done, PAD, _likeliest(output.logits))
            ids = tf.where(places == time, new[:, None], ids)
            moved = tf.nest.map_structure(
                lambda leaf, old: tf.ensure_shape(leaf, old.shape), output.state, state
            )
            return time + 1, new, done | (new == END), ids, moved

        going = lambda time, last, done, *_: (time < max_length) & ~tf.reduce_all(done)
        start = (
            tf.constant(0),
            tf.constant([START]),
            tf.constant([False]),
            tf.zeros([1, max_length], tf.int32),
        )
        return {"ids": tf.while_loop(going, step, (*start, state))[3]}

    return greedy.get_concrete_function()


def _likeliest(logits):
    """(1, V) -> (1,) int32, never PAD or START."""
    never = np.zeros([1, logits.shape[-1]], np.float32)
    never[:, [PAD, START]] = -np.inf
    return tf.argmax(logits + never, axis=1, output_type=tf.int32)


def _tell_shapes_of_lists(path):
    """Sets the number of rows, which is 1, in the lists of tensors of recurrent layers: LiteRT wants whole shapes.

    The layers leave it open, as they serve any batch; every list here has elements (rows, size).
    """
    saved = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    for function in saved.meta_graphs[0].graph_def.library.function:
        shapes = {
            name.partition(":")[0]
            for node in function.node_def
            if node.op in _LISTS
            for name in node.input
            if not name.startswith("^")
        }
        for node in function.node_def:
            if (
                node.op == "Const"
                and node.name in shapes
                and node.attr["dtype"].type == tf.int32.as_datatype_enum
            ):
                shape = tf.make_ndarray(node.attr["value"].tensor)
                if shape.ndim == 1 and len(shape) and shape[0] == -1:
                    shape = np.concatenate([[1], shape[1:]]).astype(np.int32)
                    node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(shape))
    path.write_bytes(saved.SerializeToString())


def _interpreter(content):
    if importlib.util.find_spec("ai_edge_litert"):
        from ai_edge_litert.interpreter import Interpreter
    else:
        Interpreter = tf.lite.Interpreter
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*tf.lite.Interpreter is deprecated")
        return Interpreter(model_content=content)
