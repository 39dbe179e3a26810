"""Running the baselines of the two benchmarks beside this file: their interpreters, threads, budget and results."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

from baseline_data import read_lines, to_text

TORCH = "2.13.0"
SLICE = 0.5  # seconds; of some steps of a training, and a hundredth of a measurement


class Skipped(Exception):
    """A program that cannot be run here; the message is the reason."""


def run(command, log, threads, folder=None, more=None):
    """Runs a program with so many threads; its output goes to the file `log` and is returned.

    Raises:
        Skipped: if it does not start, or ends with another exit code than 0.
    """
    return run_in_turn([(command, log, folder, more)], threads)[0]


def run_in_turn(programs, threads, seconds=SLICE):
    """Runs programs side by side of which one at a time is awake, for so many seconds in its turn, until all have ended.

    So a machine whose speed changes is as fast for one as for the other, and a clock on the wall goes by for each as many
    times as fast as there are programs, also when the others have ended.

    Args:
        programs: list of what `run` takes: (command, log, folder or None, environment or None).
        threads, seconds: as said.

    Returns:
        list of their outputs.

    Raises:
        Skipped: as `run` does.
    """
    processes = []
    try:
        for program in programs:
            processes.append(started(*program, threads))
            if len(programs) > 1:
                processes[-1].send_signal(signal.SIGSTOP)
        while len(programs) > 1 and any(process.poll() is None for process in processes):
            for process in processes:
                process.send_signal(signal.SIGCONT)
                time.sleep(seconds)
                process.send_signal(signal.SIGSTOP)
        codes = [process.wait() for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    return [output(command, log, code) for (command, log, *_), code in zip(programs, codes)]


def started(command, log, folder, more, threads):
    """The process of a program whose output goes to a file."""
    names = ["THREADS", "OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"]
    environment = {"TF_CPP_MIN_LOG_LEVEL": "2"} | os.environ | dict.fromkeys(names, str(threads))
    environment |= {"PYTHONUNBUFFERED": "1", "KERAS_BACKEND": "tensorflow"} | (more or {})
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [str(part) for part in command]
    with open(log, "w", encoding="utf8") as to:
        try:
            return subprocess.Popen(command, cwd=folder, env=environment, stdout=to, stderr=subprocess.STDOUT)
        except OSError as error:
            raise Skipped(f"{command[0]} does not start: {error.strerror}") from error


def output(command, log, code):
    """What a program that has ended wrote."""
    text = log.read_text(encoding="utf8", errors="replace")
    if code:
        last = (text.strip().splitlines() or ["no output"])[-1]
        raise Skipped(f"exit code {code}: {last[:200]} (see {log})")
    return text


def run_keras(args, data):
    """`keras_nmt.py train --bucket` in this interpreter: hypotheses and figures."""
    return run_baseline(args, data, "keras", sys.executable, "keras_nmt.py", ["--bucket"], [], "m.weights.h5")


def run_torch(args, data):
    """`torch_nmt.py train --input-feed`, with the shim where it can be compiled: hypotheses and figures."""
    python, shim = torch_python(args), mkl_shim(args)
    more = {"LD_PRELOAD": str(shim)} if shim else {}
    feed = ["--input-feed"]
    hypotheses, row = run_baseline(args, data, "torch", python, "torch_nmt.py", feed, feed, "model.pt", more)
    return hypotheses, row | {"mkl_shim": bool(shim)}


def run_baseline(args, data, name, python, script, train_with, decode_with, weights, more=None):
    """Trains for the budget unless that is done, decodes; the hypotheses' texts and a dict of figures."""
    folder, script = args.work / name, args.baselines / script
    if not script.exists():
        raise Skipped(f"there is no {script}")
    more = {"BENCH_DATA": f"{data}{os.sep}"} | (more or {})
    trained = folder / f"trained.{weights}"
    if not trained.exists():
        print(f"{name}: training for {args.minutes:g} minutes ...", flush=True)
        budget = ["--max-s", f"{60 * args.minutes:g}", "--epochs", "100000", "--ckpt", weights]
        folder.mkdir(parents=True, exist_ok=True)
        run([python, script, "train", *train_with, *budget], folder / "train.log", args.threads, folder, more)
        (folder / weights).rename(trained)
    print(f"{name}: translating ...", flush=True)
    decode = [python, script, "decode", *decode_with, "--beam", args.beam, "--ckpt", trained.name]
    from tf_seq2seq import TextProcessor

    log = run(decode, folder / "decode.log", args.threads, folder, more)
    hypotheses = to_text(read_lines(folder / "hyp.txt"), TextProcessor.load(data / "target"))
    return hypotheses, figures(read_log(folder / "train.log"), log)


def figures(train_log, decode_log):
    """The numbers that the two programs print in their lines RESULT."""
    trained, decoded = result_line(train_log), result_line(decode_log)
    return {
        "training_seconds": number(r"wall ([\d.]+)", trained),
        "steps": int(number(r"steps (\d+)", trained)),
        "target_tokens_per_second": number(r"tok/s ([\d.]+)", trained),
        "sentences_per_second": number(r"([\d.]+) sent/s", decoded),
    }


def result_line(log):
    return next(line for line in reversed(log.splitlines()) if line.startswith("RESULT"))


def number(pattern, text):
    return float(re.search(pattern, text).group(1))


def read_log(path):
    return path.read_text(encoding="utf8", errors="replace")


def torch_python(args):
    """An interpreter with PyTorch: the one given, or a virtual environment under the user's cache folder."""
    if args.torch_python:
        return args.torch_python
    packages = [f"torch=={TORCH}", "numpy"]
    return environment(f"torch-{TORCH}", sys.executable, packages, args.work / "torch" / "install.log")


def environment(name, python, packages, log):
    """The interpreter of a virtual environment under the user's cache folder, made by `python` unless it is there.

    Raises:
        Skipped: if it cannot be made, or the packages cannot be installed.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "tf_seq2seq" / name
    inside = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not (folder / "ready").exists():
        print(f"installing {packages[0]} into {folder} ...", flush=True)
        run([python, "-m", "venv", "--clear", folder], log, threads=1)
        run([inside, "-m", "pip", "install", *packages], log, threads=1)
        (folder / "ready").touch()
    return inside


def mkl_shim(args):
    """The compiled shim, or None. MKL takes a slow path on processors that are not Intel's; this lifts it."""
    source, library = args.baselines / "mkl_intel_shim.c", args.work / "mkl_intel_shim.so"
    try:
        subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return library
