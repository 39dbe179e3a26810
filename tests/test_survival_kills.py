"""A training that is killed again and again is bit by bit the training that was not."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tf_seq2seq.training.checkpoints import Resume

pytestmark = pytest.mark.survival

RANDOM = np.random.default_rng(20)
SETTINGS = [
    ({"threads": 1, "cache": False}, 8),
    ({"threads": 1, "cache": True}, 4),
    ({"threads": 2, "cache": False}, 4),
    ({"threads": 2, "cache": True}, 4),
]  # and how many kills


@pytest.fixture(scope="module")
def trainer():
    script = Path(__file__).parent / "survived.py"
    with subprocess.Popen(
        [sys.executable, str(script)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        yield process
        process.stdin.close()


def run(trainer, folder, steps=None, **options):
    """Trains in a folder, and kills it after so many steps and a moment; returns the exit status."""
    folder.mkdir(exist_ok=True)
    before = count(folder)
    trainer.stdin.write(json.dumps({"folder": str(folder), **options}) + "\n")
    trainer.stdin.flush()
    process = int(trainer.stdout.readline())
    while steps is not None and count(folder) < before + steps and Path(f"/proc/{process}/fd").exists():
        time.sleep(0.002)
    if steps is not None:
        time.sleep(RANDOM.uniform(0, 0.02))
        os.kill(process, signal.SIGKILL)
    return int(trainer.stdout.readline())


def count(folder):
    log = folder / "log"
    return log.read_text().count("\n") if log.exists() else 0


def curve(folder):
    """The last line of each step and of each epoch."""
    return dict(line.split(" ", 1) for line in (folder / "log").read_text().splitlines())


def damage(path, how):
    content = path.read_bytes()
    middle = len(content) // 2
    flipped = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
    path.write_bytes({"cut": content[:middle], "flipped": flipped, "empty": b""}[how])


@pytest.mark.parametrize("options, kills", SETTINGS)
def test_killed_at_any_moment_it_goes_on_as_if_nothing_had_been(trainer, tmp_path, options, kills):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert run(trainer, whole, **options) == 0
    left_by_writing = 0
    for number in range(kills):
        if number % 4 == 1:  # in the middle of writing a checkpoint, every time
            status = run(trainer, killed, dies_at_write=int(RANDOM.integers(1, 4)), **options)
            left_by_writing += len([*(killed / "resume").glob(".*")])
        else:
            status = run(trainer, killed, steps=int(RANDOM.integers(1, 16)), **options)
        assert status == -signal.SIGKILL
        checkpoints = Resume(killed / "resume").checkpoints
        if number % 4 == 2 and len(checkpoints) == 2:
            damage(checkpoints[0], ["cut", "flipped", "empty"][number % 3])
    assert left_by_writing
    assert run(trainer, killed, **options) == 0
    assert not [*(killed / "resume").glob(".*")]
    assert curve(killed) == curve(whole)
    assert count(killed) > count(whole) > 100, "some steps were made again"
    with np.load(whole / "final.npz") as one, np.load(killed / "final.npz") as other:
        assert one.files == other.files
        for name in one.files:
            np.testing.assert_array_equal(one[name], other[name], err_msg=name)
