"""Trains a Spanish -> English translator on real sentences, scores it, exports it and asks the export for an answer.

    python experiments/translate_tatoeba.py --output runs/demo

It takes about ten minutes on two cores, `--minutes` of them for training. Read it from top to bottom: every step of a
sequence-to-sequence project is here, in the order in which it is needed.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import keras
import rich
from rich.table import Table

import tf_seq2seq as s2s
from tf_seq2seq.evaluation import report


def arguments(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--output", default="runs/demo", help="folder for everything that is made")
    parser.add_argument("--minutes", type=float, default=8, help="of training")
    parser.add_argument("--words", type=int, default=7, help="of the longest Spanish sentence")
    parser.add_argument("--pieces", type=int, default=5000, help="subword pieces of each language")
    parser.add_argument("--units", type=int, default=512, help="size of each recurrent layer")
    parser.add_argument("--embedding-size", type=int, default=256)
    parser.add_argument("--dropout", type=float, default=0.1)
    parser.add_argument("--label-smoothing", type=float, default=0.05)
    parser.add_argument("--batch-tokens", type=int, default=600, help="target tokens a batch")
    parser.add_argument(
        "--learning-rate", type=float, default=4e-3, help="after the warm-up; it falls to zero"
    )
    parser.add_argument("--precision", default="auto", help="auto, float32, mixed_bfloat16 or mixed_float16")
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args(argv)


def prepare(args):
    """The corpus, split so that no sentence is in two parts, and a subword model of each language."""
    pairs = s2s.index_pairs(
        "tatoeba_es_en",
        valid=500,
        test=1500,
        keep={
            "train": s2s.Limits(source_words=args.words, target_words=args.words + 2),
            "valid": s2s.Limits(source_words=args.words),
            "test": s2s.Limits(source_words=args.words),
        },
    )
    source_text = s2s.TextProcessor.fit(pairs.train.map(lambda source, _: source), vocab_size=args.pieces)
    target_text = s2s.TextProcessor.fit(pairs.train.map(lambda _, target: target), vocab_size=args.pieces)
    return pairs, source_text, target_text


def build(args, source_text, target_text):
    """A bidirectional LSTM encoder, an LSTM decoder with Luong's attention, no input feeding: all of it vectorised."""
    model = s2s.luong2015(
        source_text.vocab_size,
        target_text.vocab_size,
        units=args.units,
        depth=1,
        embedding_size=args.embedding_size,
        dropout=args.dropout,
        bidirectional=True,
        input_feeding=False,
        tied=True,
    )
    model.compile(
        keras.optimizers.Adam(args.learning_rate, global_clipnorm=1.0),
        s2s.SequenceCrossEntropy(label_smoothing=args.label_smoothing),
    )
    return model


def train(args, model, generator, pairs, source_text, target_text):
    """Plain `fit`; the learning rate follows the clock and is zero when the minutes are used up."""
    batches = s2s.batches(
        pairs.train, source_text, target_text, batch_tokens=args.batch_tokens, seed=args.seed, cache=True
    )
    valid = s2s.batches(pairs.valid, source_text, target_text, batch_size=100, shuffle=False)
    budget = s2s.TimeBudget(args.minutes, peak=args.learning_rate, warmup_steps=200)
    monitor = s2s.Monitor(Path(args.output) / "logs", generator, pairs.valid, gradient_norm=False)
    verbose = 1 if sys.stdout.isatty() else 2  # a bar for a person, a line an epoch for a file
    return model.fit(
        batches, validation_data=valid, epochs=1000, callbacks=[budget, monitor], verbose=verbose
    )


# What a program elsewhere needs to use the export: TensorFlow, TF-Text, and nothing of this package.
ASK = """
import sys, tensorflow as tf, tensorflow_text
translate = tf.saved_model.load(sys.argv[1]).signatures["serving_default"]
print(translate(text=tf.constant([sys.argv[2]]))["text"].numpy()[0].decode())
"""


def ask_export(folder, sentence):
    """The exported model's answer, from a fresh process."""
    quiet = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "-c", ASK, str(folder), sentence]
    return subprocess.run(command, check=True, capture_output=True, text=True, env=quiet).stdout.strip()


def learning_curve(history):
    """A table of the epochs, a bar for the perplexity of the validation set."""
    table = Table("epoch", "loss", "perplexity", "valid. perplexity", "valid. BLEU", "", box=None)
    highest = max(history["val_perplexity"])
    for epoch, values in enumerate(zip(*(history[name] for name in CURVE)), start=1):
        bar = "█" * max(1, round(14 * values[2] / highest))
        table.add_row(str(epoch), *(f"{value:.2f}" for value in values), bar)
    return table


CURVE = ("loss", "perplexity", "val_perplexity", "val_bleu")


def heading(number, text):
    rich.print(f"\n[bold cyan]{number}. {text}[/bold cyan]")


def main(argv=None):
    args = arguments(argv)
    output = Path(args.output)
    output.mkdir(parents=True, exist_ok=True)
    keras.utils.set_random_seed(args.seed)
    precision = s2s.fastest_policy() if args.precision == "auto" else args.precision
    keras.config.set_dtype_policy(precision)

    heading(1, "Data")
    pairs, source_text, target_text = prepare(args)
    print(pairs)

    heading(2, f"Training for {args.minutes:g} minutes in {precision}")
    model = build(args, source_text, target_text)
    generator = s2s.TextGenerator(model, source_text, target_text, s2s.BeamSearch(5, n_best=1, max_length=40))
    start = time.monotonic()
    history = train(args, model, generator, pairs, source_text, target_text).history
    seconds = time.monotonic() - start
    generator.save(output / "generator")
    rich.print(learning_curve(history))

    heading(3, f"Scores on {len(pairs.test):,} sentences of up to {args.words} words that were held out")
    evaluation = s2s.evaluate(generator, pairs.test)
    rich.print(report.scores_table(evaluation))
    rich.print(report.samples_table(report.sample_rows(evaluation, 10)))
    results = report.numbers(evaluation) | {
        "test_pairs": len(evaluation.references),
        "train_pairs": pairs.counts["train"],
        "training_seconds": seconds,
        "epochs": len(history["loss"]),
        "steps": int(model.optimizer.iterations),
        "parameters": model.count_params(),
        "precision": precision,
        "arguments": vars(args),
    }
    (output / "results.json").write_text(json.dumps(results, indent=2, ensure_ascii=False) + "\n")

    heading(4, "A look inside")
    sentence = "¿Dónde está la estación de tren?"
    s2s.plot_generated(generator, sentence, path=output / "attention.png")
    print(f"attention heat map:  {output / 'attention.png'}")
    print(f"TensorBoard:         .venv/bin/tensorboard --logdir {output / 'logs'}")

    heading(5, "Export")
    export = s2s.export_saved_model(generator, output / "export")
    print(f"SavedModel:          {export}")
    print(f"asked in a process of its own, it translates  {sentence}  as  {ask_export(export, sentence)}")

    heading(6, "Your turn")
    print(f"echo 'Me gusta el café.' | .venv/bin/tf-seq2seq generate --model {output / 'generator'} -")


if __name__ == "__main__":
    main()
