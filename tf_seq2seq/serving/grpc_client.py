"""A client of TF Serving's gRPC API: the methods and results of `tf_seq2seq.serving.client.Client`.

It needs the package tensorflow-serving-api (``pip install 'tf_seq2seq[serving]'``), which brings TensorFlow along::

    from tf_seq2seq.serving.grpc_client import GrpcClient

    with GrpcClient("localhost:8500", "es_en") as client:
        client.generate(["¿Dónde está la estación?"])[0].text
"""

import importlib
from types import SimpleNamespace

import numpy as np

from tf_seq2seq.errors import InputError
from tf_seq2seq.serving.errors import BadRequest, Busy, NotFound, ServerError, Timeout, Unreachable
from tf_seq2seq.serving.inputs import generated_in_batches, scored_in_batches
from tf_seq2seq.serving.results import Metadata, Signature, VersionStatus
from tf_seq2seq.serving.retrying import retrying
from tf_seq2seq.serving.tensors import decoded

_APIS = [
    "get_model_metadata_pb2",
    "get_model_status_pb2",
    "model_service_pb2_grpc",
    "predict_pb2",
    "prediction_service_pb2_grpc",
]
_ERRORS = {
    "UNAVAILABLE": Unreachable,
    "RESOURCE_EXHAUSTED": Busy,
    "DEADLINE_EXCEEDED": Timeout,
    "INVALID_ARGUMENT": BadRequest,
    "FAILED_PRECONDITION": BadRequest,
    "OUT_OF_RANGE": BadRequest,
    "NOT_FOUND": NotFound,
}
_ANY_SIZE = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]


class GrpcClient:
    """Asks one model of TF Serving over gRPC; may be used from several threads.

    Args:
        address: str, host and port, such as "localhost:8500".
        model: str, the model's name at the server.
        version: int; None for the highest that the server has.
        timeout: float, seconds that an answer may take, connecting included.
        retries: int, how often a request is sent again if the server is not reached or has too much to do.
        batch_size: int, the most texts in a request.
        credentials: `grpc.ChannelCredentials`; None for a connection that is not encrypted.

    Raises:
        InputError: if tensorflow-serving-api is not installed, or a number is out of range.
    """

    def __init__(
        self, address, model, version=None, *, timeout=60.0, retries=3, batch_size=32, credentials=None
    ):
        if batch_size < 1 or retries < 0:
            raise InputError(
                f"batch_size is at least 1 and retries at least 0, not {batch_size} and {retries}"
            )
        self._apis = _serving_apis()
        self.address, self.model, self.version = address, model, version
        self.timeout = timeout
        self.retries = retries
        self.batch_size = batch_size
        grpc = self._apis.grpc
        self._channel = (
            grpc.insecure_channel(address, _ANY_SIZE)
            if credentials is None
            else grpc.secure_channel(address, credentials, _ANY_SIZE)
        )
        self._predictions = self._apis.prediction_service_pb2_grpc.PredictionServiceStub(self._channel)
        self._models = self._apis.model_service_pb2_grpc.ModelServiceStub(self._channel)

    def generate(self, texts, **options):
        """Generates targets: list of `Generated`, as `Client.generate` does, with the same options and errors."""
        return generated_in_batches(self.predict, texts, options, self.batch_size)

    def score(self, sources, targets):
        """How likely the model thinks given targets: list of `Scored`, as `Client.score` gives it."""
        return scored_in_batches(self.predict, sources, targets, self.batch_size)

    def predict(self, signature, inputs):
        """Runs any signature.

        Args:
            signature: str.
            inputs: dict of arrays; strings are bytes, of dtype object.

        Returns:
            dict of arrays of the signature's dtypes; strings are str, of dtype object.

        Raises:
            ServingError: its kinds are in `tf_seq2seq.serving.errors`.
        """
        tf = self._apis.tensorflow
        request = self._addressed(self._apis.predict_pb2.PredictRequest())
        request.model_spec.signature_name = signature
        for name, array in inputs.items():
            dtype = tf.string if np.asarray(array).dtype == object else None
            request.inputs[name].CopyFrom(tf.make_tensor_proto(array, dtype))
        outputs = self._answer(self._predictions.Predict, request).outputs
        return {name: decoded(tf.make_ndarray(tensor)) for name, tensor in outputs.items()}

    def metadata(self):
        """What the server tells of the model: `Metadata`."""
        api = self._apis.get_model_metadata_pb2
        request = self._addressed(api.GetModelMetadataRequest(metadata_field=["signature_def"]))
        answer = self._answer(self._predictions.GetModelMetadata, request)
        signatures = api.SignatureDefMap()
        answer.metadata["signature_def"].Unpack(signatures)
        return Metadata(
            answer.model_spec.name,
            answer.model_spec.version.value,
            {name: self._signature(one) for name, one in signatures.signature_def.items() if one.inputs},
        )

    def status(self):
        """How the model's versions are: list of `VersionStatus`."""
        api = self._apis.get_model_status_pb2
        answer = self._answer(self._models.GetModelStatus, self._addressed(api.GetModelStatusRequest()))
        name = api.ModelVersionStatus.State.Name
        return [
            VersionStatus(one.version, name(one.state), one.status.error_message)
            for one in answer.model_version_status
        ]

    def close(self):
        """Closes the connection; the client cannot be used after that."""
        self._channel.close()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()

    def _addressed(self, request):
        request.model_spec.name = self.model
        if self.version is not None:
            request.model_spec.version.value = self.version
        return request

    def _answer(self, method, request):
        return retrying(lambda: self._sent(method, request), self.retries)

    def _sent(self, method, request):
        try:
            return method(request, timeout=self.timeout)
        except self._apis.grpc.RpcError as error:
            kind = _ERRORS.get(error.code().name, ServerError)
            told = f"no answer within {self.timeout} seconds" if kind is Timeout else error.details()
            raise kind(told if issubclass(kind, BadRequest) else f"{self.address}: {told}") from error

    def _signature(self, told):
        return Signature(
            *(
                {name: self._tensor(info) for name, info in side.items()}
                for side in (told.inputs, told.outputs)
            )
        )

    def _tensor(self, info):
        shape = self._apis.tensorflow.TensorShape(info.tensor_shape)
        dtype = self._apis.tensorflow.as_dtype(info.dtype).name
        return dtype, None if shape.rank is None else shape.as_list()


def _serving_apis():
    """The modules that the client needs, by their names."""
    try:
        apis = {name: importlib.import_module(f"tensorflow_serving.apis.{name}") for name in _APIS}
        more = {name: importlib.import_module(name) for name in ("grpc", "tensorflow")}
    except ModuleNotFoundError as error:
        raise InputError(
            f"the gRPC client needs {error.name}, of tensorflow-serving-api: pip install 'tf_seq2seq[serving]'"
        ) from error
    return SimpleNamespace(**apis, **more)
