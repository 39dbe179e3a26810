"""Training speed: this package beside a careful PyTorch program, with and without input feeding, in two precisions.

    python experiments/benchmarks/train_speed.py --baselines DIR --json FILE [--work DIR] [--only CASES] [--cores 1]

The same corpus, the same pieces, the same sizes of model, Adam and dropout; so many seconds of training each, from
the 20th step on, in fresh processes that take turns every half second, three passes; the medians count. Losses are those
of the same steps on the same batches: a further training of ours takes the peer's batches in its order. All is kept in
the JSON file: run again, and only what is missing is done. README.md beside this file tells what is compared and what the
numbers mean.
"""

import argparse
import json
import os
import re
import signal
import statistics
import sys
import time
from pathlib import Path
from typing import NamedTuple

from baseline_programs import (
    TORCH,
    Skipped,
    mkl_shim,
    number,
    result_line,
    run,
    run_in_turn,
    torch_python,
)
from decode_speed import measure_floor, why_not
from quality_at_budget import processor, save

OURS = Path(__file__).with_name("tf_seq2seq_nmt.py")
MULTIPLY_ADDS = {"input feeding": 8.48e6, "no input feeding": 7.43e6}  # forward, a target token


class Case(NamedTuple):
    """One training: the decoder's kind and our precision, beside a peer's options."""

    input_feeding: bool
    policy: str
    peer: str
    goal: float | None  # our target tokens a second over the peer's, on one core
    peer_bfloat16: bool = False

    @property
    def decoder(self):
        return "input feeding" if self.input_feeding else "no input feeding"

    @property
    def name(self):
        return f"{'feed' if self.input_feeding else 'no-feed'}-{self.policy}"

    @property
    def baseline(self):
        """The peer and its column."""
        return f"torch_nmt.py {self.peer}" + (" BF16=1" if self.peer_bfloat16 else "")


CASES = [
    Case(True, "float32", "--input-feed", 1.15),
    Case(True, "mixed_bfloat16", "--input-feed", 1.6),
    Case(False, "float32", "--flip", 1.1),
    Case(False, "mixed_bfloat16", "--flip", 1.25, peer_bfloat16=True),
]


def arguments(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--baselines", type=Path, metavar="DIR", help="holds data and the peer's program")
    parser.add_argument("--json", type=Path, metavar="FILE", help="the result (default: in the work folder)")
    parser.add_argument("--work", type=Path, default=Path("runs/train_speed"), help="folder for everything")
    names = [case.name for case in CASES]
    parser.add_argument(
        "--only", nargs="+", choices=names, default=names, metavar="CASE", help=" ".join(names)
    )
    parser.add_argument(
        "--seconds", type=float, default=60, help="of a program in a pass, after its 20th step (default 60)"
    )
    parser.add_argument("--passes", type=int, default=3, help="of which the median counts (default 3)")
    parser.add_argument("--cores", type=int, default=1, help="and threads, of every program (default 1)")
    parser.add_argument(
        "--first-core", type=int, default=0, help="to pin to, with those after it (default 0)"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--preload", metavar="LIBRARY", help="loaded into every program, e.g. libjemalloc.so.2"
    )
    parser.add_argument("--torch-python", metavar="PATH", help=f"an interpreter that has PyTorch {TORCH}")
    args = parser.parse_args(argv)
    args.baselines = args.baselines and args.baselines.resolve()
    args.work = args.work.resolve()
    args.json = args.json or args.work / f"train_speed-{args.cores}.json"
    args.threads = args.cores
    return args


def pin(args):
    """So many cores for this process and all that it starts, where the system can say so."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, range(args.first_core, args.first_core + args.cores))


def programs(args, case):
    """Commands and environment of ours and of the peer, by name."""
    data = {"BENCH_DATA": f"{args.baselines / 'data'}{os.sep}", "T_START": repr(time.time())}
    feed = "--input-feed" if case.input_feeding else "--no-input-feed"
    ours = [sys.executable, OURS, "train", feed, "--policy", case.policy, "--seed", args.seed]
    more = preloaded(mkl_shim(args), args.preload) | ({"BF16": "1"} if case.peer_bfloat16 else {})
    peer = [torch_python(args), args.baselines / "torch_nmt.py", "train", case.peer]
    return {
        "tf_seq2seq": (ours, data | {"PYTHONPATH": str(OURS.parents[2])} | preloaded(args.preload)),
        case.baseline: (peer, data | more),
    }


def preloaded(*libraries):
    """The environment in which a program loads libraries first; None is none.

    >>> preloaded("a.so", None), preloaded(None)
    ({'LD_PRELOAD': 'a.so'}, {})
    """
    paths = [str(one) for one in libraries if one]
    return {"LD_PRELOAD": ":".join(paths)} if paths else {}


def measure(args, report, case):
    """All passes of a case that are missing."""
    passes = report["measured"].setdefault(case.name, [])
    for turn in range(len(passes) + 1, args.passes + 1):
        passes.append(one_pass(args, case, turn))
        save(report, args.json)


def measure_losses(args, report, case):
    """Our losses on the peer's batches, as many as its longest pass tells of: its passes are alike."""
    found = report["losses"].setdefault(case.name, {})
    losses = longest_losses([one[case.baseline] for one in report["measured"][case.name]])
    if not losses:
        sys.exit(f"{case.baseline} told no loss in {args.seconds:g} seconds: give it more by --seconds")
    steps = max(map(int, losses))
    if not found:
        print(f"{case.name}: tf_seq2seq, {steps} batches of the peer's ...", end=" ", flush=True)
        command, more = programs(args, case)["tf_seq2seq"]
        folder = args.work / "tf_seq2seq"
        options = ["--peers-batches", steps, "--ckpt", "model.keras"]
        log = run([*command, *options], folder / f"{case.name}-losses.log", args.threads, folder, more)
        alone = figures(log)
        found |= alone["losses"]
        report["first_step_seconds"][case.name] = alone["first_step_seconds"]
        save(report, args.json)
        print(f"loss {found[str(steps)]} after the last", flush=True)


def longest_losses(passes):
    """The losses by step of the pass that came furthest.

    >>> longest_losses([{"losses": {}}, {"losses": {"50": 5.3}}])
    {'50': 5.3}
    """
    return max((one["losses"] for one in passes), key=len)


def one_pass(args, case, turn):
    """Figures of both programs by name, each trained in a fresh process."""
    print(f"{case.name}, pass {turn} ...", end=" ", flush=True)
    load, runs = os.getloadavg()[0], programs(args, case)
    turns = []
    for name, (command, more) in runs.items():
        folder = args.work / name.replace(" ", "_")
        folder.mkdir(parents=True, exist_ok=True)
        weights = "model.keras" if command[1] == OURS else "m.pt"
        options = ["--max-s", len(runs) * args.seconds, "--epochs", 1000, "--ckpt", weights]
        turns.append(([*command, *options], folder / f"{case.name}.log", folder, more))
    found = dict(zip(runs, map(figures, run_in_turn(turns, args.threads)), strict=True))
    for one in found.values():
        one["target_tokens_per_second"] *= len(runs)  # a clock on the wall counts everybody's seconds
    speeds = [f"{one['target_tokens_per_second']:.0f}" for one in found.values()]
    print(f"{' and '.join(speeds)} target tokens/s", flush=True)
    return found | {"load_before": round(load, 2)}


def figures(log):
    """What a program printed.

    >>> found = figures('''FIRST_STEP 7.10s since process start
    ... ep 0 step 100 loss 5.1 tgt tok/s 10
    ... ep 0 step 150 loss 4.9 tgt tok/s 10
    ... RESULT steps 130 wall 9.0s tgt_tok/s 2484.0 steps/s 2.5 maxrss 930MiB''')
    >>> found["target_tokens_per_second"], found["steps"], found["losses"]
    (2484.0, 150, {'100': 5.1, '150': 4.9})
    """
    line = result_line(log)
    losses = {step: float(loss) for step, loss in re.findall(r"step (\d+) loss ([\d.]+)", log)}
    return {
        "target_tokens_per_second": number(r"tgt_tok/s ([\d.]+)", line),
        "rss_mib": number(r"maxrss ([\d.]+)", line),
        "first_step_seconds": number(r"FIRST_STEP ([\d.]+)", log),
        "steps": int(number(r"steps (\d+)", line)) + 20,
        "losses": losses,
    }


def row_of(case, report, passes):
    """A row of the result, or None where passes are missing.

    >>> one = lambda speed: {"target_tokens_per_second": speed, "rss_mib": 1.0, "losses": {}}
    >>> case, names = CASES[0], ("tf_seq2seq", "torch_nmt.py --input-feed")
    >>> passes = [dict(zip(names, map(one, speeds))) for speeds in [(30.0, 20.0), (15.0, 10.0), (40.0, 20.0)]]
    >>> report = {"measured": {"feed-float32": passes}, "losses": {}, "first_step_seconds": {}, "floor": None}
    >>> row = row_of(case, report | {"settings": {"cores": 1}}, 3)
    >>> row["case"], row["target_tokens_per_second"], row["ratio"], row["goal"]
    ('feed-float32', 30.0, 1.5, 1.15)
    """
    found = report["measured"].get(case.name, [])
    if len(found) < passes:
        return None
    ours, peer = ([one[name] for one in found] for name in ("tf_seq2seq", case.baseline))
    middle = lambda found, key: statistics.median(one[key] for one in found)
    speed, other = (middle(one, "target_tokens_per_second") for one in (ours, peer))
    ratio = statistics.median(
        one["target_tokens_per_second"] / beside["target_tokens_per_second"]
        for one, beside in zip(ours, peer)
    )
    floor = floor_of(case, report["floor"]) if report["floor"] else None
    alone = report["settings"]["cores"] == 1
    loss, other_loss = mean_losses(report["losses"].get(case.name, {}), longest_losses(peer))
    return {
        "case": case.name,
        "target_tokens_per_second": round(speed, 1),
        "rss_mib": middle(ours, "rss_mib"),
        "first_step_seconds": report["first_step_seconds"].get(case.name),
        "baseline": case.baseline,
        "baseline_target_tokens_per_second": round(other, 1),
        "baseline_rss_mib": middle(peer, "rss_mib"),
        "ratio": round(ratio, 3),
        "goal": case.goal if alone else None,
        "loss": loss,
        "baseline_loss": other_loss,
        "share_of_floor": round(speed / floor, 3) if floor and alone else None,
    }


def mean_losses(*programs):
    """Mean losses of a token at the steps at which all programs printed one, on the same batches.

    >>> mean_losses({"50": 9.0, "100": 5.0, "150": 4.0}, {"50": 9.1, "100": 5.2})
    [7.0, 7.15]
    """
    steps = set.intersection(*map(set, programs))
    return [round(statistics.mean(found[step] for step in steps), 3) if steps else None for found in programs]


def floor_of(case, floor):
    """Target tokens a second if nothing but the products took time, forward and twice that backward."""
    rate = floor["gflops"]["bfloat16" if "bfloat16" in case.policy else "float32"]
    return rate * 1e9 / (6 * MULTIPLY_ADDS[case.decoder])


def report_of(args):
    """The JSON file's content, or a new one; passes of other settings are never mixed."""
    settings = {"cores": args.cores, "seconds": args.seconds, "seed": args.seed, "preload": args.preload}
    if not args.json.exists():
        empty = {"floor": None, "measured": {}, "losses": {}, "first_step_seconds": {}, "rows": []}
        return {"settings": settings, "machine": processor(), **empty}
    report = json.loads(args.json.read_text(encoding="utf8"))
    if report["settings"] != settings:
        raise SystemExit(f"{args.json} holds {report['settings']}, asked is {settings}: give another --json")
    return report


def show(report):
    from rich.console import Console
    from rich.table import Table

    columns = ["target_tokens_per_second", "rss_mib", "first_step_seconds", "loss"]
    columns += ["baseline", "baseline_target_tokens_per_second", "baseline_rss_mib", "baseline_loss"]
    columns += ["ratio", "goal", "share_of_floor"]
    table = Table("case", *(name.replace("_", " ") for name in columns))
    for row in report["rows"]:
        table.add_row(row["case"], *("" if row[name] is None else str(row[name]) for name in columns))
    Console(width=None if sys.stdout.isatty() else 200).print(table)
    print(f"{report['machine']}, {report['settings']}, floor: {report['floor']}")


def main(argv=None):
    args = arguments(argv)
    if reason := why_not(args):
        print(f"skipped: {reason}")
        return
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # ends the program that runs, too
    args.work.mkdir(parents=True, exist_ok=True)
    pin(args)
    report = report_of(args)
    measure_floor(args, report)
    for case in [case for case in CASES if case.name in args.only]:
        try:
            measure(args, report, case)
            measure_losses(args, report, case)
        except Skipped as reason:
            print(f"skipped, {reason}", flush=True)
        report["rows"] = [row for one in CASES if (row := row_of(one, report, args.passes))]
        save(report, args.json)
    show(report)


if __name__ == "__main__":
    main()
