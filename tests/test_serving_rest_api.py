"""TF Serving's REST API, on a model of NumPy: rows and columns, names, errors."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from tf_seq2seq.errors import InputError
from tf_seq2seq.serving import rest_api
from tf_seq2seq.serving.rest_api import Refused, RestApi
from tf_seq2seq.serving.tensors import Spec

STRING, FLOAT, INT = (np.dtype(one) for one in ("O", "f4", "i4"))


class Model:
    """Signatures of one and of two inputs and outputs, some of whose outputs are not one for each row."""

    version = 3
    inputs = {
        "serving_default": {"text": Spec(STRING, (None,))},
        "two": {"text": Spec(STRING, (None,)), "number": Spec(FLOAT, (None,))},
        "scalar": {"text": Spec(STRING, (None,)), "beam_size": Spec(INT, ())},
        "whole": {"text": Spec(STRING, (None,))},
        "__init_op": {},
    }

    def __call__(self, signature, inputs):
        text = inputs["text"]
        if signature == "serving_default":
            return {"text": text}
        if signature == "two":
            return {"text_bytes": text, "half": inputs["number"] / 2}
        return {"text": text, "count": np.int32(len(text))}

    def signatures(self):
        return {name: {"inputs": {}} for name in self.inputs}


API = RestApi(Model(), "m", max_rows=3)


def predict(**request):
    return API.predict(json.dumps(request).encode())


def test_one_input_and_one_output_have_no_names():
    assert predict(instances=["a", "b"]) == {"predictions": ["a", "b"]}
    assert predict(instances=[{"text": "a"}]) == {"predictions": ["a"]}
    assert predict(instances=[{"b64": "YQ=="}]) == {"predictions": ["a"]}
    assert predict(inputs=["a", "b"]) == {"outputs": ["a", "b"]}
    assert predict(inputs={"text": ["a"]}, signature_name="") == {"outputs": ["a"]}
    assert predict(inputs=[]) == {"outputs": []}


def test_several_inputs_and_outputs_have_names_and_bytes_are_base64():
    rows = [{"text": "a", "number": 1}, {"text": "b", "number": float("-inf")}]
    assert predict(instances=rows, signature_name="two") == {
        "predictions": [
            {"text_bytes": {"b64": "YQ=="}, "half": 0.5},
            {"text_bytes": {"b64": "Yg=="}, "half": float("-inf")},
        ]
    }
    columns = {"text": ["a"], "number": [3]}
    assert predict(inputs=columns, signature_name="two") == {
        "outputs": {"text_bytes": [{"b64": "YQ=="}], "half": [1.5]}
    }
    assert predict(inputs=columns | {"more": 1}, signature_name="two")["outputs"]["half"] == [1.5]


def test_a_byte_order_mark_is_passed_over():
    assert API.predict(b'\xef\xbb\xbf{"inputs": ["a"]}') == {"outputs": ["a"]}


MALFORMED = [
    (b"", "JSON Parse error"),
    (b"{", "JSON Parse error"),
    (b'{"inputs": [1,]}', "JSON Parse error"),
    (b'{"inputs": "\xff"}', "not UTF-8 at byte 12"),
    (b'{"inputs": ' + b"9" * 5000 + b"}", "JSON Parse error"),
    (b"[" * 200_000, "nested too deeply"),
    (b"[1]", "JSON object"),
    (b"null", "JSON object"),
    (b"{}", "'inputs' (columns) and 'instances' (rows)"),
    (b'{"inputs": ["a"], "instances": ["a"]}', "'inputs' (columns) and 'instances' (rows)"),
    (b'{"inputs": ["a"], "signature_name": 1}', "'signature_name' is a string"),
    (b'{"inputs": ["a"], "signature_name": ["a"]}', "'signature_name' is a string"),
    (b'{"inputs": ["a"], "signature_name": "three"}', '"three" not found; there are serving_default, two'),
    (b'{"inputs": ["a"], "signature_name": "__init_op"}', "not found"),
    (b'{"inputs": ["a"], "signature_name": "two"}', "'inputs' is an object here, with number, text"),
    (b'{"inputs": {"text": ["a"]}, "signature_name": "two"}', "Missing named input: number"),
    (b'{"inputs": {}}', "Missing named input: text"),
    (b'{"inputs": null}', "text: give a list"),
    (b'{"instances": []}', "at least one row"),
    (b'{"instances": "a"}', "at least one row"),
    (b'{"instances": ["a"], "signature_name": "two"}', "row 0 of 'instances' is an object with number, text"),
    (b'{"instances": [{"text": "a"}, "b"]}', "row 1"),
    (b'{"instances": [{"text": "a"}, {"txt": "b"}]}', "row 1"),
    (b'{"instances": [{"text": "a", "more": 1}]}', "row 0"),
    (b'{"instances": [["a"], ["b"]]}', "text: give a list"),
    (
        b'{"instances": [{"text": "a", "beam_size": 1}], "signature_name": "scalar"}',
        "beam_size: give one value",
    ),
    (b'{"instances": ["a"], "signature_name": "whole"}', "ask with 'inputs'"),
]


@pytest.mark.parametrize("body, told", MALFORMED, ids=lambda part: str(part)[:50])
def test_a_malformed_request_is_told_why(body, told):
    with pytest.raises(InputError) as caught:
        API.predict(body)
    assert told in str(caught.value)
    assert len(str(caught.value)) < 250


def test_too_many_rows_are_refused_in_rows_and_columns():
    assert len(predict(inputs=["a"] * 3)["outputs"]) == 3
    for request in ({"inputs": ["a"] * 4}, {"instances": ["a"] * 4}):
        with pytest.raises(Refused, match="at most 3 rows in a request, not 4") as caught:
            predict(**request)
        assert caught.value.code == 413


def test_too_large_an_answer_is_refused(monkeypatch):
    monkeypatch.setattr(rest_api, "MOST_VALUES", 2)
    assert len(predict(inputs=["a"] * 2)["outputs"]) == 2
    with pytest.raises(Refused, match="at most 2 values in an answer, not 3") as caught:
        predict(inputs=["a"] * 3)
    assert caught.value.code == 413


def test_paths_lead_to_what_tf_serving_has_there():
    for path in ("/v1/models/m", "/v1/models/m/versions/3"):
        assert API.route("GET", path) == "status"
        assert API.route("GET", path + "/metadata") == "metadata"
        assert API.route("POST", path + ":predict") == "predict"


@pytest.mark.parametrize(
    "method, path, code",
    [
        ("GET", "/v1/models/other", 404),
        ("GET", "/v1/models/m/versions/4", 404),
        ("POST", "/v1/models/other:predict", 404),
        ("POST", f"/v1/models/m/versions/{'9' * 400}:predict", 404),
        ("GET", "/v1/models/m:predict", 400),
        ("POST", "/v1/models/m", 400),
        ("POST", "/v1/models/m:classify", 400),
        ("DELETE", "/v1/models/m", 400),
        ("GET", "/v1/models", 400),
        ("GET", "/v1/models/m/versions/x", 400),
        ("GET", "/v1/models/m/", 400),
    ],
)
def test_other_paths_are_refused(method, path, code):
    with pytest.raises(Refused) as caught:
        API.route(method, path)
    assert caught.value.code == code


def test_status_and_metadata_have_tf_servings_fields():
    assert API.status()["model_version_status"][0]["version"] == "3"
    assert API.status()["model_version_status"][0]["state"] == "AVAILABLE"
    told = API.metadata()
    assert told["model_spec"] == {"name": "m", "signature_name": "", "version": "3"}
    assert set(told["metadata"]["signature_def"]["signature_def"]) == set(Model.inputs)


def test_the_messages_of_tf_serving_can_be_read_as_its_own_protos(request):
    """The fields are those that tensorflow-serving-api knows."""
    apis = pytest.importorskip("tensorflow_serving.apis", reason="needs the extra `serving`")
    from google.protobuf import json_format

    assert apis
    from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2

    status = json_format.ParseDict(API.status(), get_model_status_pb2.GetModelStatusResponse())
    assert status.model_version_status[0].version == 3
    spec = SimpleNamespace(**API.metadata())
    assert json_format.ParseDict(spec.model_spec, get_model_metadata_pb2.GetModelMetadataRequest().model_spec)
