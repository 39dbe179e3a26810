"""Trains models of the zoo on a task whose answer is known: to reverse, copy or sort a string, or to add two numbers.

    python experiments/synthetic_tasks.py --task reverse --model luong2015

A sound model with attention gets at least 98 of 100 fresh strings right to the last letter after a few minutes on two
cores; a model that does not has a mistake in it. Read it from top to bottom.
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path

import keras

import tf_seq2seq as s2s
from tf_seq2seq.evaluation.evaluate import generate_texts, read_pairs
from tf_seq2seq.files import replacing

WITH_ATTENTION = ["bahdanau2015", "luong2015", "gnmt"]
MODELS = {
    "bahdanau2015": {"units": 128, "embedding_size": 64},
    "luong2015": {"units": 128, "embedding_size": 64, "depth": 1, "dropout": 0.0},
    "gnmt": {"units": 128, "embedding_size": 64, "depth": 2, "dropout": 0.0},
    "plain": {"units": 256, "embedding_size": 64},
    "sutskever2014": {"units": 256, "embedding_size": 64, "depth": 2},
    "cho2014": {"units": 256, "embedding_size": 64},
}


def arguments(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--task", default="reverse", choices=list(s2s.SYNTHETIC_TASKS))
    parser.add_argument("--model", default="all", choices=[*MODELS, "all"], help="all: those with attention")
    parser.add_argument("--minutes", type=float, default=4, help="of training of a model, at most")
    parser.add_argument("--enough", type=float, default=0.995, help="validation exact match to stop at")
    parser.add_argument("--max-length", type=int, help="of a source; 20 letters, or 7 signs of an addition")
    parser.add_argument("--pairs", type=int, default=100_000, help="to train on")
    parser.add_argument("--examples", type=int, default=1000, help="to validate with, and as many to test")
    parser.add_argument("--steps", type=int, default=100, help="between two validations")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument(
        "--learning-rate", type=float, default=3e-3, help="after the warm-up; it falls to zero"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--output", help="JSON file of results; runs/synthetic_TASK.json")
    return parser.parse_args(argv)


def prepare(args):
    """Pairs of strings, none of them in two splits, and the letters that occur on each side."""
    task = s2s.SyntheticTask(args.task, max_length=args.max_length, spaced=False, seed=args.seed)
    pairs = task.pairs(train=args.pairs, valid=args.examples, test=args.examples)
    some = pairs.train.take(2000)
    source_text = s2s.TextProcessor.fit(some.map(lambda source, _: source), "characters")
    target_text = s2s.TextProcessor.fit(some.map(lambda _, target: target), "characters")
    return task, pairs, source_text, target_text


def build(args, name, source_text, target_text):
    """A model of the zoo in a small size."""
    model = getattr(s2s, name)(source_text.vocab_size, target_text.vocab_size, **MODELS[name])
    model.compile(keras.optimizers.Adam(args.learning_rate, global_clipnorm=1.0), s2s.SequenceCrossEntropy())
    return model


def exact_match(generator, split):
    """Share of a split's targets that the generator gives letter by letter."""
    sources, references = zip(*read_pairs(split))
    return s2s.exact_match(generate_texts(generator, sources, batch_size=250), references)


class StopWhenLearnt(keras.callbacks.Callback):
    """Ends `fit` after the epoch in which enough validation strings were answered without a fault."""

    def __init__(self, generator, split, enough):
        super().__init__()
        self.generator, self.split, self.enough = generator, split, enough

    def on_epoch_end(self, epoch, logs=None):
        logs["val_exact_match"] = exact_match(self.generator, self.split)
        if logs["val_exact_match"] >= self.enough:
            self.model.stop_training = True


def train(args, model, generator, pairs):
    """Plain `fit`; an epoch is `--steps` batches."""
    batches = s2s.batches(
        pairs.train,
        generator.source_text,
        generator.target_text,
        batch_size=args.batch_size,
        seed=args.seed,
        cache=True,
    )
    budget = s2s.TimeBudget(args.minutes, peak=args.learning_rate, warmup_steps=100)
    stop = StopWhenLearnt(generator, pairs.valid, args.enough)
    model.fit(
        batches.repeat(), steps_per_epoch=args.steps, epochs=10_000, callbacks=[stop, budget], verbose=2
    )


def run(args, name):
    """Trains one model and asks it for strings that it has never seen: what came of it, as a dict."""
    keras.utils.set_random_seed(args.seed)
    task, pairs, source_text, target_text = prepare(args)
    model = build(args, name, source_text, target_text)
    generator = s2s.TextGenerator(model, source_text, target_text, s2s.Greedy(max_length=task.max_length + 1))

    print(f"{name}: {model.count_params():,} parameters", flush=True)
    start, processor_start = time.monotonic(), time.process_time()
    train(args, model, generator, pairs)
    seconds, processor_seconds = time.monotonic() - start, time.process_time() - processor_start

    steps = int(model.optimizer.iterations)
    score = exact_match(generator, pairs.test)
    print(f"{name}, {args.task}: exact match {score:.3f} after {steps} steps, {seconds:.0f} seconds")
    for source, _ in read_pairs(pairs.test, 5):
        hypothesis = generator(source).best()[0]
        print(f"  {source} -> {hypothesis}", "" if hypothesis == task.answer(source) else "(wrong)")
    return {
        "exact_match": score,
        "test_examples": args.examples,
        "steps": steps,
        "seconds": round(seconds, 1),
        "processor_seconds": round(processor_seconds, 1),
        "batch_size": args.batch_size,
        "parameters": model.count_params(),
    }


def main(argv=None):
    argv = sys.argv[1:] if argv is None else argv
    args = arguments(argv)
    output = Path(args.output or f"runs/synthetic_{args.task}.json")
    results = json.loads(output.read_text(encoding="utf-8")) if output.exists() else {}
    for name in WITH_ATTENTION if args.model == "all" else [args.model]:
        results[name] = {
            "command": " ".join(["python experiments/synthetic_tasks.py", *argv]),
            "seed": args.seed,
            "hardware": f"{os.cpu_count()} cores",
            **run(args, name),
        }
        with replacing(output) as new:
            new.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    print(f"results: {output}")


if __name__ == "__main__":
    main()
