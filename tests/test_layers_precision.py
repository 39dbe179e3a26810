"""The probe that picks the dtype of weights to search with."""

import time

import pytest

from tf_seq2seq.layers import precision


@pytest.mark.parametrize(
    "seconds, dtype",
    [
        ({"float32": 1.0, "bfloat16": 0.5}, "bfloat16"),
        ({"float32": 1.0, "bfloat16": 0.95}, "float32"),
        ({"float32": 1.0, "bfloat16": 3.0}, "float32"),
    ],
)
def test_the_measured_times_decide(monkeypatch, seconds, dtype):
    monkeypatch.setattr(precision, "product_seconds", lambda dtype, products: seconds[dtype])
    monkeypatch.setattr(precision.tf.config, "list_physical_devices", lambda kind: [])
    assert precision.fastest_weights() == dtype


@pytest.mark.parametrize("capability, dtype", [((8, 0), "bfloat16"), ((7, 5), "float32"), (None, "float32")])
def test_a_gpu_decides_by_its_compute_capability(monkeypatch, capability, dtype):
    monkeypatch.setattr(precision.tf.config, "list_physical_devices", lambda kind: ["a GPU"])
    details = {"compute_capability": capability} if capability else {}
    monkeypatch.setattr(precision.tf.config.experimental, "get_device_details", lambda gpu: details)
    assert precision.fastest_weights() == dtype


def test_the_probe_is_short():
    precision.fastest_weights()
    start = time.process_time()
    precision.fastest_weights()
    assert time.process_time() - start < 2
