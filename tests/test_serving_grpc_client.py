"""The gRPC client against a server of a few lines that runs the export: the same as over REST."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import served

from tf_seq2seq.errors import InputError
from tf_seq2seq.serving import errors, grpc_client, retrying
from tf_seq2seq.serving.client import Client
from tf_seq2seq.serving.grpc_client import GrpcClient

NEEDED = "tensorflow-serving-api is not installed: pip install 'tf_seq2seq[serving]'"
TEXTS = ["el gato duerme", "", "ñandú 🙂", "\x00 gato", "el " * 60]


@pytest.fixture(scope="module")
def address():
    """A gRPC server of the exported model, whose answers to the model "busy" come at the third request only."""
    pytest.importorskip("tensorflow_serving.apis.predict_pb2", reason=NEEDED)
    import grpc
    import tensorflow as tf
    from google.protobuf import json_format
    from tensorflow_serving.apis import get_model_metadata_pb2 as metadata_pb2
    from tensorflow_serving.apis import (
        get_model_status_pb2,
        model_service_pb2_grpc,
        predict_pb2,
        prediction_service_pb2_grpc,
    )

    codes, model, asked = grpc.StatusCode, served.Model(), []

    def check(request, context):
        spec = request.model_spec
        if spec.name == "busy":
            asked.append(request)
            if len(asked) < 3:
                context.abort(codes.UNAVAILABLE, "come back")
        elif spec.name != served.NAME or spec.version.value not in (0, 1):
            context.abort(codes.NOT_FOUND, f"Servable not found for request: {spec.name}")

    class Predictions(prediction_service_pb2_grpc.PredictionServiceServicer):
        def Predict(self, request, context):
            check(request, context)
            arrays = {name: tf.make_ndarray(tensor) for name, tensor in request.inputs.items()}
            try:
                outputs = model(request.model_spec.signature_name, arrays)
            except InputError as error:
                context.abort(codes.INVALID_ARGUMENT, str(error))
            except RuntimeError:
                context.abort(codes.INTERNAL, "broken")
            answer = predict_pb2.PredictResponse()
            for name, array in outputs.items():
                answer.outputs[name].CopyFrom(tf.make_tensor_proto(array))
            return answer

        def GetModelMetadata(self, request, context):
            check(request, context)
            signatures = metadata_pb2.SignatureDefMap()
            json_format.ParseDict({"signature_def": model.signatures()}, signatures)
            answer = metadata_pb2.GetModelMetadataResponse()
            answer.model_spec.name = served.NAME
            answer.model_spec.version.value = model.version
            answer.metadata["signature_def"].Pack(signatures)
            return answer

    class Models(model_service_pb2_grpc.ModelServiceServicer):
        def GetModelStatus(self, request, context):
            check(request, context)
            answer = get_model_status_pb2.GetModelStatusResponse()
            answer.model_version_status.add(version=1, state="AVAILABLE")
            return answer

    server = grpc.server(ThreadPoolExecutor(4))
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(Predictions(), server)
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(Models(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(None).wait()


@pytest.fixture
def client(address):
    with GrpcClient(address, served.NAME, batch_size=3) as client:
        yield client


def test_it_says_what_the_rest_client_says(client):
    rest = Client(served.url(), served.NAME)
    options = {"n_best": 2, "prefix": ["", "the", "a", "", ""], "banned": [["x", "y"], [], [], ["z"], []]}
    for one, other in zip(client.generate(TEXTS, **options), rest.generate(TEXTS, **options), strict=True):
        assert (one.text, one.tokens, one.finished) == (other.text, other.tokens, other.finished)
        assert (one.source_tokens, one.truncated) == (other.source_tokens, other.truncated)
        np.testing.assert_array_equal(np.float32(one.scores), np.float32(other.scores))
        for mine, its in zip(one.alignments, other.alignments, strict=True):
            np.testing.assert_array_equal(mine, its)
    assert client.score(TEXTS, TEXTS[::-1]) == rest.score(TEXTS, TEXTS[::-1])
    assert client.metadata() == rest.metadata()
    assert client.status() == rest.status()


def test_errors_have_kinds(client, address):
    with pytest.raises(errors.BadRequest, match=r"^beam_size is at least 1, at most 8; 1000 came$"):
        client.generate(["a"], beam_size=1000)
    with pytest.raises(errors.ServerError, match="broken"):
        client.predict("fail", {"text": np.array([b"a"], object)})
    for wrong in (GrpcClient(address, "other"), GrpcClient(address, served.NAME, version=7)):
        with pytest.raises(errors.NotFound):
            wrong.status()
    with pytest.raises(errors.Timeout, match=r"within 0.2 seconds"):
        GrpcClient(address, served.NAME, timeout=0.2).predict("slow", {"text": np.array([b"a"], object)})


def test_retries(address, monkeypatch):
    waits = []
    monkeypatch.setattr(retrying.time, "sleep", waits.append)
    assert GrpcClient(address, "busy", retries=2).status()[0].state == "AVAILABLE"
    assert len(waits) == 2
    with pytest.raises(errors.Unreachable, match=r"127\.0\.0\.1:9"):
        GrpcClient("127.0.0.1:9", "m", retries=1).status()
    assert len(waits) == 3


def test_a_missing_extra_is_named(monkeypatch):
    monkeypatch.setattr(grpc_client, "_APIS", ["no_such_module"])
    with pytest.raises(InputError, match=r"tf_seq2seq\[serving\]"):
        GrpcClient("localhost:8500", "m")
    with pytest.raises(InputError, match="at least 1"):
        GrpcClient("localhost:8500", "m", batch_size=0)
