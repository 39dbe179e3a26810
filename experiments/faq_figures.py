"""Figures for the questions that everybody asks: what does this switch do? One small training a setting, all else equal.

    python experiments/faq_figures.py --data multi30k
    python experiments/faq_figures.py --data multi30k --only "R-Drop 5" --only default

Each setting is the default with a few changes. A run trains on the first 5,000 pairs of Multi30k (German to English) for
a fixed number of epochs on one core, some two minutes, and is measured on the 1,014 pairs of its validation set:
perplexity, and lower-cased BLEU of greedy search. With so little data and one seed, half a point of BLEU is chance.
Results go to a JSON file, a setting an entry; those that are there already are not run again. Times are told as multiples of
the default's on the same processor; on another one than before, the default is run once more for that.
"""

import argparse
import gzip
import json
import math
import time
from pathlib import Path

import keras
import tensorflow as tf
from marked_tables import with_table
from translate_multi30k import processor

import tf_seq2seq as s2s
from tf_seq2seq.evaluation.evaluate import generate_texts
from tf_seq2seq.files import replacing

DEFAULT = {
    "pairs": 5000,
    "split": "subwords",
    "pieces": 3000,
    "network": "luong2015",  # of the zoo
    "units": 256,
    "embedding_size": 128,
    "depth": 1,
    "dropout": 0.3,
    "more": {"bidirectional": True, "input_feeding": False, "tied": True},  # options of the network
    "label_smoothing": 0.1,
    "batch_size": 64,  # pairs
    "sampling": None,  # alpha of subword sampling, on the source
    "noise": {},  # names and arguments
    "learning_rate": 4e-3,  # at its highest
    "optimizer": {"global_clipnorm": 1.0},  # options of Adam; with weight decay it is AdamW
    "epochs": 10,
    "objective": lambda steps: None,  # of the number of steps of the whole training
}


def half_way(steps):
    """The inverse sigmoid whose share of the reference is a half when half the steps are made."""
    k = 1.0
    while k * math.log(k) < steps / 2:
        k += 1.0
    return s2s.InverseSigmoidTeacher(k)


def sampling(least=None, **options):
    """Scheduled sampling down to a share of the reference at the end, or by `half_way`."""
    teacher = half_way if least is None else lambda steps: s2s.LinearTeacher((1 - least) / steps, least=least)
    return {"objective": lambda steps: s2s.ScheduledSampling(teacher(steps), **options)}


def network(**more):
    """Other options of the network."""
    return {"more": DEFAULT["more"] | more}


QUESTIONS = {
    "": {"default": {}},
    "Teacher forcing or the model's own words?": {
        "scheduled sampling, a quarter at the end": sampling(0.75),
        "scheduled sampling, half of it half-way": sampling(),
        "the likeliest token in place of a drawn one": sampling(choice="likeliest"),
        "a second pass in place of the loop": sampling(exact=False),
        "word dropout on the target 0.1": {"noise": {"WordDropout": [0.1, "target"]}},
    },
    "Which batch size?": {
        "16 pairs": {"batch_size": 16},
        "16 pairs, learning rate 0.002": {"batch_size": 16, "learning_rate": 2e-3},
        "256 pairs": {"batch_size": 256},
        "256 pairs, learning rate 0.008": {"batch_size": 256, "learning_rate": 8e-3},
    },
    "Which learning rate?": {
        "0.001": {"learning_rate": 1e-3},
        "0.016": {"learning_rate": 1.6e-2},
    },
    "Exploding gradients: clip them?": {
        "no clipping": {"optimizer": {}},
        "norm of the whole at most 0.1": {"optimizer": {"global_clipnorm": 0.1}},
        "values at most 0.01": {"optimizer": {"clipvalue": 0.01}},
        "learning rate 0.016, no clipping": {"learning_rate": 1.6e-2, "optimizer": {}},
    },
    "Overfitting?": {
        "dropout 0": {"dropout": 0.0},
        "dropout 0.5": {"dropout": 0.5},
        "variational dropout": network(variational=True),
        "recurrent dropout 0.1": network(recurrent_dropout=0.1),
        "label smoothing 0": {"label_smoothing": 0.0},
        "R-Drop 1": {"objective": lambda steps: s2s.RDrop(1.0)},
        "R-Drop 5": {"objective": lambda steps: s2s.RDrop(5.0)},
        "word dropout on the source 0.1": {"noise": {"WordDropout": [0.1, "source"]}},
        "subword sampling of the source, alpha 0.2": {"sampling": 0.2},
        "weight decay 0.01": {"optimizer": {"global_clipnorm": 1.0, "weight_decay": 0.01}},
        "moving average of the weights": {
            "optimizer": {"global_clipnorm": 1.0, "use_ema": True, "ema_momentum": 0.99}
        },
        "vectors not tied": network(tied=False),
    },
    "Which model?": {
        "no attention": {"network": "plain", "more": {}},
        "one direction": network(bidirectional=False),
        "input feeding": network(input_feeding=True),
        "2 layers": {"depth": 2},
        "128 units": {"units": 128},
    },
    "Which tokens?": {
        "1,000 subwords": {"pieces": 1000},
        "words": {"split": "words"},
    },
}
SETTINGS = {name: changes for settings in QUESTIONS.values() for name, changes in settings.items()}
HERE = Path(__file__).resolve().parent
MARKS = "<!-- faq: made by faq_figures.py -->", "<!-- faq: end -->"


def arguments(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument(
        "--data", required=True, help="folder with train.de.gz, train.en.gz, val.de.gz, val.en.gz"
    )
    parser.add_argument("--only", action="append", choices=[*SETTINGS], help="a setting; may be given again")
    parser.add_argument("--output", default=str(HERE / "results" / "faq.json"))
    parser.add_argument("--page", default=str(HERE / "faq.md"), help="the page whose table is written anew")
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
    return [s2s.TextProcessor.fit(side, setting["split"], vocab_size=setting["pieces"]) for side in train]


def dataset(sides, source_text, target_text, **options):
    pairs = tf.data.Dataset.from_tensor_slices(tuple(sides))
    return s2s.batches(pairs, source_text, target_text, **options)


def build(setting, source_text, target_text, steps):
    options = {name: setting[name] for name in ("units", "depth", "embedding_size", "dropout")}
    make = getattr(s2s, setting["network"])
    model = make(source_text.vocab_size, target_text.vocab_size, **options, **setting["more"])
    falling = keras.optimizers.schedules.PolynomialDecay(setting["learning_rate"], steps, 0.0)
    adam = keras.optimizers.AdamW if "weight_decay" in setting["optimizer"] else keras.optimizers.Adam
    model.compile(
        adam(s2s.Warmup(falling, steps // 20), **setting["optimizer"]),
        s2s.SequenceCrossEntropy(setting["label_smoothing"]),
        objective=setting["objective"](steps),
    )
    return model


def run(setting, args):
    """Trains and measures one setting: a dict of figures."""
    keras.utils.set_random_seed(args.seed)
    train, valid = read(args.data, "train", setting["pairs"]), read(args.data, "val")
    source_text, target_text = texts(train, setting)
    sampled = source_text.sampled(setting["sampling"]) if setting["sampling"] else source_text
    noise = [getattr(s2s, name)(*given) for name, given in setting["noise"].items()]
    options = {"batch_size": setting["batch_size"], "cache": sampled is source_text, "seed": args.seed}
    steps = sum(1 for _ in dataset(train, sampled, target_text, **options)) * setting["epochs"]
    data = dataset(train, sampled, target_text, noise=noise, **options)
    model = build(setting, source_text, target_text, steps)
    held_out = dataset(valid, source_text, target_text, batch_size=100, shuffle=False)
    start = time.process_time()
    callbacks = [s2s.MovingAverage()] if setting["optimizer"].get("use_ema") else []
    history = model.fit(
        data, validation_data=held_out, epochs=setting["epochs"], callbacks=callbacks, verbose=2
    ).history
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


def table(done):
    """The settings that were run, a question after the other, in Markdown.

    >>> one = dict.fromkeys(["train_perplexity", "val_perplexity", "val_bleu_lc"], 2.0) | {"processor": "it"}
    >>> default = {**one, "default_seconds": {"it": 8.0}, "cpu_seconds": 8.0}
    >>> print(table({"default": default, "dropout 0": {**one, "cpu_seconds": 10.0}}))
    | question | setting | perplexity, training | perplexity, validation | BLEU | processor time |
    |---|---|---|---|---|---|
    |  | default | 2.0 | 2.0 | 2.0 | 1.00 |
    | Overfitting? | dropout 0 | 2.0 | 2.0 | 2.0 | 1.25 |
    """
    lines = ["| question | setting | perplexity, training | perplexity, validation | BLEU | processor time |"]
    lines.append("|---|---|---|---|---|---|")
    for question, settings in QUESTIONS.items():
        for name in [name for name in settings if name in done]:
            one = done[name]
            figures = [one[key] for key in ("train_perplexity", "val_perplexity", "val_bleu_lc")]
            time = one["cpu_seconds"] / done["default"]["default_seconds"][one["processor"]]
            cells = [question, name, *(f"{figure:.1f}" for figure in figures), f"{time:.2f}"]
            lines.append("| " + " | ".join(cells) + " |")
            question = ""
    return "\n".join(lines)


def write_table(page, done):
    """Puts the table between its marks in a page."""
    text = with_table(page.read_text(encoding="utf-8"), table(done), MARKS)
    with replacing(page) as new:
        new.write_text(text, encoding="utf-8")


def main(argv=None):
    args = arguments(argv)
    tf.config.threading.set_intra_op_parallelism_threads(args.threads)
    tf.config.threading.set_inter_op_parallelism_threads(args.threads)
    output, here = Path(args.output), processor()
    done = json.loads(output.read_text(encoding="utf-8")) if output.exists() else {}
    seconds = done.get("default", {}).get("default_seconds", {})
    for name in dict.fromkeys(["default", *(args.only or SETTINGS)]):
        if name in done and (name != "default" or here in seconds):
            print(f"{name}: there already")
            continue
        given = {key: getattr(args, key) for key in ("pairs", "pieces", "units", "epochs")}
        setting = {**DEFAULT, **given, **SETTINGS[name]}
        figures = run(setting, args)
        entry = {**figures, "seed": args.seed, "threads": args.threads, "processor": here}
        entry["setting"] = described(setting, figures["steps"])
        if name == "default":
            seconds[here] = entry["cpu_seconds"]
            entry = {**done.get(name, entry), "default_seconds": seconds}
        done[name] = entry
        output.parent.mkdir(parents=True, exist_ok=True)
        with replacing(output) as new:
            new.write_text(json.dumps(done, indent=2) + "\n", encoding="utf-8")
        write_table(Path(args.page), done)
        print(f"{name}: perplexity {figures['val_perplexity']:.2f}, BLEU {figures['val_bleu_lc']:.1f}")


if __name__ == "__main__":
    main()
