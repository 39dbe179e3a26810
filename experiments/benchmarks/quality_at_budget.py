"""BLEU after the same minutes of training: this package beside two programs that people would write instead.

    python experiments/benchmarks/quality_at_budget.py --baselines DIR [--minutes 8] [--json FILE]

All three get the same sentence pairs, the same subword pieces, the same threads and the same minutes, and
translate the same held-out sentences with the same beam size:

1. `tf_seq2seq`: `experiments/translate_tatoeba.py`, as `make demo` runs it;
2. `keras`: `DIR/keras_nmt.py train --bucket`, the Keras tutorial's model;
3. `torch`: `DIR/torch_nmt.py train --input-feed`, on PyTorch in a virtual environment of its own.

Everything is kept under --work, and each program's row goes to the JSON file as it ends: run again, and only
what is missing is done. README.md beside this file tells what is compared and what the numbers mean.
"""

import argparse
import json
import os
import platform
import re
import sys
import time
from pathlib import Path

from baseline_data import read_lines, write_data, write_lines
from baseline_programs import TORCH, Skipped, run, run_keras, run_torch

EXPERIMENTS = Path(__file__).resolve().parent.parent
sys.path[1:1] = [str(EXPERIMENTS.parent), str(EXPERIMENTS)]  # the package and the demo, installed or not
PROGRAMS = ["tf_seq2seq", "keras", "torch"]
ROWS_AT_ONCE = 32  # sentences; the baselines' own default


def arguments(argv=None):
    """The command line; the work folder is one of its own for each number of minutes and threads."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--baselines", type=Path, required=True, metavar="DIR", help="holds the two programs")
    parser.add_argument("--minutes", type=float, default=8, help="of training for each program (default 8)")
    parser.add_argument("--threads", type=int, default=2, help="of each program (default 2)")
    parser.add_argument("--beam", type=int, default=5, help="beam size of every decode (default 5)")
    parser.add_argument(
        "--work", type=Path, default=Path("runs/quality_at_budget"), help="folder for everything"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="the result (default: in the work folder)")
    parser.add_argument(
        "--only", nargs="+", choices=PROGRAMS, default=PROGRAMS, help="run these programs alone"
    )
    parser.add_argument("--torch-python", metavar="PATH", help=f"an interpreter that has PyTorch {TORCH}")
    args = parser.parse_args(argv)
    args.baselines = args.baselines.resolve()
    args.work = (args.work / f"{args.minutes:g}-minutes-{args.threads}-threads").resolve()
    args.json = args.json or args.work / f"beam-{args.beam}.json"
    return args


def pin(threads):
    """As many cores as threads, where the system can say so; the programs inherit it."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])


def train_demo(args):
    """Trains the demo unless that is done. It goes first: the pieces of its generator are everybody's."""
    folder, script = args.work / "demo", EXPERIMENTS / "translate_tatoeba.py"
    if not (folder / "results.json").exists():
        print(f"tf_seq2seq: training for {args.minutes:g} minutes ...", flush=True)
        try:
            command = [sys.executable, script, *demo_arguments(args)]
            package = {"PYTHONPATH": str(EXPERIMENTS.parent)}  # installed or not
            run(command, args.work / "demo.log", args.threads, more=package)
        except Skipped as reason:
            raise SystemExit(f"{script.name} failed: {reason}") from None
    return json.loads((folder / "results.json").read_text())


def demo_arguments(args):
    return ["--output", str(args.work / "demo"), "--minutes", f"{args.minutes:g}"]


def shared_data(args):
    """The folder that the baselines read, written once, and its counts."""
    folder = args.work / "data"
    if not (folder / "counts.json").exists():
        import translate_tatoeba

        from tf_seq2seq import TextProcessor

        print("writing pairs and pieces for the baselines ...", flush=True)
        pairs, *_ = translate_tatoeba.prepare(translate_tatoeba.arguments(demo_arguments(args)))
        saved = args.work / "demo" / "generator"
        write_data(folder, pairs, TextProcessor.load(saved / "source"), TextProcessor.load(saved / "target"))
    return folder, json.loads((folder / "counts.json").read_text())


def run_tf_seq2seq(args, data):
    """The demo's saved generator with this comparison's beam size: hypotheses and figures."""
    from tf_seq2seq import BeamSearch, TextGenerator

    results = train_demo(args)
    saved = TextGenerator.load(args.work / "demo" / "generator")
    strategy = BeamSearch.from_config(saved.strategy.get_config() | {"beam_size": args.beam, "n_best": 1})
    generator = TextGenerator(saved.model, saved.source_text, saved.target_text, strategy)
    print("tf_seq2seq: translating ...", flush=True)
    sources = read_lines(data / "test.source.txt")
    generator(sources[:ROWS_AT_ONCE])  # traces it, as the baselines do before their clock starts
    begun = time.time()
    hypotheses = [found.text[0] for found in generator.generate_all(sources, ROWS_AT_ONCE, len(sources))]
    seconds = time.time() - begun
    (args.work / "tf_seq2seq").mkdir(exist_ok=True)
    write_lines(args.work / "tf_seq2seq" / "hyp.txt", hypotheses)
    figures = {key: results[key] for key in ("training_seconds", "precision") if key in results}
    return hypotheses, figures | {"sentences_per_second": len(sources) / seconds}


RUN = {"tf_seq2seq": run_tf_seq2seq, "keras": run_keras, "torch": run_torch}


def bleu(hypotheses, references):
    """Cased, detokenised corpus BLEU and its signature, by sacreBLEU itself."""
    from sacrebleu.metrics import BLEU

    metric = BLEU()
    return metric.corpus_score(hypotheses, [references]).score, str(metric.get_signature())


def row_of(name, args, data):
    """One program's row of the result; a program that cannot be run has the reason in it."""
    try:
        hypotheses, figures = RUN[name](args, data)
    except Skipped as reason:
        return {"program": name, "skipped": str(reason)}
    references = read_lines(data / "test.reference.txt")
    if len(hypotheses) != len(references):
        raise SystemExit(f"{name}: {len(hypotheses)} hypotheses for {len(references)} references")
    score, signature = bleu(hypotheses, references)
    row = {"program": name, "bleu": score, "signature": signature, "beam_size": args.beam} | figures
    return {key: round(value, 2) if isinstance(value, float) else value for key, value in row.items()}


def report_of(args):
    """The JSON file's content, or a new one; rows of other settings are never mixed."""
    settings = {"minutes": args.minutes, "threads": args.threads, "beam_size": args.beam}
    if not args.json.exists():
        return {"settings": settings, "machine": processor(), "rows": []}
    report = json.loads(args.json.read_text(encoding="utf8"))
    if report["settings"] != settings:
        raise SystemExit(f"{args.json} holds {report['settings']}, asked is {settings}: give another --json")
    return report


def processor():
    try:
        return re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text()).group(1)
    except (OSError, AttributeError):
        return platform.processor() or platform.machine()


def save(report, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(path.name + ".new")
    beside.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf8")
    beside.replace(path)


def show(report):
    print(f"\n{report['machine']}\n{report['settings'] | report['data']}")
    scored = {row["program"]: row for row in report["rows"] if "bleu" in row}
    for row in report["rows"]:
        more = {
            key: value for key, value in row.items() if key not in ("program", "bleu", "signature", "skipped")
        }
        print(f"{row['program']:12}", f"BLEU {row['bleu']:.2f}  {more}" if "bleu" in row else row["skipped"])
    for signature in sorted({row["signature"] for row in scored.values()}):
        print(f"signature: {signature}")
    ours = scored.pop("tf_seq2seq", None)
    for name, row in scored.items() if ours else ():
        print(f"tf_seq2seq - {name}: {ours['bleu'] - row['bleu']:+.2f} BLEU")


def main(argv=None):
    args = arguments(argv)
    report = report_of(args)
    pin(args.threads)
    train_demo(args)
    data, report["data"] = shared_data(args)
    for name in args.only:
        if any(row["program"] == name and "bleu" in row for row in report["rows"]):
            continue
        row = row_of(name, args, data)
        report["rows"] = [kept for kept in report["rows"] if kept["program"] != name] + [row]
        save(report, args.json)
    show(report)


if __name__ == "__main__":
    main()
