"""The programs of `decode_speed.py`: how each is trained once, and called for one pass over the test set."""

import os
import sys
from pathlib import Path
from typing import NamedTuple

import opennmt_tf_baseline
from baseline_data import read_lines
from baseline_programs import Skipped, mkl_shim, number, result_line, run, torch_python

OURS = Path(__file__).with_name("tf_seq2seq_nmt.py")
PEERS = ["keras", "torch", "opennmt_tf"]


class Program(NamedTuple):
    """A program with the two commands `train` and `decode`."""

    python: object  # interpreter
    script: Path
    weights: str  # the file that training makes
    both: list = []  # options of both commands
    training: list = []  # of `train`
    decoding: list = []  # of `decode`
    more: dict = {}  # environment variables


def program_of(name, args, case):
    """How to call a program; of ours, how to call it for a case."""
    if name == "keras":
        script = args.baselines / "keras_nmt.py"
        return Program(sys.executable, script, "m.weights.h5", training=["--bucket"])
    if name == "torch":
        shim = mkl_shim(args)
        more = {"LD_PRELOAD": str(shim)} if shim else {}
        script = args.baselines / "torch_nmt.py"
        return Program(torch_python(args), script, "model.pt", ["--input-feed"], more=more)
    options = ["--precision", case.precision, *["--shortlist"] * bool(case.shortlist)]
    return Program(sys.executable, OURS, "model.keras", training=["--seed", args.seed], decoding=options)


def train(name, args, case):
    """Trains a program for so many epochs, unless its weights are in the work folder.

    Raises:
        Skipped: if it cannot be run here.
    """
    folder = args.work / name
    if name == "opennmt_tf":
        return opennmt_tf_baseline.train(args, folder, args.baselines / "data")
    program = program_of(name, args, case)
    if not program.script.exists():
        raise Skipped(f"there is no {program.script}")
    if (folder / program.weights).exists():
        return None
    print(f"{name}: training for {args.epochs} epochs ...", flush=True)
    (folder / "unfinished").mkdir(parents=True, exist_ok=True)
    ckpt = f"unfinished/{program.weights}"
    options = [*program.both, *program.training, "--epochs", args.epochs, "--ckpt", ckpt]
    command = [program.python, program.script, "train", *options]
    run(command, folder / "train.log", args.threads, folder, environment_of(args, program))
    return (folder / ckpt).rename(folder / program.weights)


def decode_pass(name, args, case):
    """One pass over the test set in a fresh process: the figures of its line RESULT, and its hypotheses."""
    folder = args.work / name
    program, command = decode_command(name, args, case)
    log, load = folder / f"decode-{case.name}.log", os.getloadavg()[0]
    out = f"{case.name}.hyp.txt"
    search = ["--beam", case.beam, "--batch", case.batch, "--out", out]
    environment = environment_of(args, program)
    figures = decode_figures(run([*command, *search], log, args.threads, folder, environment))
    return figures | {"load_before": round(load, 2)}, joined(read_lines(folder / out))


def decode_command(name, args, case):
    if name == "opennmt_tf":
        script = Path(__file__).with_name("opennmt_tf_decode.py")
        python = opennmt_tf_baseline.opennmt_python(args)
        return Program(python, script, ""), [python, script, "--export", f"beam-{case.beam}"]
    program = program_of(name, args, case)
    options = [*program.both, *program.decoding, "--ckpt", program.weights]
    return program, [program.python, program.script, "decode", *options]


def environment_of(args, program):
    """Where the data are, and the package, installed or not."""
    package = {"PYTHONPATH": str(OURS.parents[2])} if program.script == OURS else {}
    return {"BENCH_DATA": f"{args.baselines / 'data'}{os.sep}"} | package | program.more


def decode_figures(log):
    """The numbers of a line RESULT of `decode`.

    >>> decode_figures("RESULT beam 1 batch 32: 369.75 sent/s 5496.9 tok/s p50 85.7 ms p95 93.1 ms avg_len 14.87")
    {'sentences_per_second': 369.75, 'tokens_per_second': 5496.9, 'p50_ms': 85.7, 'average_length': 14.87}
    """
    line = result_line(log)
    return {
        "sentences_per_second": number(r"([\d.]+) sent/s", line),
        "tokens_per_second": number(r"([\d.]+) tok/s", line),
        "p50_ms": number(r"p50 ([\d.]+) ms", line),
        "average_length": number(r"avg_len ([\d.]+)", line),
    }


def joined(lines):
    """Pieces between spaces -> the tokens that the references hold.

    >>> joined(["▁sa ft ig - gr ün es ▁gras ▁."])
    ['saftig-grünes gras .']
    """
    return ["".join(line.split()).replace("▁", " ").strip() for line in lines]


def versions(args, names):
    """Version of Python and of the packages that matter, of each program."""
    packages = {"tf_seq2seq": ["tensorflow", "keras", "numpy"], "keras": ["tensorflow", "keras"]}
    packages |= {"torch": ["torch"], "opennmt_tf": ["OpenNMT-tf", "tensorflow-cpu"]}
    ask = "import sys, platform, importlib.metadata as m; print('python', platform.python_version(), "
    ask += "*[' '.join([name, m.version(name)]) for name in sys.argv[1:]], sep=', ')"
    pythons = {"torch": torch_python, "opennmt_tf": opennmt_tf_baseline.opennmt_python}
    found = {}
    for name in names:
        python = pythons[name](args) if name in pythons else sys.executable
        log = args.work / name / "versions.log"
        found[name] = run([python, "-c", ask, *packages[name]], log, args.threads).strip()
    return found
