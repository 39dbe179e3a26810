"""`tf-seq2seq launch` with scripts that need no TensorFlow: TF_CONFIG, output, deaths and restarts."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from tf_seq2seq import cli

PROGRAM = """
import json, os, signal, sys, time
from pathlib import Path
task = json.loads(os.environ["TF_CONFIG"])
index = task["task"]["index"]
"""


@pytest.fixture
def launch(tmp_path, capfd):
    """Runs a program as workers: exit code, lines of output in any order, lines of errors."""

    def launch(program, *options, arguments=()):
        (tmp_path / "train.py").write_text(PROGRAM + program)
        code = cli.main(["launch", *options, str(tmp_path / "train.py"), *arguments])
        out, err = capfd.readouterr()
        return code, sorted(out.splitlines()), err.splitlines()

    return launch


def test_each_worker_knows_all_and_itself(launch):
    code, out, err = launch(
        "print(json.dumps(task)); print(sys.argv[1:])", "--workers", "3", arguments=["--epochs", "2"]
    )
    assert (code, err) == (0, [])
    tasks = [json.loads(line[4:]) for line in out if "cluster" in line]
    assert [line[:4] for line in out if "cluster" in line] == ["[0] ", "[1] ", "[2] "]
    assert [task["task"] for task in tasks] == [{"type": "worker", "index": index} for index in range(3)]
    [addresses] = {tuple(task["cluster"]["worker"]) for task in tasks}
    assert len(set(addresses)) == 3
    assert sum(line.endswith("['--epochs', '2']") for line in out) == 3


@pytest.mark.parametrize(
    "death, told",
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", "worker 1 was killed by SIGKILL"),
        ("sys.exit(3)", "worker 1 ended with exit code 3"),
    ],
)
def test_when_one_dies_the_others_are_ended(launch, death, told):
    """One of the others would wait for ever, and does not listen to SIGTERM either."""
    began = time.monotonic()
    program = f"""
if index == 1: {death}
if index == 2: signal.signal(signal.SIGTERM, signal.SIG_IGN)
time.sleep(600)
"""
    code, _, err = launch(program, "--workers", "3", "--grace", "0")
    assert code == 1 and time.monotonic() - began < 30
    assert err == [f"tf-seq2seq launch: {told}; ending the others"]


def test_survivors_may_end_by_themselves(launch):
    code, out, _ = launch("if index: sys.exit(1)\ntime.sleep(1.5); print('alone')", "--workers", "2")
    assert (code, out) == (1, ["[0] alone"])


def test_all_are_started_again_so_many_times(launch, tmp_path):
    program = """
tries = Path(sys.argv[1]) / str(index)
tries.write_text(tries.read_text() + "x" if tries.exists() else "x")
if index == 1 and len(tries.read_text()) < 3: sys.exit(1)
while not (Path(sys.argv[1]) / "1").exists() or len((Path(sys.argv[1]) / "1").read_text()) < 3: time.sleep(0.05)
"""
    options = ["--workers", "2", "--grace", "0", "--restarts"]
    code, _, err = launch(program, *options, "1", arguments=[str(tmp_path)])
    assert code == 1 and err[1] == "tf-seq2seq launch: starting all 2 again (1 of 1)"
    code, _, err = launch(program, *options, "1", arguments=[str(tmp_path)])
    assert (code, err) == (0, [])


def test_a_script_that_is_not_there(capsys):
    assert cli.main(["launch", "--workers", "2", "nowhere.py"]) == 2
    assert capsys.readouterr().err == "tf-seq2seq: nowhere.py is no file: give a Python script\n"


@pytest.mark.parametrize("name", [signal.SIGINT, signal.SIGTERM])
def test_no_worker_outlives_the_command(tmp_path, name):
    (tmp_path / "train.py").write_text(PROGRAM + "print(os.getpid()); time.sleep(600)")
    command = [sys.executable, "-m", "tf_seq2seq", "launch", "--workers", "2", str(tmp_path / "train.py")]
    # A shell's job in the background ignores SIGINT, and what it starts inherits that.
    heard = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True, "preexec_fn": heard}
    process = subprocess.Popen(command, **options)
    workers = [int(process.stdout.readline().split()[1]) for _ in range(2)]
    process.send_signal(name)
    assert process.wait(timeout=30) == 130
    for worker in workers:
        with pytest.raises(ProcessLookupError):
            os.kill(worker, 0)
