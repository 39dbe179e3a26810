"""Figures for the questions that everybody asks: what does this switch do? One small training a setting, all else equal.

    python experiments/faq_figures.py --data multi30k
    python experiments/faq_figures.py --data multi30k --only "r-drop 5" --only default

Each setting is the default with a few changes. A run trains on the first 5,000 pairs of Multi30k (German to English) for
a fixed number of epochs on one core, some two minutes, and is measured on the 1,014 pairs of its validation set:
perplexity, and lower-cased BLEU of greedy search. With so little data and one seed, half a point of BLEU is chance.
Results go to a JSON file, a setting an entry; those that are there already are not run again.
"""

import argparse
import gzip
import json
import math
import time
from pathlib import Path

import keras
import tensorflow as tf

import tf_seq2seq as s2s
from tf_seq2seq.evaluation.evaluate import generate_texts
from tf_seq2seq.files import replacing

DEFAULT = {
    "pairs": 5000,
    "pieces": 3000,
    "units": 256,
    "embedding_size": 128,
    "depth": 1,
    "dropout": 0.3,
    "label_smoothing": 0.1,
    "batch_size": 64,  # pairs
    "learning_rate": 4e-3,  # at its highest
    "clip": 1.0,  # norm of the whole gradient
    "epochs": 10,
    "objective": lambda steps: None,  # of the number of steps of the whole training
}


def half_way(steps):
    """The inverse sigmoid whose share of the reference is a half when half the steps are made."""
    k = 1.0
    while k * math.log(k) < steps / 2:
        k += 1.0
    return s2s.InverseSigmoidTeacher(k)


SETTINGS = {
    "default": {},
    "label smoothing 0": {"label_smoothing": 0.0},
    "scheduled sampling, sampled": {"objective": lambda steps: s2s.ScheduledSampling(half_way(steps))},
    "scheduled sampling, a quarter": {
        "objective": lambda steps: s2s.ScheduledSampling(s2s.LinearTeacher(0.25 / steps, least=0.75))
    },
    "r-drop 5": {"objective": lambda steps: s2s.RDrop(5.0)},
    "scheduled sampling, likeliest": {
        "objective": lambda steps: s2s.ScheduledSampling(half_way(steps), "likeliest")
    },
    "scheduled sampling, at once": {
        "objective": lambda steps: s2s.ScheduledSampling(half_way(steps), exact=False)
    },
    "r-drop 1": {"objective": lambda steps: s2s.RDrop(1.0)},
}


def arguments(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument(
        "--data", required=True, help="folder with train.de.gz, train.en.gz, val.de.gz, val.en.gz"
    )
    parser.add_argument("--only", action="append", choices=[*SETTINGS], help="a setting; may be given again")
    parser.add_argument("--output", default=str(Path(__file__).parent / "results" / "faq.json"))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    for name in ("pairs", "pieces", "units", "epochs"):  # for a quick look
        parser.add_argument(f"--{name}", type=int, default=DEFAULT[name], help=f"{DEFAULT[name]} by default")
    return parser.parse_args(argv)


def read(folder, split, count=None):
    """The sentences of a split: German, English."""
    sides = []
    for language in ("de", "en"):
        with gzip.open(Path(folder) / f"{split}.{language}.gz", "rt", encoding="utf-8") as file:
            sides.append([line.strip() for line in file][:count])
    return sides


def texts(train, setting):
    """A subword model of each side."""
    return [s2s.TextProcessor.fit(side, vocab_size=setting["pieces"]) for side in train]


def dataset(sides, source_text, target_text, **options):
    pairs = tf.data.Dataset.from_tensor_slices(tuple(sides))
    return s2s.batches(pairs, source_text, target_text, **options)


def build(setting, source_text, target_text, steps):
    model = s2s.luong2015(
        source_text.vocab_size,
        target_text.vocab_size,
        units=setting["units"],
        depth=setting["depth"],
        embedding_size=setting["embedding_size"],
        dropout=setting["dropout"],
        bidirectional=True,
        input_feeding=False,
        tied=True,
    )
    falling = keras.optimizers.schedules.PolynomialDecay(setting["learning_rate"], steps, 0.0)
    model.compile(
        keras.optimizers.Adam(s2s.Warmup(falling, steps // 20), global_clipnorm=setting["clip"]),
        s2s.SequenceCrossEntropy(setting["label_smoothing"]),
        objective=setting["objective"](steps),
    )
    return model


def run(setting, args):
    """Trains and measures one setting: a dict of figures."""
    keras.utils.set_random_seed(args.seed)
    train, valid = read(args.data, "train", setting["pairs"]), read(args.data, "val")
    source_text, target_text = texts(train, setting)
    data = dataset(
        train, source_text, target_text, batch_size=setting["batch_size"], cache=True, seed=args.seed
    )
    steps = sum(1 for _ in data) * setting["epochs"]
    model = build(setting, source_text, target_text, steps)
    held_out = dataset(valid, source_text, target_text, batch_size=100, shuffle=False)
    start = time.process_time()
    history = model.fit(data, validation_data=held_out, epochs=setting["epochs"], verbose=2).history
    seconds = time.process_time() - start  # of this process, whatever else the machine does
    generator = s2s.TextGenerator(model, source_text, target_text, s2s.Greedy(max_length=60))
    bleu = s2s.corpus_bleu(generate_texts(generator, valid[0]), valid[1], lowercase=True)
    return {
        "val_perplexity": history["val_perplexity"][-1],
        "val_perplexities": [round(value, 2) for value in history["val_perplexity"]],
        "train_perplexity": history["perplexity"][-1],
        "val_bleu_lc": bleu.value,
        "signature": bleu.signature,
        "cpu_seconds": round(seconds, 1),
        "steps": steps,
        "parameters": model.count_params(),
    }


def described(setting, steps=1000):
    """A setting as JSON can hold it."""
    objective = setting["objective"](steps)
    name = objective and {type(objective).__name__: objective.get_config()}
    return {**setting, "objective": name}


def main(argv=None):
    args = arguments(argv)
    tf.config.threading.set_intra_op_parallelism_threads(args.threads)
    tf.config.threading.set_inter_op_parallelism_threads(args.threads)
    output = Path(args.output)
    for name in args.only or SETTINGS:
        done = json.loads(output.read_text(encoding="utf-8")) if output.exists() else {}
        if name in done:
            print(f"{name}: there already")
            continue
        given = {key: getattr(args, key) for key in ("pairs", "pieces", "units", "epochs")}
        setting = {**DEFAULT, **given, **SETTINGS[name]}
        figures = run(setting, args)
        entry = {**figures, "seed": args.seed, "threads": args.threads}
        done[name] = {**entry, "setting": described(setting, figures["steps"])}
        output.parent.mkdir(parents=True, exist_ok=True)
        with replacing(output) as new:
            new.write_text(json.dumps(done, indent=2) + "\n", encoding="utf-8")
        print(f"{name}: perplexity {figures['val_perplexity']:.2f}, BLEU {figures['val_bleu_lc']:.1f}")


if __name__ == "__main__":
    main()
