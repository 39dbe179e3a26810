"""Decoding speed on one core: this package beside OpenNMT-tf and two programs that people would write instead.

    python experiments/benchmarks/decode_speed.py --baselines DIR --json FILE [--work DIR] [--only CASES]

The same corpus, the same pieces, the same sizes of model, the same epochs of training; then 500 sentences of the
test set, greedily and with a beam of 5, in batches of 32 and one by one. Each program is called in a fresh process,
one after the other, three times in turn; the medians count. Weights are kept in the work folder and passes in the
JSON file: run again, and only what is missing is done. README.md beside this file tells what is compared and what
the numbers mean.
"""

import argparse
import json
import os
import signal
import statistics
import sys
from pathlib import Path
from typing import NamedTuple

import decode_floor
import decode_programs
from baseline_data import read_lines
from baseline_programs import TORCH, Skipped, result_line, run
from opennmt_tf_baseline import VERSION as OPENNMT_TF
from quality_at_budget import processor, save

OURS = "tf_seq2seq"
THREADS = 1


class Case(NamedTuple):
    """One search: ours with all fields, the peers' with beam and batch alone, in float32 over all columns."""

    beam: int
    batch: int
    goal: float  # our output tokens a second over the best peer's
    precision: str = "float32"
    shortlist: int | None = None  # mean columns of a batch, as measured; None for the whole vocabulary

    @property
    def plain(self):
        """What the peers run."""
        return Case(self.beam, self.batch, self.goal)

    @property
    def name(self):
        search = "greedy" if self.beam == 1 else f"beam-{self.beam}"
        more = [] if self.precision == "float32" else [self.precision]
        more += ["shortlist"] if self.shortlist else []
        return "-".join([search, "batch", str(self.batch), *more])


# Cases of another precision or with a shortlist go here, and to `program_of` and tf_seq2seq_nmt.py their options.
CASES = [
    Case(beam=1, batch=32, goal=1.5),
    Case(beam=5, batch=32, goal=1.4),
    Case(beam=1, batch=1, goal=2.0),
    Case(beam=5, batch=1, goal=2.0),
    Case(beam=1, batch=32, goal=3.0, precision="bfloat16", shortlist=1711),
    Case(beam=5, batch=32, goal=3.0, precision="bfloat16", shortlist=1711),
    Case(beam=1, batch=1, goal=3.0, precision="bfloat16", shortlist=301),
    Case(beam=5, batch=1, goal=3.0, precision="bfloat16", shortlist=301),
]


def arguments(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--baselines", type=Path, metavar="DIR", help="holds data and the peers' programs")
    parser.add_argument("--json", type=Path, metavar="FILE", help="the result (default: in the work folder)")
    parser.add_argument("--work", type=Path, default=Path("runs/decode_speed"), help="folder for everything")
    names = [case.name for case in CASES]
    parser.add_argument(
        "--only", nargs="+", choices=names, default=names, metavar="CASE", help=" ".join(names)
    )
    parser.add_argument("--epochs", type=int, default=2, help="of training, for each program (default 2)")
    parser.add_argument("--passes", type=int, default=3, help="of which the median counts (default 3)")
    parser.add_argument("--core", type=int, help="to pin everything to (default: the last one)")
    parser.add_argument("--seed", type=int, default=1, help="of the training of those that take one")
    parser.add_argument("--torch-python", metavar="PATH", help=f"an interpreter that has PyTorch {TORCH}")
    parser.add_argument(
        "--opennmt-python", metavar="PATH", help=f"an interpreter that has OpenNMT-tf {OPENNMT_TF}"
    )
    args = parser.parse_args(argv)
    args.baselines = args.baselines and args.baselines.resolve()
    args.work = (args.work / f"{args.epochs}-epochs").resolve()
    args.json = args.json or args.work / "decode_speed.json"
    args.threads = THREADS
    return args


def why_not(args):
    """The reason why nothing can be measured, or None."""
    if args.baselines is None:
        return "give --baselines DIR: the corpus and the peers are not part of this repository"
    missing = [name for name in ("train.bpe.en.gz", "test.bpe.en.gz", "vocab.txt", "test500.ref.de")]
    missing = [name for name in missing if not (args.baselines / "data" / name).exists()]
    return f"{args.baselines / 'data'} lacks {', '.join(missing)}" if missing else None


def pin(args):
    """One core for this process and all that it starts, as `taskset -c` does, where the system can say so."""
    if not hasattr(os, "sched_setaffinity"):
        return None
    core = max(os.sched_getaffinity(0)) if args.core is None else args.core
    os.sched_setaffinity(0, [core])
    return core


def report_of(args, core):
    """The JSON file's content, or a new one; passes of other settings are never mixed."""
    settings = {"epochs": args.epochs, "seed": args.seed, "threads": args.threads, "core": core}
    if not args.json.exists():
        new = {"settings": settings, "machine": processor(), "versions": {}, "skipped": {}}
        return new | {"floor": None, "training": {}, "measured": {}, "rows": []}
    report = json.loads(args.json.read_text(encoding="utf8"))
    if report["settings"] != settings:
        raise SystemExit(f"{args.json} holds {report['settings']}, asked is {settings}: give another --json")
    return report


def train_all(args, report):
    """Trains what is not trained; the programs that can be run here. The reasons of the others go to the report."""
    names = []
    report["skipped"] = {}
    for name in [OURS, *decode_programs.PEERS]:
        try:
            decode_programs.train(name, args, CASES[0])
            report["versions"] |= decode_programs.versions(args, [name])
            names.append(name)
        except Skipped as reason:
            report["skipped"][name] = str(reason)
            print(f"{name}: skipped, {reason}", flush=True)
        log = args.work / name / "train.log"
        text = log.read_text(encoding="utf8", errors="replace") if log.exists() else ""
        if "RESULT" in text:
            report["training"][name] = result_line(text).removeprefix("RESULT ")
        save(report, args.json)
    if OURS not in names:
        raise SystemExit(f"{OURS} cannot be run: {report['skipped'][OURS]}")
    return names


def measure_floor(args, report):
    """The rates of the core, unless the report has them."""
    if report["floor"]:
        return
    folder = args.work / "floor"
    folder.mkdir(parents=True, exist_ok=True)
    print("floor: measuring matrix products and reads ...", flush=True)
    log = run([sys.executable, decode_floor.__file__], folder / "floor.log", args.threads)
    report["floor"] = json.loads(log.strip().splitlines()[-1])
    save(report, args.json)


def measure(args, report, names, cases):
    """All passes that are missing: programs take turns, so that a slow minute does not hit one alone."""
    for beam, batch in dict.fromkeys((case.beam, case.batch) for case in cases):
        alike = [case for case in cases if (case.beam, case.batch) == (beam, batch)]
        runs = [(OURS, case) for case in alike]
        runs += [(name, alike[0].plain) for name in names if name != OURS]
        for number in range(1, args.passes + 1):
            for name, case in runs:
                measure_pass(args, report, name, case, number)
        report["rows"] = rows(report, args.passes)
        save(report, args.json)


def measure_pass(args, report, name, case, number):
    entry = report["measured"].setdefault(case.name, {}).setdefault(name, {"passes": []})
    if len(entry["passes"]) >= number:
        return
    print(f"{case.name}: {name}, pass {number} ...", end=" ", flush=True)
    figures, hypotheses = decode_programs.decode_pass(name, args, case)
    print(f"{figures['tokens_per_second']:.0f} tokens/s", flush=True)
    entry["passes"].append(figures)
    fields = ["sentences_per_second", "tokens_per_second", "p50_ms", "average_length"]
    entry |= {field: statistics.median(one[field] for one in entry["passes"]) for field in fields}
    entry["bleu"], report["bleu_signature"] = bleu(hypotheses, args.baselines / "data" / "test500.ref.de")
    report["measured"][case.name][name] = entry
    save(report, args.json)


def bleu(hypotheses, reference):
    """BLEU and its signature. The reference is lowercased and has spaces around its tokens, as the corpus."""
    from sacrebleu.metrics import BLEU

    metric = BLEU(tokenize="none", force=True)
    score = metric.corpus_score(hypotheses, [read_lines(reference)]).score
    return round(score, 2), str(metric.get_signature())


def rows(report, passes):
    """One row for each case that is measured: ours, and how it compares with the best peer of that case."""
    found = []
    for case in CASES:
        ours = report["measured"].get(case.name, {}).get(OURS)
        if ours and len(ours["passes"]) >= passes:
            found.append(row_of(case, ours, report["measured"].get(case.plain.name, {})))
    return found


def row_of(case, ours, alike):
    """A row of the result; `alike` has every program's figures of the plain case.

    >>> ours = {"sentences_per_second": 30.0, "tokens_per_second": 450.0, "p50_ms": 33.0}
    >>> peers = {"keras": {"tokens_per_second": 150.0}, "torch": {"tokens_per_second": 100.0}}
    >>> row = row_of(Case(beam=5, batch=1, goal=2.0), ours, peers)
    >>> row["case"], row["baseline"], row["ratio"], row["goal"]
    ('beam-5-batch-1', 'keras', 3.0, 2.0)
    """
    peers = {name: figures for name, figures in alike.items() if name != OURS}
    best = max(peers, key=lambda name: peers[name]["tokens_per_second"], default=None)
    ratio = ours["tokens_per_second"] / peers[best]["tokens_per_second"] if best else None
    return {
        "case": case.name,
        "sentences_per_second": ours["sentences_per_second"],
        "tokens_per_second": ours["tokens_per_second"],
        "p50_ms": ours["p50_ms"],
        "shortlist": case.shortlist,
        "precision": case.precision,
        "baseline": best,
        "ratio": ratio and round(ratio, 3),
        "goal": case.goal,
    }


def floors(report):
    """For each row: the floor in tokens a second, our share of it, and the share that the goal would need.

    In float32 the same of the floor that TensorFlow's own products leave: no program can pass it that multiplies
    with them, as the peers do.
    """
    cases = {case.name: case for case in CASES}
    found = {}
    for row in report["rows"]:
        case = cases[row["case"]]
        most = decode_floor.floor(
            report["floor"], case.beam, case.batch, case.precision, columns=case.shortlist
        )
        reached = row["tokens_per_second"] / most
        wanted = row["ratio"] and reached * row["goal"] / row["ratio"]
        found[row["case"]] = {
            "tokens_per_second": round(most),
            "share": round(reached, 3),
            "share_of_goal": wanted and round(wanted, 3),
        }
        if case == case.plain:
            products = decode_floor.floor_of_products(report["floor"], case.beam, case.batch)
            goal = row["ratio"] and row["tokens_per_second"] * row["goal"] / row["ratio"]
            found[row["case"]] |= {
                "products_tokens_per_second": round(products),
                "products_share": round(row["tokens_per_second"] / products, 3),
                "products_share_of_goal": goal and round(goal / products, 3),
            }
    return found


def share(value):
    """'95%', '104% (beyond it)', or nothing for None."""
    return "" if value is None else f"{value:.0%}" + (" (beyond it)" if value > 1 else "")


def show(report):
    """Ours beside the best peer, then everybody's figures."""
    from rich.console import Console
    from rich.table import Table

    console = Console(width=None if sys.stdout.isatty() else 170)
    names = ["case", "tokens/s", "sentences/s", "p50 ms", "best peer", "ratio", "goal", "", "of the floor"]
    table = Table(*names, "the goal, of the floor", "of the products", "the goal, of the products")
    for row in report["rows"]:
        floor = report["floors"][row["case"]]
        reached = "" if row["ratio"] is None else "reached" if row["ratio"] >= row["goal"] else "missed"
        goal, products = share(floor["share_of_goal"]), share(floor.get("products_share"))
        wanted = share(floor.get("products_share_of_goal"))
        numbers = [f"{row[key]:.1f}" for key in ("tokens_per_second", "sentences_per_second", "p50_ms")]
        peer = [str(row["baseline"]), str(row["ratio"]), str(row["goal"])]
        table.add_row(row["case"], *numbers, *peer, reached, share(floor["share"]), goal, products, wanted)
    console.print(table)
    table = Table("case", "program", "tokens/s", "sentences/s", "p50 ms", "tokens a sentence", "BLEU", "load")
    for case, programs in report["measured"].items():
        for name, figures in programs.items():
            fields = ["tokens_per_second", "sentences_per_second", "p50_ms", "average_length", "bleu"]
            load = max(one["load_before"] for one in figures["passes"])
            table.add_row(case, name, *(f"{figures[field]:.1f}" for field in fields), f"{load:.1f}")
    console.print(table)
    for name, reason in report["skipped"].items():
        print(f"{name}: skipped, {reason}")
    print(f"{report['machine']}, {report['settings']}, one core: {report['floor']}")


def main(argv=None):
    args = arguments(argv)
    if reason := why_not(args):
        print(f"skipped: {reason}")
        return
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # ends the program that runs, too
    args.work.mkdir(parents=True, exist_ok=True)
    report = report_of(args, pin(args))
    names = train_all(args, report)
    measure_floor(args, report)
    measure(args, report, names, [case for case in CASES if case.name in args.only])
    report["floors"] = floors(report)
    save(report, args.json)
    show(report)


if __name__ == "__main__":
    main()
