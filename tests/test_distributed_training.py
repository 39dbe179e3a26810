"""k parts x n replicas x w workers take the steps of one large batch; processes are real, and talk over loopback."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from distributed_training import TRAININGS

pytestmark = pytest.mark.distributed
TESTS = Path(__file__).parent
PRECISE = [name for name in TRAININGS if "float" not in name]
WAYS = {  # name: (workers, options, trainings)
    "2 replicas": (0, ["--replicas", "2"], [name for name in TRAININGS if name != "own files"]),
    "2 workers": (2, [], [*TRAININGS]),
    "4 workers": (4, [], ["sgd", "sgd in parts", "clipped by the norm of all", "adam", "skipped"]),
}
CASES = [(way, name) for way, (*_, names) in WAYS.items() for name in names]


def launched(script, *arguments, workers=0, options=(), timeout=1500):
    """What a script of the tests printed, as one process or as several workers."""
    launcher = ["-m", "tf_seq2seq", "launch", "--workers", str(workers), *options] if workers else []
    paths = os.pathsep.join([str(TESTS.parent), str(TESTS), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, *launcher, str(TESTS / script), *map(str, arguments)]
    return subprocess.run(
        command, env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True, timeout=timeout
    )


class Results:
    """Weights and logs of trainings, by the way they were dealt; each way is run when first asked for."""

    def __init__(self, folder):
        self.folder, self.found = folder, {}

    def of(self, way, name, worker=0):
        """(weights, logs) of a training."""
        if way not in self.found:
            self.found[way] = self._run(way)
        file = self.found[way][worker]
        weights = [file[key] for key in file if key.startswith(f"{name}/") and not key.endswith("/logs")]
        return weights, json.loads(str(file[f"{name}/logs"]))

    def _run(self, way):
        workers, options, names = WAYS.get(way, (0, [], [*TRAININGS]))
        path = self.folder / f"{way.replace(' ', '-')}-{{worker}}.npz"
        done = launched("distributed_training.py", path, *options, "--only", *names, workers=workers)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return [np.load(str(path).format(worker=worker)) for worker in range(max(1, workers))]


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return Results(tmp_path_factory.mktemp("trained"))


@pytest.mark.parametrize("way, name", [case for case in CASES if case[1] in PRECISE])
def test_weights_are_those_of_one_process(results, way, name):
    """SGD shows the gradients themselves, clipped ones show that the norm is of the whole; tokens differ by replica."""
    wanted, wanted_logs = results.of("one process", name)
    found, logs = results.of(way, name)
    assert logs["steps"] == wanted_logs["steps"]
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-5)


@pytest.mark.parametrize("way, name", [case for case in CASES if case[1] in PRECISE])
def test_logs_are_those_of_one_process(results, way, name):
    _, wanted = results.of("one process", name)
    _, logs = results.of(way, name)
    assert logs.keys() == wanted.keys()
    for key in wanted:
        if name == "skipped" and not key.startswith("val_") and key != "evaluated":
            continue  # of a step that is skipped the logs hold the replicas that were sound
        np.testing.assert_allclose(logs[key], wanted[key], rtol=1e-5, atol=1e-6, err_msg=key)


@pytest.mark.parametrize("way, name", [case for case in CASES if case[1] not in PRECISE])
def test_mixed_precision_trains_alike(results, way, name):
    wanted, wanted_logs = results.of("one process", name)
    found, logs = results.of(way, name)
    assert all(np.isfinite(one).all() and one.dtype == np.float32 for one in found)
    np.testing.assert_allclose(logs["loss"], wanted_logs["loss"], rtol=0.01)
    assert max(np.abs(one - other).max() for one, other in zip(found, wanted)) < 0.1


@pytest.mark.parametrize("way", [way for way, (workers, *_) in WAYS.items() if workers])
def test_workers_agree_bit_by_bit(results, way):
    workers, _, names = WAYS[way]
    for name in names:
        first, logs = results.of(way, name)
        for worker in range(1, workers):
            others, other_logs = results.of(way, name, worker)
            assert all((one == other).all() for one, other in zip(first, others, strict=True))
            assert logs == other_logs


def test_the_trainings_tell_something(results):
    """What is compared is not all the same: clipping clips, skipped steps are skipped, weights weigh."""
    sgd, _ = results.of("one process", "sgd")
    for name in ("clipped by the norm of all", "clipped by the norm of each"):
        other, _ = results.of("one process", name)
        assert max(np.abs(one - two).max() for one, two in zip(sgd, other)) > 0.01
    assert results.of("one process", "adam")[1]["steps"] == [10]
    assert 0 < results.of("one process", "skipped")[1]["steps"][0] < 10
