"""JSON as TF Serving's REST API has it, to arrays and back."""

import base64
import json

import numpy as np
import pytest

from tf_seq2seq.errors import InputError
from tf_seq2seq.serving.tensors import Spec, from_json, received, sendable, to_json

STRING, FLOAT, INT, LONG, BOOL = (np.dtype(one) for one in ("O", "f4", "i4", "i8", "?"))
FINE = [
    (["a", "ñ", ""], STRING, (None,), [b"a", "ñ".encode(), b""]),
    ("\x00", STRING, (), b"\x00"),
    ([{"b64": "/w=="}, "b64"], STRING, (None,), [b"\xff", b"b64"]),
    ([[1, -2], [3, 4]], INT, (None, 2), [[1, -2], [3, 4]]),
    ([2**62], LONG, (1,), [2**62]),
    ([1, 0.5, -1e-3], FLOAT, (None,), [1.0, 0.5, np.float32(-1e-3)]),
    ([float("inf"), float("-inf")], FLOAT, None, [np.inf, -np.inf]),
    (True, BOOL, (), True),
    ([], STRING, (None,), []),
    ([[], []], INT, (None, None), [[], []]),
]
WRONG = [
    (["a", 1], STRING, (None,), "give a string"),
    ([["a"]], STRING, (None,), "shape [1, 1]"),
    ("a", STRING, (None,), "a list of shape [any]"),
    (["a"], STRING, (), "one value"),
    ([["a", "b"], ["c"]], STRING, (None, None), "equally long"),
    ([["a"], "b"], STRING, (None, None), "equally long"),
    (["a", ["b"]], STRING, (None,), "single value"),
    ([[1, 2, 3]], INT, (None, 2), "[any, 2]"),
    ([{"b64": "%"}], STRING, (None,), "not base64"),
    ([{"b64": 1}], STRING, (None,), "give a string"),
    ([{"b64": "YQ==", "more": 1}], STRING, (None,), "give a string"),
    (["\ud800"], STRING, (None,), "surrogate"),
    ([None], STRING, (None,), "not None"),
    ([1.0], INT, (None,), "whole number"),
    ([True], INT, (None,), "whole number"),
    ([2**31], INT, (None,), "int32 can hold"),
    ([-(2**63) - 1], LONG, (None,), "int64 can hold"),
    (["1"], FLOAT, (None,), "give a number"),
    ([False], FLOAT, (None,), "give a number"),
    ([1e39], FLOAT, (None,), "float32 can hold"),
    ([10**400], FLOAT, (None,), "float32 can hold"),
    ([1], BOOL, (None,), "true or false"),
    (json.loads("[" * 90 + "]" * 90), FLOAT, None, "lists in lists"),
]


@pytest.mark.parametrize("value, dtype, shape, expected", FINE, ids=str)
def test_json_becomes_an_array(value, dtype, shape, expected):
    array = from_json(value, Spec(dtype, shape), "x")
    assert array.dtype == dtype
    assert array.tolist() == expected


@pytest.mark.parametrize("value, dtype, shape, told", WRONG, ids=lambda part: str(part)[:40])
def test_what_does_not_fit_is_told(value, dtype, shape, told):
    with pytest.raises(InputError, match=r"^x: ") as caught:
        from_json(value, Spec(dtype, shape), "x")
    assert told in str(caught.value)
    assert len(str(caught.value)) < 200


def test_nan_is_read_and_written():
    array = from_json(json.loads("[NaN, 1]"), Spec(FLOAT, (None,)), "x")
    assert np.isnan(array[0])
    assert json.dumps(to_json(array)) == "[NaN, 1.0]"


def test_float32_comes_back_bit_by_bit_in_few_digits():
    bits = np.random.default_rng(0).integers(0, 2**32, size=3000, dtype=np.uint32)
    array = bits.view(np.float32)
    array = array[np.isfinite(array)]
    again = np.array(json.loads(json.dumps(to_json(array))), np.float32)
    np.testing.assert_array_equal(again.view(np.uint32), array.view(np.uint32))
    assert json.dumps(to_json(np.array([[0.1, 1 / 3]], np.float32))) == "[[0.1, 0.33333334]]"


def test_bytes_are_written_as_they_are_or_as_base64():
    array = np.array([["ñ".encode(), b"\xc3"]], object)
    written = json.dumps(to_json(array), ensure_ascii=False).encode("utf-8", "surrogateescape")
    assert written == b'[["\xc3\xb1", "\xc3"]]'
    assert to_json(array, as_base64=True) == [[{"b64": base64.b64encode(text).decode()} for text in array[0]]]
    assert to_json(np.array(b"a", object)) == "a"


def test_requests_read_back_what_was_sent():
    for array in (
        np.array([[b"a", b"\xff\x00"]], object),
        np.array(b"gnmt", object),
        np.array([], object),
        np.array([1.5, -0.1], np.float32),
        np.int32(3),
        np.bool_(True),
        np.array([[-(2**63)]]),
    ):
        spec = Spec(np.asarray(array).dtype, np.shape(array))
        again = from_json(json.loads(json.dumps(sendable(array))), spec, "x")
        np.testing.assert_array_equal(again, array)


def test_answers_are_typed_by_what_stands_in_them():
    assert received([[1, 2]]).dtype == np.int64
    assert received([True]).dtype == bool
    assert received([[0.5, 1]]).dtype == np.float32
    assert received("a").shape == ()
    assert received([{"b64": "/2E="}, "b"]).tolist() == ["\ufffda", "b"]
    assert received([[[]]]).shape == (1, 1, 0)
