"""Calls OpenNMT-tf's exported model as its users do, in its own interpreter (Python 3.10, TensorFlow 2.13).

    opennmt_tf_decode.py --export FOLDER --beam 5 --batch 32 --out FILE

BENCH_DATA and THREADS as for `keras_nmt.py`, and so is the line RESULT. It imports nothing of this repository.
"""

import argparse
import gzip
import os
import time

import tensorflow as tf


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--export", required=True)
    parser.add_argument("--beam", type=int, required=True)
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--out", required=True)
    return parser.parse_args()


def translator(folder):
    """The exported model as a function of a list of lists of tokens."""
    loaded = tf.saved_model.load(folder)
    serve = loaded.signatures["serving_default"]

    def translate(rows):
        longest = max(map(len, rows))
        tokens = tf.constant([row + [""] * (longest - len(row)) for row in rows])
        found = serve(tokens=tokens, length=tf.constant([len(row) for row in rows], tf.int32))
        best, lengths = found["tokens"].numpy()[:, 0], found["length"].numpy()[:, 0]
        return [[token.decode() for token in row[:length]] for row, length in zip(best.tolist(), lengths)]

    translate.loaded = loaded  # keeps its variables alive
    return translate


def main():
    args, threads = arguments(), int(os.environ.get("THREADS", "1"))
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    translate = translator(args.export)
    path = os.path.join(os.environ["BENCH_DATA"], "test.bpe.en.gz")
    with gzip.open(path, "rt", encoding="utf8") as lines:
        sources = [line.split() for line in lines]
    translate(sources[:1])
    translate(sources[-args.batch :])
    order = list(range(len(sources)))
    if args.batch > 1:
        order.sort(key=lambda row: len(sources[row]))
    found, latencies, begun = {}, [], time.time()
    for start in range(0, len(order), args.batch):
        rows, at = order[start : start + args.batch], time.time()
        found.update(zip(rows, translate([sources[row] for row in rows])))
        latencies.append(time.time() - at)
    seconds = time.time() - begun
    hypotheses = [found[row] for row in range(len(sources))]
    tokens = sum(len(row) + 1 for row in hypotheses)  # END counts
    count, latencies = len(hypotheses), sorted(latencies)
    middle, late = latencies[count_at(latencies, 0.5)], latencies[count_at(latencies, 0.95)]
    print(
        f"RESULT beam {args.beam} batch {args.batch}: {count / seconds:.2f} sent/s {tokens / seconds:.1f} tok/s "
        f"p50 {1e3 * middle:.1f} ms p95 {1e3 * late:.1f} ms avg_len {tokens / count:.2f}"
    )
    with open(args.out, "w", encoding="utf8") as out:
        out.writelines(" ".join(row) + "\n" for row in hypotheses)


def count_at(values, share):
    return int(len(values) * share)


if __name__ == "__main__":
    main()
