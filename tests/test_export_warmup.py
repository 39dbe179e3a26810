"""The warm-up file holds what TensorFlow Serving reads: checked by its messages and by a reader made of their numbers."""

import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from portable_models import PROCESSORS, SENTENCES
from tensorflow.core.framework import tensor_pb2

from tf_seq2seq.data.text import TextProcessor
from tf_seq2seq.export import warmup
from tf_seq2seq.export.options import NAMES, Limits

ALL = ["serving_default", "generate", "score"]
MESSAGES = {  # fields: name, number, message's name; None for bytes
    "PredictionLog": [("predict_log", 6, "PredictLog")],
    "PredictLog": [("request", 1, "PredictRequest")],
    "PredictRequest": [("model_spec", 1, "ModelSpec"), ("inputs", 2, "Entry")],
    "ModelSpec": [("name", 1, None), ("signature_name", 3, None)],
    "Entry": [("key", 1, None), ("value", 2, None)],
}
LONG = "ñ" * 9000  # a length of three groups of seven bits


def reader():
    """The class PredictionLog, made from the numbers above."""
    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="prediction_log.proto", package="t", syntax="proto3")
    for name, fields in MESSAGES.items():
        message = file.message_type.add(name=name)
        for key, number, kind in fields:
            label = field.LABEL_REPEATED if key == "inputs" else field.LABEL_OPTIONAL
            one = message.field.add(name=key, number=number, label=label, type=field.TYPE_BYTES)
            if kind:
                one.type, one.type_name = field.TYPE_MESSAGE, f".t.{kind}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("t.PredictionLog"))


def records(file):
    return [record.numpy() for record in tf.data.TFRecordDataset(str(file))]


@pytest.fixture
def written(tmp_path):
    """Requests, and the file of them."""
    texts = ["el gato", LONG, ""]
    requests = warmup.warmup_requests(texts, ALL) + warmup.example_requests(texts, ALL)
    file = tmp_path / "1" / warmup.FILE
    warmup.write(file, "es_en", requests)
    return requests, file


def same(tensor, value):
    """Whether a TensorProto holds that array, in the dtype that a signature has for it."""
    back, value = tf.make_ndarray(tensor), np.asarray(value)
    if value.dtype.kind in "OU":
        texts = [one if isinstance(one, bytes) else one.encode() for one in value.ravel().tolist()]
        return back.dtype == object and back.shape == value.shape and back.ravel().tolist() == texts
    return back.dtype == value.dtype and np.array_equal(back, value)


def test_the_file_is_read_back_by_field_numbers(written):
    requests, file = written
    PredictionLog, found = reader(), records(file)
    assert file.name == "tf_serving_warmup_requests" and file.parent.name == "assets.extra"
    for (name, inputs), record in zip(requests, found, strict=True):
        message = PredictionLog.FromString(record)
        assert message.SerializeToString() == record
        request = message.predict_log.request
        assert (request.model_spec.name, request.model_spec.signature_name) == (b"es_en", name.encode())
        tensors = {
            entry.key.decode(): tensor_pb2.TensorProto.FromString(entry.value) for entry in request.inputs
        }
        assert tensors.keys() == inputs.keys()
        assert all(same(tensors[key], value) for key, value in inputs.items())


def test_tensorflow_serving_reads_the_file(written):
    reason = "tensorflow-serving-api is not installed: pip install 'tf_seq2seq[serving]'"
    module = pytest.importorskip("tensorflow_serving.apis.prediction_log_pb2", reason=reason)
    requests, file = written
    for (name, inputs), record in zip(requests, records(file), strict=True):
        message = module.PredictionLog.FromString(record)
        assert message.WhichOneof("log_type") == "predict_log"
        request = message.predict_log.request
        assert (request.model_spec.name, request.model_spec.signature_name) == ("es_en", name)
        assert request.inputs.keys() == inputs.keys()
        assert all(same(request.inputs[key], value) for key, value in inputs.items())


def test_requests_have_all_options_within_the_limits():
    limits = Limits(beam_size=2, target_length=7)
    requests = warmup.warmup_requests(["a", "b"], ALL, limits) + warmup.example_requests(["a"], ALL, limits)
    generate = [inputs for name, inputs in requests if name == "generate"]
    assert len(generate) == 6
    for inputs in generate:
        assert inputs.keys() == {"text", *NAMES}
        assert inputs["beam_size"] <= 2 and inputs["n_best"] <= 2 and inputs["max_length"] <= 7
        assert {inputs[name].dtype for name in ("beam_size", "max_length", "samples")} == {np.dtype("int32")}
    assert [len(inputs["text"]) for name, inputs in requests if name == "serving_default"] == [1, 4, 16, 1]
    assert [name for name, _ in warmup.warmup_requests(["a"], ["serving_default"])] == ["serving_default"] * 3


@pytest.mark.parametrize("name", PROCESSORS)
def test_example_texts_are_of_the_vocabulary(name):
    text = TextProcessor.fit(SENTENCES[:190], **PROCESSORS[name])
    texts = warmup.example_texts(text)
    assert len(texts) == 4 and texts[-1] == "" and all(texts[:-1])
    assert 1 not in text.ids(texts).flat_values.numpy().tolist(), "an unknown token"
    assert all(one.isprintable() for one in texts)
    assert len(set(texts)) == 4
