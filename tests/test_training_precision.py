"""The probe that picks a precision."""

import time

import pytest

from tf_seq2seq.training import precision


@pytest.mark.parametrize(
    "seconds, policy",
    [
        ({"float32": 1.0, "bfloat16": 0.5}, "mixed_bfloat16"),
        ({"float32": 1.0, "bfloat16": 0.95}, "float32"),
        ({"float32": 1.0, "bfloat16": 3.0}, "float32"),
    ],
)
def test_the_measured_times_decide(monkeypatch, seconds, policy):
    monkeypatch.setattr(precision, "product_seconds", lambda dtype, products: seconds[dtype])
    monkeypatch.setattr(precision.tf.config, "list_physical_devices", lambda kind: [])
    assert precision.fastest_policy() == policy


def test_a_gpu_decides_by_its_compute_capability(monkeypatch):
    monkeypatch.setattr(precision.tf.config, "list_physical_devices", lambda kind: ["a GPU"])
    details = {"compute_capability": (7, 5)}
    monkeypatch.setattr(precision.tf.config.experimental, "get_device_details", lambda gpu: details)
    assert precision.fastest_policy() == "mixed_float16"
    details.clear()
    assert precision.fastest_policy() == "float32"


def test_the_probe_is_short():
    precision.fastest_policy()
    start = time.process_time()
    precision.fastest_policy()
    assert time.process_time() - start < 2
