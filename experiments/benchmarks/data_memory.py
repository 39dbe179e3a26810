"""Memory, speed and padding of the data room on a generated corpus: 5 million lines unless told otherwise.

    python experiments/benchmarks/data_memory.py --lines 5000000

Writes two text files of made-up words (frequencies by Zipf's law, sentences of 1 to 30 words), makes `Pairs`
of them, fits subwords, reads one epoch of batches, and prints the resident memory all along. Linux only
(/proc).
"""

import argparse
import collections
import json
import os
import tempfile
import threading
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

import tf_seq2seq as s2s
from tf_seq2seq.files import replacing

SYLLABLES = [a + b + c for a in "bcdfglmnprst" for b in "aeiou" for c in ("", "n", "s", "r")]
WORDS = 30_000


class Memory(threading.Thread):
    """Notes the resident memory every second, with the name of what is going on."""

    def __init__(self):
        super().__init__(daemon=True)
        self.samples, self.doing, self.began = [], "start", time.monotonic()

    def run(self):
        while True:
            self.samples.append((self.doing, time.monotonic() - self.began, resident_megabytes()))
            time.sleep(1)

    def report(self):
        """First, largest and last resident megabytes of each step, and about ten samples of it."""
        steps = collections.defaultdict(list)
        for doing, seconds, megabytes in self.samples:
            steps[doing].append((round(megabytes), f"{seconds:.0f} s: {megabytes:.0f} MB"))
        return {
            doing: {
                "first_mb": samples[0][0],
                "largest_mb": max(megabytes for megabytes, _ in samples),
                "last_mb": samples[-1][0],
                "over_time": [told for _, told in samples[:: max(1, len(samples) // 10)]],
            }
            for doing, samples in steps.items()
        }


def resident_megabytes():
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def write_corpus(folder, lines, seed=0):
    """Two parallel files; word i of one language is word i of the other, some words are left out."""
    random = np.random.default_rng(seed)
    languages = [
        np.array(
            ["".join(random.choice(SYLLABLES, random.integers(1, 4))) for _ in range(WORDS)], dtype=object
        )
        for _ in range(2)
    ]
    chances = 1 / np.arange(1, WORDS + 1)
    cumulated = np.cumsum(chances / chances.sum())
    paths = [folder / "source.txt", folder / "target.txt"]
    with open(paths[0], "w") as source, open(paths[1], "w") as target:
        for start in range(0, lines, 10_000):
            for _ in range(min(10_000, lines - start)):
                words = np.searchsorted(cumulated, random.random(min(30, 1 + random.poisson(7))))
                kept = words[random.random(len(words)) < 0.9] if len(words) > 3 else words
                source.write(" ".join(languages[0][words]) + ".\n")
                target.write(" ".join(languages[1][kept]) + ".\n")
    return paths


def read_epoch(batches):
    """Counts what comes, and how fast."""
    counts = collections.Counter()
    wall, cpu = time.monotonic(), time.process_time()
    for inputs, labels in batches:
        source, labels = inputs["source_ids"].numpy(), labels.numpy()
        counts["batches"] += 1
        counts["pairs"] += len(labels)
        counts["target_tokens"] += int(np.count_nonzero(labels))
        counts["target_places"] += labels.size
        counts["source_tokens"] += int(np.count_nonzero(source))
        counts["source_places"] += source.size
    wall, cpu = time.monotonic() - wall, time.process_time() - cpu
    return {
        **counts,
        "seconds": round(wall, 1),
        "target_tokens_a_second": round(counts["target_tokens"] / wall),
        "target_tokens_a_cpu_second": round(counts["target_tokens"] / cpu),
        "target_padding": round(1 - counts["target_tokens"] / counts["target_places"], 4),
        "source_padding": round(1 - counts["source_tokens"] / counts["source_places"], 4),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--lines", type=int, default=5_000_000)
    parser.add_argument("--batch-tokens", type=int, default=4096, help="target tokens a batch, with padding")
    parser.add_argument("--output", default="experiments/results/data_memory.json")
    args = parser.parse_args()
    memory = Memory()
    memory.start()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TF_SEQ2SEQ_CACHE"] = f"{folder}/cache"
        memory.doing = "write the corpus"
        paths = write_corpus(Path(folder), args.lines)
        memory.doing = "prepare pairs"
        cpu = time.process_time()
        pairs = s2s.text_pairs(*paths, valid=2000, test=2000)
        cpu = time.process_time() - cpu
        print(pairs)
        memory.doing = "fit subwords"
        sample = pairs.train.take(100_000)
        source_text = s2s.TextProcessor.fit(sample.map(lambda source, target: source), vocab_size=8000)
        target_text = s2s.TextProcessor.fit(sample.map(lambda source, target: target), vocab_size=8000)
        memory.doing = "read an epoch"
        batches = s2s.batches(pairs.train, source_text, target_text, batch_tokens=args.batch_tokens)
        epoch = read_epoch(batches)
        memory.doing = "end"
        result = {
            "lines": args.lines,
            "corpus_mb": round(sum(path.stat().st_size for path in paths) / 1e6),
            "processors": os.cpu_count(),
            "batch_tokens": args.batch_tokens,
            "counts": pairs.counts,
            "prepare_cpu_seconds": round(cpu, 1),
            "epoch": epoch,
            "memory": memory.report(),
        }
    with replacing(args.output) as new:
        new.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
