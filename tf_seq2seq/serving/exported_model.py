"""A SavedModel in memory: its signatures, called with arrays."""

import logging
from pathlib import Path

import numpy as np
import tensorflow as tf
import tensorflow_text  # noqa: F401  its operations are in the graphs of subword models
from google.protobuf import json_format
from tensorflow.core.protobuf import saved_model_pb2

from tf_seq2seq.errors import InputError
from tf_seq2seq.serving.tensors import Spec

_FILE = "saved_model.pb"
_REFUSALS = (tf.errors.InvalidArgumentError, tf.errors.OutOfRangeError, tf.errors.FailedPreconditionError)


class ExportedModel:
    """What a folder of versions, or one version, holds; the highest version is taken.

    It may be called from several threads.

    Args:
        folder: path of ``<name>`` or of ``<name>/<version>``.

    Raises:
        InputError: if there is no SavedModel or it cannot be read.
    """

    def __init__(self, folder):
        self.folder = path = _version_folder(Path(folder)).resolve()
        self.name = path.parent.name if path.name.isdecimal() else path.name
        self.version = int(path.name) if path.name.isdecimal() else 1
        self._signature_defs = _signature_defs(path)
        self._functions = _load(path).signatures
        self.inputs = {
            name: {key: _spec(info) for key, info in self._signature_defs[name].inputs.items()}
            for name in self._functions
        }

    def __call__(self, signature, inputs):
        """Runs a signature.

        Args:
            signature: its name.
            inputs: dict of arrays, as ``self.inputs[signature]`` has them.

        Returns:
            dict of arrays; strings are bytes, of dtype object.

        Raises:
            InputError: with the graph's own message, if the graph refuses a value.
        """
        specs = self.inputs[signature]
        tensors = {
            name: tf.constant(array, specs[name].dtype if array.dtype != object else tf.string)
            for name, array in inputs.items()
        }
        try:
            outputs = self._functions[signature](**tensors)
        except _REFUSALS as error:
            raise InputError(_own_message(error.message)) from None
        except tf.errors.ResourceExhaustedError:
            raise MemoryError from None
        return {name: np.asarray(output.numpy()) for name, output in outputs.items()}

    def signatures(self):
        """The signatures in the words of TF Serving's metadata: a dict, as JSON has it."""
        return {
            name: json_format.MessageToDict(
                one, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
            )
            for name, one in self._signature_defs.items()
        }


def _version_folder(folder):
    if (folder / _FILE).is_file():
        return folder
    versions = [one for one in folder.glob("*") if one.name.isdecimal() and (one / _FILE).is_file()]
    if not versions:
        raise InputError(
            f"{folder} holds no SavedModel: give a folder that tf-seq2seq export wrote, with <version>/{_FILE} in it"
        )
    return max(versions, key=lambda one: int(one.name))


def _signature_defs(path):
    message = saved_model_pb2.SavedModel()
    try:
        message.ParseFromString((path / _FILE).read_bytes())
        return dict(message.meta_graphs[0].signature_def)
    except Exception as error:
        raise InputError(f"{path / _FILE} is damaged or no SavedModel: export the model again") from error


def _load(path):
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.ERROR)  # it warns that gradients are missing: nobody trains this
    try:
        return tf.saved_model.load(str(path))
    except (tf.errors.OpError, OSError, ValueError, KeyError) as error:
        reason = str(error).strip().split("\n")[0]
        raise InputError(f"{path} cannot be loaded: {reason}") from error
    finally:
        logger.setLevel(level)


def _spec(info):
    shape = info.tensor_shape
    sizes = None if shape.unknown_rank else tuple(None if one.size < 0 else one.size for one in shape.dim)
    return Spec(np.dtype(tf.as_dtype(info.dtype).as_numpy_dtype), sizes)


def _own_message(message):
    """What the graph's author wrote, without where in the graph it was.

    >>> _own_message("Graph execution error:\\n\\nDetected at node A/Assert defined at (most recent call last):\\n"
    ...     "<stack traces unavailable>\\nassertion failed: [beam_size is 1 to 8, not 0]\\n\\t [[{{node A}}]] [Op:f]")
    'beam_size is 1 to 8, not 0'
    """
    message = message.partition("\n\t [[")[0].partition(" [Op:")[0]
    _, failed, told = message.rpartition("assertion failed: ")
    if failed:
        return " ".join(told.replace("[", "").replace("]", "").split())
    return message.strip().rpartition("\n")[2]
