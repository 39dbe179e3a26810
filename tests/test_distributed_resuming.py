"""A worker is killed: the others end and say why; all start again, go on, and end as if nothing had been."""

import json
import time

import numpy as np
import pytest
from test_distributed_training import launched

pytestmark = pytest.mark.distributed
WORKERS, DIES_AT = 2, 7
SCRIPT = "distributed_resuming.py"


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The folder of a training in which nobody dies."""
    folder = tmp_path_factory.mktemp("undisturbed")
    done = launched(SCRIPT, folder, workers=WORKERS)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


def ends(folder):
    """Of each worker: weights, and logs."""
    files = [np.load(folder / f"end-{worker}.npz") for worker in range(WORKERS)]
    return [([file[key] for key in file if key != "logs"], json.loads(str(file["logs"]))) for file in files]


def test_survivors_say_who_is_gone(tmp_path):
    began = time.monotonic()
    done = launched(SCRIPT, tmp_path, "--die-at", DIES_AT, workers=WORKERS, options=["--grace", "120"])
    assert done.returncode == 1
    assert "tf-seq2seq launch: worker 1 was killed by SIGKILL" in done.stderr
    assert "[0] RuntimeError: worker 1 is gone" in done.stdout
    assert "the others cannot go on without it: start all of them again" in done.stdout
    assert not (tmp_path / "end-0.npz").exists()
    assert time.monotonic() - began < 600


def test_a_restart_of_all_ends_bit_by_bit_as_if_nobody_had_died(tmp_path, undisturbed):
    """Dropout is on; the killed training is cut within an epoch and goes on from a checkpoint within it."""
    options = ["--restarts", "1", "--grace", "60"]
    done = launched(SCRIPT, tmp_path, "--die-at", DIES_AT, workers=WORKERS, options=options)
    assert done.returncode == 0, done.stderr[-3000:]
    assert (tmp_path / "died").exists() and "starting all 2 again (1 of 1)" in done.stderr
    for (weights, logs), (wanted, wanted_logs) in zip(ends(tmp_path), ends(undisturbed), strict=True):
        assert all((one == other).all() for one, other in zip(weights, wanted, strict=True))
        assert {name: values[1:] for name, values in wanted_logs.items()} == logs, (
            "from the epoch it went on in"
        )
