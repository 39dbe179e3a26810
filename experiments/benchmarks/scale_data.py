"""A corpus as large as one likes: made, sharded and read for whole epochs as training reads it.

    python experiments/benchmarks/scale_data.py --pairs 20000000 --work /tmp/scale_data

Makes up pairs of ids (frequencies by Zipf's law, lengths as of everyday and news sentences), writes them as shards with
`write_shards`, and reads epochs through `batches`, shuffled and bucketed. Resident memory and target tokens a second
are noted all along, and drawn beside the JSON. Then a model trains on the same data for a while, so that both speeds
stand side by side. What is there already in --work is not made again. Linux only (/proc).
"""

import argparse
import json
import os
import threading
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("MPLBACKEND", "Agg")

import keras
import numpy as np
import tensorflow as tf

import tf_seq2seq as s2s
from tf_seq2seq.data.shards import Shards, write_shards
from tf_seq2seq.files import replacing

VOCABULARY, SPECIAL = 32_000, 4  # ids, and those of them that are PAD, UNK, START and END
CHUNK = 1_024  # pairs made at once
SAMPLE_SECONDS = 1
WINDOW = 5  # samples over which speed is taken


class Samples(threading.Thread):
    """Notes resident memory, and how many target tokens came by, every few seconds."""

    def __init__(self):
        super().__init__(daemon=True)
        self.began, self.doing, self.tokens, self.rows = time.monotonic(), "start", 0, []
        self.going = True

    def run(self):
        while self.going:
            now = time.monotonic() - self.began, resident_mb(), self.tokens, time.process_time()
            self.rows.append((self.doing, now))
            time.sleep(SAMPLE_SECONDS)

    def of(self, doing):
        """(seconds, megabytes, tokens, CPU seconds), four arrays, of the time while something was done."""
        return np.array([now for what, now in self.rows if what == doing]).T


def resident_mb():
    """Resident memory of this process, megabytes."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return round(pages * os.sysconf("SC_PAGE_SIZE") / 1e6)


def made_up(pairs, seed=0):
    """Dataset of pairs that gives ragged chunks, as `id_chunks` takes them: nothing is done pair by pair."""
    frequencies = np.cumsum(1 / np.arange(10.0, 10 + VOCABULARY - SPECIAL))

    def chunks():
        for number in range(-(-pairs // CHUNK)):
            random = np.random.default_rng([seed, number])
            rows = min(CHUNK, pairs - number * CHUNK)
            lengths = np.clip(random.lognormal(2.9, 0.6, rows), 1, 150).astype(
                int
            )  # median 18, mean 22 tokens
            others = np.clip(lengths * random.lognormal(0, 0.15, rows), 1, 150).astype(int)
            yield tuple(ragged(random, one, frequencies) for one in (lengths, others))

    spec = tf.RaggedTensorSpec([None, None], tf.int32, row_splits_dtype=tf.int64)
    dataset = tf.data.Dataset.from_generator(chunks, output_signature=(spec, spec))
    split = dataset.unbatch()
    split.chunks, split.chunk_size = lambda seed, epoch: dataset, CHUNK
    return split


def ragged(random, lengths, frequencies):
    """Ids of so many rows, END included: (rows, None) int32."""
    ids = SPECIAL + np.searchsorted(
        frequencies, random.random(lengths.sum() + len(lengths)) * frequencies[-1]
    )
    ends = np.cumsum(lengths + 1)
    ids[ends - 1] = s2s.END
    return tf.RaggedTensor.from_row_splits(ids.astype(np.int32), np.concatenate([[0], ends]))


def read_epoch(data, samples):
    """Takes every batch; counts and seconds."""
    before = samples.tokens
    counts = dict.fromkeys(("batches", "pairs", "target_tokens", "target_places", "source_tokens"), 0)
    wall, cpu, told = time.monotonic(), time.process_time(), time.monotonic()
    for inputs, labels in data:
        labels = labels.numpy()
        counts["batches"] += 1
        counts["pairs"] += len(labels)
        counts["target_places"] += labels.size
        counts["target_tokens"] += int(np.count_nonzero(labels))
        counts["source_tokens"] += int(np.count_nonzero(inputs["source_ids"].numpy()))
        samples.tokens = before + counts["target_tokens"]
        if time.monotonic() - told > 30:
            told = time.monotonic()
            print(f"{counts['pairs']:,} pairs, {resident_mb()} MB", flush=True)
    wall, cpu = time.monotonic() - wall, time.process_time() - cpu
    tokens = counts["target_tokens"]
    return {
        **counts,
        "seconds": round(wall),
        "cpu_seconds": round(cpu),
        "target_tokens_per_second": round(tokens / wall),
        "target_tokens_per_cpu_second": round(tokens / cpu),
        "target_padding": round(1 - tokens / counts["target_places"], 4),
    }


def train(data, seconds):
    """Target tokens a second, and a CPU second, of a model on the same data, after its first steps."""
    keras.config.set_dtype_policy(s2s.fastest_policy())
    model = s2s.luong2015(VOCABULARY, VOCABULARY, units=512, depth=1, embedding_size=256, dropout=0.0)
    model.compile(keras.optimizers.Adam(1e-3, global_clipnorm=1.0))

    class Clock(keras.callbacks.Callback):
        """Ends training when the time is up, and counts from the tenth step on."""

        tokens = 0

        def on_train_batch_end(self, batch, logs=None):
            if batch == 10:
                self.wall, self.cpu, self.before = time.monotonic(), time.process_time(), seen()
            if batch > 10 and time.monotonic() - self.wall > seconds:
                self.model.stop_training = True
                self.tokens = seen() - self.before
                self.wall, self.cpu = time.monotonic() - self.wall, time.process_time() - self.cpu

    seen = lambda: float(model.trackers["loss"].count.numpy())
    clock = Clock()
    model.fit(data, epochs=1, verbose=0, callbacks=[clock])
    return {
        "parameters": model.count_params(),
        "policy": keras.config.dtype_policy().name,
        "target_tokens_per_second": round(clock.tokens / clock.wall),
        "target_tokens_per_cpu_second": round(clock.tokens / clock.cpu),
    }


def plot(seconds, megabytes, counts, cpu, path):
    """Draws resident memory and speed over time."""
    from matplotlib import pyplot

    figure, (upper, lower) = pyplot.subplots(2, 1, sharex=True, figsize=(8, 5), layout="constrained")
    upper.plot(seconds, megabytes)
    upper.set(ylim=(0, 1.2 * max(megabytes)), ylabel="resident memory, MB")
    upper.set_title(f"{counts[-1]:,.0f} target tokens, read as training reads them")
    tokens = np.diff(counts[::WINDOW]) / 1e6
    for label, clock in (("a second", seconds), ("a processor second", cpu)):
        lower.plot(seconds[WINDOW::WINDOW], tokens / np.diff(clock[::WINDOW]), label=label)
    lower.set(ylim=(0, 1.2 * lower.get_ylim()[1]), ylabel="million target tokens", xlabel="seconds")
    lower.legend()
    with replacing(path) as new:
        figure.savefig(new, dpi=110)
    pyplot.close(figure)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--pairs", type=int, default=20_000_000)
    parser.add_argument("--shards", type=int, default=64)
    parser.add_argument("--batch-tokens", type=int, default=4096, help="target tokens a batch, with padding")
    parser.add_argument("--epochs", type=int, default=3, help="how often all is read")
    parser.add_argument("--train-seconds", type=int, default=120)
    parser.add_argument("--work", default="runs/scale_data", help="where the shards are, or are made")
    parser.add_argument("--output", default="experiments/results/scale_data.json")
    options = parser.parse_args()
    folder = Path(options.work) / f"{options.pairs}-pairs-{options.shards}-shards"
    samples = Samples()
    samples.start()
    samples.doing = "write"
    made = sharded(folder, options.pairs, options.shards)
    shards = Shards(folder)
    batches = lambda: s2s.batches(shards.split(), batch_tokens=options.batch_tokens)
    samples.doing = "read"
    data = batches()
    epochs = [read_epoch(data, samples) for _ in range(options.epochs)]
    seconds, memory, tokens, cpu = samples.of("read")
    samples.doing = "train"
    training = train(batches(), options.train_seconds)
    samples.going = False
    result = {
        "pairs": options.pairs,
        "counts": shards.counts,
        "shards": options.shards,
        "shards_mb": round(sum(path.stat().st_size for path in folder.iterdir()) / 1e6),
        "written": made,
        "processors": len(os.sched_getaffinity(0)),
        "batch_tokens": options.batch_tokens,
        "epochs": epochs,
        "training": training,
        "pipeline_over_training": round(
            epochs[-1]["target_tokens_per_cpu_second"] / training["target_tokens_per_cpu_second"], 1
        ),
        "memory_mb": {
            "first_minute": max(memory[seconds < seconds[0] + 60]),
            "largest": max(memory),
            "last": memory[-1],
        },
        "over_time": {
            "seconds": [*np.round(seconds[::WINDOW], 1)],
            "cpu_seconds": [*np.round(cpu[::WINDOW], 1)],
            "resident_mb": [*memory[::WINDOW]],
            "target_tokens": [*tokens[::WINDOW]],
        },
    }
    with replacing(options.output) as new:
        new.write_text(json.dumps(result, indent=1) + "\n")
    plot(seconds, memory, tokens, cpu, Path(options.output).with_suffix(".png"))
    print(json.dumps({key: value for key, value in result.items() if key != "over_time"}, indent=1))


def sharded(folder, pairs, shards):
    """Writes the shards unless they are there; how long that took stands beside them."""
    times = folder.with_suffix(".json")
    if not times.exists():
        wall, cpu = time.monotonic(), time.process_time()
        write_shards(made_up(pairs), folder, shards=shards)
        wall, cpu = time.monotonic() - wall, time.process_time() - cpu
        facts = {"seconds": round(wall), "cpu_seconds": round(cpu), "pairs_per_second": round(pairs / wall)}
        with replacing(times) as new:
            new.write_text(json.dumps(facts))
    return json.loads(times.read_text())


if __name__ == "__main__":
    main()
