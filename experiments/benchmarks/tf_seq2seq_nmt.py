"""This package's own program for `decode_speed.py` and `train_speed.py`, beside `keras_nmt.py` and `torch_nmt.py`.

    tf_seq2seq_nmt.py train [--epochs 2] [--seed 1] [--max-s SECONDS] [--no-input-feed] [--policy POLICY]
    tf_seq2seq_nmt.py train --peers-batches 300
    tf_seq2seq_nmt.py decode --beam 5 --batch 32

BENCH_DATA names the data folder, THREADS the threads (default 1), as for those. The model: embeddings of 256, a
bidirectional LSTM of 256 a direction, an LSTM decoder of 512, Luong's general attention, input feeding. Each command
ends with a line that begins with RESULT; `decode` writes the hypotheses as pieces, one sentence a line.

Shapes: **B** batch, **S** source length.
"""

import argparse
import gzip
import itertools
import os
import random
import resource
import sys
import time
from pathlib import Path

sys.path.insert(1, str(Path(__file__).resolve().parents[2]))  # the package, installed or not
import keras
import tensorflow as tf

from tf_seq2seq import BeamSearch, Greedy, SequenceCrossEntropy, batches, luong2015
from tf_seq2seq.data.ids import as_tensor
from tf_seq2seq.data.vocabulary import END, PAD, START, UNK, Vocabulary
from tf_seq2seq.decoding.shortlist import Shortlist, Shortlisted
from tf_seq2seq.models.encoders import EMBEDDING_DEVIATION
from tf_seq2seq.models.searching import searchable

BATCH_SIZE = 64  # sentences, in training
CLIPNORM = 5 / 15.43  # of a token's mean loss; the peers clip a sentence's mean, 15.43 tokens, at 5
FIRST_STEPS = 20  # not timed, as the peers do not either
MAX_LENGTH = 60  # tokens of a hypothesis, as in the peers' programs
BEGUN = float(os.environ.get("T_START", time.time()))  # seconds; of the process, where its caller says it
PRECISIONS = ["float32", "bfloat16"]  # of the weights; search computes in float32


def arguments(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("mode", choices=["train", "decode"])
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--max-s", type=float, default=0, help="ends the training so many seconds after step 20"
    )
    parser.add_argument(
        "--peers-batches",
        type=int,
        metavar="N",
        help="trains on the N batches that torch_nmt.py begins with, in its order: so their losses can be compared",
    )
    parser.add_argument(
        "--input-feed", action=argparse.BooleanOptionalAction, default=True, help="of the model"
    )
    parser.add_argument("--policy", default="float32", help="Keras's dtype policy for training")
    parser.add_argument("--beam", type=int, default=5, help="beam size; 1 is greedy search")
    parser.add_argument("--batch", type=int, default=32, help="sentences decoded at once")
    parser.add_argument("--precision", choices=PRECISIONS, default=PRECISIONS[0], help="of the decoding")
    parser.add_argument(
        "--shortlist", action="store_true", help="learnt from the training pairs, kept beside --ckpt"
    )
    parser.add_argument("--ckpt", default="model.keras", help="the model's file")
    parser.add_argument("--out", default="hyp.txt", help="the hypotheses' file")
    return parser.parse_args(argv)


def read_pieces(data, name):
    """The sentences of a file of the data folder, each a list of pieces."""
    with gzip.open(Path(data) / f"{name}.gz", "rt", encoding="utf8") as lines:
        return [line.split() for line in lines]


def read_vocabulary(data):
    return Vocabulary((Path(data) / "vocab.txt").read_text(encoding="utf8").split("\n")[:-1])


def read_ids(data, name, vocabulary):
    """The sentences as lists of ids, without END."""
    number = {piece: id_ for id_, piece in enumerate(vocabulary.tokens)}
    return [[number.get(piece, UNK) for piece in row] for row in read_pieces(data, name)]


def build(vocab_size, input_feeding=True):
    """The benchmark's common model, untrained; its weights are drawn as the peers' are, so that losses fall alike."""
    model = luong2015(
        vocab_size,
        vocab_size,
        units=512,
        depth=1,
        embedding_size=256,
        dropout=0.2,
        bidirectional=True,
        input_feeding=input_feeding,
    )
    for layer in (model.encoder, model.decoder):
        layer.embeddings.assign(layer.embeddings / EMBEDDING_DEVIATION)  # a standard deviation of 1
    seed = keras.random.SeedGenerator(1)
    for weight in model.trainable_weights:
        if weight.name != "embeddings":
            limit = read_by(weight) ** -0.5
            weight.assign(keras.random.uniform(weight.shape, -limit, limit, seed=seed))
    return model


def read_by(weight):
    """PyTorch's rule: the units of an LSTM, else the inputs of each output (512 of the projection and its bias)."""
    if "lstm" in weight.path:
        return weight.shape[-1] // 4
    return 512 if "projection" in weight.path else weight.shape[0]


def training_pairs(data, vocabulary):
    """The training set as a dataset of (source ids, target ids)."""
    sides = [read_ids(data, f"train.bpe.{language}", vocabulary) for language in ("en", "de")]
    return tf.data.Dataset.from_tensor_slices(tuple(tf.cast(as_tensor(side), tf.int32) for side in sides))


def peers_batches(data, vocabulary):
    """The batches of `torch_nmt.py`, whose seed is 1, in its order and without end."""
    sources, targets = (read_ids(data, f"train.bpe.{language}", vocabulary) for language in ("en", "de"))
    shuffle = random.Random(1).shuffle
    while True:
        order, chosen = list(range(len(sources))), []
        shuffle(order)
        for first in range(0, len(order), 100 * BATCH_SIZE):
            pool = order[first : first + 100 * BATCH_SIZE]
            pool.sort(key=lambda row: (len(targets[row]), len(sources[row])))
            chosen += [pool[row : row + BATCH_SIZE] for row in range(0, len(pool), BATCH_SIZE)]
        shuffle(chosen)
        for rows in chosen:
            labels = padded([targets[row] for row in rows])
            before = tf.pad(labels[:, :-1], [[0, 0], [1, 0]], constant_values=START)
            target_ids = tf.where(before == END, PAD, before)
            yield {"source_ids": padded([sources[row] for row in rows]), "target_ids": target_ids}, labels


class Clock(keras.callbacks.Callback):
    """Prints what the peers print: the first step's time, loss and speed every 50 steps, and the line RESULT."""

    def __init__(self, max_seconds):
        super().__init__()
        self.max_seconds = max_seconds
        self.step, self.tokens, self.begun = 0, 0.0, None
        self.seen = (0.0, 0.0)

    def on_epoch_begin(self, epoch, logs=None):
        self.seen = (0.0, 0.0)  # the tracker begins anew

    def on_train_batch_end(self, batch, logs=None):
        self.step += 1
        tracker = self.model.trackers["loss"]
        now = float(tracker.total), float(tracker.count)
        loss, tokens = (new - old for new, old in zip(now, self.seen))
        self.seen = now
        self.tokens += tokens
        if self.step == 1:
            print(f"FIRST_STEP {time.time() - BEGUN:.2f}s since process start", flush=True)
        if self.step == FIRST_STEPS:
            self.begun, self.tokens = time.time(), 0.0
        if self.step % 50 == 0:
            print(f"step {self.step} loss {loss / tokens:.3f} tgt tok/s {self.speed():.0f}", flush=True)
        if self.max_seconds and self.begun and time.time() - self.begun > self.max_seconds:
            self.model.stop_training = True

    def speed(self):
        return self.tokens / (time.time() - self.begun)

    def result(self):
        """The line that the peers' programs print, too."""
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        return (
            f"RESULT steps {self.step - FIRST_STEPS} wall {time.time() - self.begun:.1f}s "
            f"tgt_tok/s {self.speed():.1f} maxrss {most:.0f}MiB params {self.model.count_params()}"
        )


def train(args, data):
    """Plain `fit`: Adam, clipped gradients, batches of sentences of like length."""
    os.environ.setdefault("TF_CPU_ALLOCATOR_USE_BFC", "1")  # TensorFlow's own; README.md has its gain
    keras.utils.set_random_seed(args.seed)
    keras.config.set_dtype_policy(args.policy)
    vocabulary = read_vocabulary(data)
    model = build(len(vocabulary), args.input_feed)
    model.compile(keras.optimizers.Adam(1e-3, global_clipnorm=CLIPNORM), SequenceCrossEntropy())
    if args.peers_batches:
        made = lambda: itertools.islice(peers_batches(data, vocabulary), args.peers_batches)
        ids = tf.TensorSpec([None, None], tf.int32)
        signature = {"source_ids": ids, "target_ids": ids}, ids
        pairs = tf.data.Dataset.from_generator(made, output_signature=signature)
    else:
        pairs = batches(training_pairs(data, vocabulary), batch_size=BATCH_SIZE, seed=args.seed, cache=True)
    clock = Clock(args.max_s)
    model.fit(pairs, epochs=1 if args.peers_batches else args.epochs, verbose=0, callbacks=[clock])
    print(clock.result())
    model.save(args.ckpt)


def shortlist_of(model, args, data, vocabulary):
    """The shortlist that lies beside the model's file; learnt if there is none."""
    path = Path(args.ckpt).with_name("shortlist.npz")
    if not path.exists():
        pairs = training_pairs(data, vocabulary)
        Shortlist.learn(model, batches(pairs, batch_size=BATCH_SIZE), per_source=20).save(path)
    return Shortlist.load(path)


def search_of(model, args):
    """The graph of a search: source_ids (B, S) int32 -> ids (B, T) int32 of the best hypothesis of each source.

    The beam search is OpenNMT-tf's: no length penalty. It ends when no live hypothesis can win any more.
    """
    strategy = Greedy(max_length=MAX_LENGTH)
    if args.beam > 1:
        strategy = BeamSearch(args.beam, length_penalty="none", n_best=1, max_length=MAX_LENGTH)

    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.int32)])
    def search(source_ids):
        step, state, memory = model.begin({"source_ids": source_ids})
        return strategy(step, state, memory, rows=tf.shape(source_ids)[0]).ids[:, 0]

    return search


def padded(rows):
    """Source ids (B, S) int32, END at each row's end."""
    longest = max(len(row) for row in rows)
    return tf.constant([[*row, END, *[PAD] * (longest - len(row))] for row in rows], tf.int32)


def decode(args, data):
    """Warms up as the peers do, decodes the test set, sorted by length if in batches; times all but the loading."""
    model = keras.saving.load_model(args.ckpt, compile=False)
    vocabulary = read_vocabulary(data)
    sources = read_ids(data, "test.bpe.en", vocabulary)
    shortlist = shortlist_of(model, args, data, vocabulary) if args.shortlist else None
    model = searchable(model, args.precision)  # what TextGenerator(..., weights=...) does
    graph = search_of(Shortlisted(model, shortlist) if shortlist else model, args)

    def search(rows):
        return [[id_ for id_ in row if id_ not in (PAD, END)] for row in graph(padded(rows)).numpy().tolist()]

    search(sources[:1])
    search(sources[-args.batch :])
    order = list(range(len(sources)))
    if args.batch > 1:
        order.sort(key=lambda row: len(sources[row]))
    found, latencies, begun = {}, [], time.time()
    for start in range(0, len(order), args.batch):
        rows, at = order[start : start + args.batch], time.time()
        found.update(zip(rows, search([sources[row] for row in rows])))
        latencies.append(time.time() - at)
    seconds = time.time() - begun
    hypotheses = [found[row] for row in range(len(sources))]
    print(result(args, hypotheses, latencies, seconds))
    with open(args.out, "w", encoding="utf8") as out:
        out.writelines(" ".join(vocabulary.tokens[id_] for id_ in row) + "\n" for row in hypotheses)


def result(args, hypotheses, latencies, seconds):
    """The line that the peers' programs print, too; a hypothesis's END counts as a token."""
    tokens = sum(len(row) + 1 for row in hypotheses)
    count, latencies = len(hypotheses), sorted(latencies)
    middle, late = latencies[len(latencies) // 2], latencies[int(len(latencies) * 0.95)]
    return (
        f"RESULT beam {args.beam} batch {args.batch}: {count / seconds:.2f} sent/s {tokens / seconds:.1f} tok/s "
        f"p50 {1e3 * middle:.1f} ms p95 {1e3 * late:.1f} ms avg_len {tokens / count:.2f}"
    )


def main(argv=None):
    args = arguments(argv)
    threads = int(os.environ.get("THREADS", "1"))
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    {"train": train, "decode": decode}[args.mode](args, os.environ["BENCH_DATA"])


if __name__ == "__main__":
    main()
