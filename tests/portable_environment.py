"""A virtual environment with nothing but what stock TensorFlow Serving is made of."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import tf_seq2seq

VERSION = "2.12.1"
PACKAGES = [f"tensorflow=={VERSION}", f"tensorflow-text=={VERSION}"]
PYTHONS = ["python3.10", "python3.11"]
BENCHMARKS = Path(tf_seq2seq.__file__).parents[1] / "experiments" / "benchmarks"


def stock_python():
    """An interpreter that has TensorFlow and TF-Text at 2.12.1 only: STOCK_PYTHON, or one installed once under the user's
    cache folder (some minutes). Skips if neither is to be had.
    """
    given = os.environ.get("STOCK_PYTHON")
    if given:
        return given
    sys.path.insert(0, str(BENCHMARKS))
    try:
        from baseline_programs import Skipped, environment
    finally:
        sys.path.remove(str(BENCHMARKS))
    name = f"tensorflow-text-{VERSION}"
    log = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tf_seq2seq" / f"{name}.log"
    try:
        return str(environment(name, _fitting_python(), PACKAGES, log))
    except Skipped as reason:
        pytest.skip(f"no environment of {' '.join(PACKAGES)}: {reason}")


def _fitting_python():
    """A Python that these versions have wheels for and that starts."""
    running = [sys.executable] if sys.version_info[:2] in ((3, 10), (3, 11)) else []
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    for python in [*running, *PYTHONS, *sorted(pyenv.glob("3.1[01].*/bin/python"))]:
        try:
            subprocess.run([python, "-c", ""], check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            continue
        return str(python)
    pytest.skip(f"TensorFlow {VERSION} needs Python 3.10 or 3.11, which is not here; set STOCK_PYTHON")


def stock_packages():
    """The folder of that environment's packages."""
    (folder,) = Path(stock_python()).parents[1].glob("lib/python3.*/site-packages")
    return folder


def run_stock(program, *arguments, folder):
    """Runs a program file with that interpreter, apart from this project; what it prints, and its exit code."""
    command = [stock_python(), "-I", str(program), *map(str, arguments)]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=folder, env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
    )
    return done.stdout, done.returncode, done.stderr
