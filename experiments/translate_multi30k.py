"""A recipe for a small parallel corpus, on Multi30k: one model, one direction, one seed, one result file.

    python experiments/translate_multi30k.py --data DIR --pair de-en --model best --seed 1

DIR holds `train`, `val` and `test_2016_flickr`, each as `NAME.LANGUAGE` or `NAME.LANGUAGE.gz`, a sentence a line; any
other corpus in this form will do (`--test NAME`). It trains on train, chooses beam and length penalty on val, and
translates the test set once. Stopped, the same command goes on where it was, with the minutes that are left.

`--model` is a rung of a ladder: what the rungs share is data, pieces, dropout, loss, schedule and minutes. Only `best`
has all the tricks of the recipe. `python experiments/multi30k_table.py` makes the table of all result files.
"""

import argparse
import json
import os
import platform
import re
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import keras
import rich
import tensorflow as tf
from rich.table import Table

import tf_seq2seq as s2s
from tf_seq2seq.evaluation.evaluate import generate_texts, read_pairs

RESULTS = Path(__file__).resolve().parent / "results" / "multi30k"


@dataclass(frozen=True)
class Recipe:
    """What a training is made of; the defaults are what all rungs share."""

    network: str = "luong2015"  # of the zoo
    pieces: int = 4000  # of each language
    units: int = 512
    embedding_size: int = 256
    depth: int = 1
    dropout: float = 0.4
    recurrent_dropout: float = 0.0
    variational: bool = False
    label_smoothing: float = 0.1
    lowercase_source: bool = True
    source_sampling: float | None = None  # alpha of subword sampling
    target_sampling: float | None = None
    batch_tokens: int = 1000  # target tokens
    learning_rate: float = 3e-3  # after the warm-up; it falls to zero with the clock
    warmup_steps: int = 300
    average: float | None = None  # momentum of the moving average of the weights
    attention: str | None = None  # a class of the package; None for the network's own
    more: tuple = ()  # options of the network


LUONG = (("bidirectional", True), ("tied", True), ("input_feeding", True))
GNMT = (("residual_from", 1), ("copied_state", True), ("readout", "attentional"), ("tied", True))
MODELS = {
    "plain": Recipe("plain"),
    "cho": Recipe("cho2014"),
    "bahdanau": Recipe("bahdanau2015"),
    "luong": Recipe("luong2015", more=LUONG),
    "gnmt": Recipe("gnmt", depth=2, units=384, attention="GeneralAttention", more=GNMT),
    "best": Recipe("luong2015", more=(*LUONG[:2], ("input_feeding", False)), average=0.999),
}
BEAMS = (1, 5, 8)
PENALTIES = (0.0, 0.6, 1.0, 1.4)  # alpha of GNMT's length penalty; 0 is none


def arguments(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--data", type=Path, required=True, metavar="DIR")
    parser.add_argument("--pair", default="de-en", help="source and target language (default de-en)")
    parser.add_argument("--model", choices=MODELS, default="best")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=30, help="of training (default 30)")
    parser.add_argument("--threads", type=int, default=0, help="default: all")
    parser.add_argument("--test", default="test_2016_flickr", help="name of the test set")
    parser.add_argument("--output", type=Path, help="folder of the training (default runs/multi30k/...)")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the result files")
    parser.add_argument("--precision", default="auto", help="auto, float32, mixed_bfloat16 or mixed_float16")
    args = parser.parse_args(argv)
    name = f"{args.pair}-{args.model}-{args.seed}"
    args.output = args.output or Path("runs/multi30k") / name
    args.result = args.results / f"{name}.json"
    return args


def corpus(args):
    """The pairs in their three splits."""
    source, target = args.pair.split("-")
    files = {
        name: (path(args, name, source), path(args, name, target)) for name in ("train", "val", args.test)
    }
    # The corpus's own splits are what published figures are of, shared sentences included.
    return s2s.text_pairs(*files["train"], valid=files["val"], test=files[args.test], disjoint=False)


def path(args, name, language):
    plain = args.data / f"{name}.{language}"
    return plain if plain.exists() else plain.with_name(f"{plain.name}.gz")


def texts(recipe, pairs):
    """A subword model of each language."""
    fit = lambda side, **options: s2s.TextProcessor.fit(
        pairs.train.map(lambda *pair: pair[side]), vocab_size=recipe.pieces, **options
    )
    return fit(0, lowercase=recipe.lowercase_source), fit(1)


def build(recipe, source_text, target_text):
    options = ["units", "embedding_size", "depth", "dropout", "recurrent_dropout", "variational"]
    options = {name: getattr(recipe, name) for name in options} | dict(recipe.more)
    if recipe.attention:
        options["attention"] = getattr(s2s, recipe.attention)()
    model = getattr(s2s, recipe.network)(source_text.vocab_size, target_text.vocab_size, **options)
    averaging = {"use_ema": True, "ema_momentum": recipe.average} if recipe.average else {}
    model.compile(
        keras.optimizers.Adam(recipe.learning_rate, global_clipnorm=1.0, **averaging),
        s2s.SequenceCrossEntropy(label_smoothing=recipe.label_smoothing),
    )
    return model


def train(args, recipe, model, pairs, source_text, target_text):
    """`fit` until the minutes are used up; what was done before an interruption counts."""
    sampled = lambda text, alpha: text.sampled(alpha) if alpha else text
    alphas = recipe.source_sampling, recipe.target_sampling
    batches = s2s.batches(
        pairs.train,
        *map(sampled, (source_text, target_text), alphas),
        batch_tokens=recipe.batch_tokens,
        seed=args.seed,
        cache=not any(alphas),
    )
    valid = s2s.batches(pairs.valid, source_text, target_text, batch_size=100, shuffle=False)
    budget = s2s.TimeBudget(args.minutes, peak=recipe.learning_rate, warmup_steps=recipe.warmup_steps)
    callbacks = [budget, s2s.Monitor(args.output / "logs"), s2s.Resume(args.output / "checkpoints")]
    if recipe.average:
        callbacks.append(s2s.MovingAverage())
    verbose = 1 if sys.stdout.isatty() else 2
    model.fit(batches, validation_data=valid, epochs=10_000, callbacks=callbacks, verbose=verbose)


def generator_of(model, source_text, target_text, beam_size, alpha):
    if beam_size == 1:
        strategy = s2s.Greedy(max_length=80)
    else:
        penalty = s2s.LengthPenalty("gnmt", alpha=alpha) if alpha else "none"
        strategy = s2s.BeamSearch(beam_size, length_penalty=penalty, n_best=1, max_length=80)
    return s2s.TextGenerator(model, source_text, target_text, strategy)


def translated(generator, sources):
    """Translations, the sources taken in order of length."""
    order = sorted(range(len(sources)), key=lambda row: len(sources[row]))
    found = dict(zip(order, generate_texts(generator, [sources[row] for row in order])))
    return [found[row] for row in range(len(sources))]


def search_on(sources, references, make):
    """The beam size and the penalty of the best lower-cased BLEU on val, and that of each."""
    found = {}
    for beam_size, alpha in [(1, 0.0), *((beam, alpha) for beam in BEAMS[1:] for alpha in PENALTIES)]:
        hypotheses = translated(make(beam_size, alpha), sources)
        found[beam_size, alpha] = s2s.corpus_bleu(hypotheses, references, lowercase=True).value
        print(f"val: beam {beam_size}, length penalty {alpha}: {found[beam_size, alpha]:.2f}", flush=True)
    best = max(found, key=found.get)
    return best, {f"beam {beam}, alpha {alpha}": round(value, 2) for (beam, alpha), value in found.items()}


def scores(hypotheses, references, language):
    """Lower-cased and cased BLEU on detokenised text, and the lower-cased one on Moses's tokens."""
    lowercased = s2s.corpus_bleu(hypotheses, references, lowercase=True)
    cased = s2s.corpus_bleu(hypotheses, references)
    found = {"bleu_lc": round(lowercased.value, 2), "bleu_13a": round(cased.value, 2)}
    found |= {"signature": lowercased.signature, "bleu_tok_lc": None}
    try:
        from sacremoses import MosesTokenizer
    except ImportError:
        print("tokenised BLEU needs sacremoses: pip install sacremoses")
        return found
    tokens = MosesTokenizer(lang=language)
    split = lambda lines: [tokens.tokenize(line, escape=False, return_str=True).lower() for line in lines]
    tokenised = s2s.corpus_bleu(split(hypotheses), split(references), tokenize="none")
    return found | {"bleu_tok_lc": round(tokenised.value, 2)}


def commit():
    """The repository's commit, or "" where there is none."""
    try:
        command = ["git", "-C", str(RESULTS.parent), "rev-parse", "--short", "HEAD"]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def processor():
    try:
        return re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text()).group(1)
    except (OSError, AttributeError):
        return platform.processor() or platform.machine()


def main(argv=None):
    args = arguments(argv)
    tf.config.threading.set_intra_op_parallelism_threads(args.threads)
    tf.config.threading.set_inter_op_parallelism_threads(args.threads)
    keras.utils.set_random_seed(args.seed)
    precision = s2s.fastest_policy() if args.precision == "auto" else args.precision
    keras.config.set_dtype_policy(precision)
    recipe = MODELS[args.model]
    pairs = corpus(args)
    source_text, target_text = texts(recipe, pairs)
    model = build(recipe, source_text, target_text)
    rich.print(pairs, f"{args.model}: {model.count_params():,} parameters, {precision}")
    train(args, recipe, model, pairs, source_text, target_text)

    make = lambda beam, alpha: generator_of(model, source_text, target_text, beam, alpha)
    sources, references = zip(*read_pairs(pairs.valid))
    (beam_size, alpha), val = search_on(sources, references, make)
    generator = make(beam_size, alpha)
    generator.save(args.output / "generator")
    sources, references = zip(*read_pairs(pairs.test))
    hypotheses = translated(generator, sources)
    (args.output / "test.hyp.txt").write_text("".join(line + "\n" for line in hypotheses), encoding="utf8")
    test = scores(hypotheses, references, args.pair.split("-")[1])
    result = {
        "pair": args.pair,
        "model": args.model,
        "parameters": model.count_params(),
        "seed": args.seed,
        "minutes": args.minutes,
        "threads": args.threads or len(os.sched_getaffinity(0)),
        "steps": int(model.optimizer.iterations),
        "precision": precision,
        "beam_size": beam_size,
        "length_penalty": alpha,
        "val_bleu_lc": max(val.values()),
        "val_searches": val,
        **{name if name == "signature" else f"test_{name}": value for name, value in test.items()},
        "hardware": f"{processor()}, {os.cpu_count()} cores",
        "commit": commit(),
        "recipe": asdict(recipe),
    }
    args.result.parent.mkdir(parents=True, exist_ok=True)
    args.result.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf8")
    table = Table("", "", box=None)
    for name in ("pair", "model", "parameters", "val_bleu_lc", *[name for name in result if "test" in name]):
        table.add_row(name, str(result[name]))
    rich.print(table)


if __name__ == "__main__":
    main()
