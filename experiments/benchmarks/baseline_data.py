"""The demo's pairs and pieces in the form that the baselines of `quality_at_budget.py` read.

A folder of `{train,test}.bpe.{en,de}.gz` (pieces between spaces, one sentence a line) and `vocab.txt` (a
piece a line); beside them the test's plain `test.source.txt` and `test.reference.txt`, and the target's text
processor in `target/`. `en` stands for the source and `de` for the target whatever the languages are: the
baselines read these names.
"""

import gzip
import json
import random
from pathlib import Path

LONGEST_TEST_SOURCE = 7  # words
SMALLEST_TEST = 1000  # sentences
SPECIAL_PIECES = {"<pad>", "<s>", "</s>", "<unk>"}


def write_data(folder, pairs, source_text, target_text):
    """Writes the folder, returns its counts; `counts.json` comes last and says that the folder is whole."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    splits = {"train": strings(pairs.train), "test": short(strings(pairs.test))}
    random.Random(1).shuffle(
        splits["train"]
    )  # it comes sorted; keras_nmt.py's shuffle looks 29,000 pairs far
    vocabulary = set()
    for side, text, language in ((0, source_text, "en"), (1, target_text, "de")):
        table = piece_table(text)
        vocabulary |= set(table) - SPECIAL_PIECES
        for split, rows in splits.items():
            write_lines(
                folder / f"{split}.bpe.{language}.gz", to_pieces([row[side] for row in rows], text, table)
            )
    write_lines(folder / "vocab.txt", sorted(vocabulary))
    write_lines(folder / "test.source.txt", [source for source, _ in splits["test"]])
    write_lines(folder / "test.reference.txt", [target for _, target in splits["test"]])
    target_text.save(folder / "target")
    counts = {f"{split}_pairs": len(rows) for split, rows in splits.items()} | {"pieces": len(vocabulary)}
    (folder / "counts.json").write_text(json.dumps(counts) + "\n")
    return counts


def strings(split):
    """A split's pairs as Python strings; the baselines hold them all in memory as well."""
    rows = []
    for source, target in split.batch(4096):
        rows += [(s.decode(), t.decode()) for s, t in zip(source.numpy(), target.numpy())]
    return rows


def short(rows):
    kept = [row for row in rows if len(row[0].split()) <= LONGEST_TEST_SOURCE]
    if len(kept) < SMALLEST_TEST:
        raise SystemExit(
            f"{len(kept)} held-out sentences of up to {LONGEST_TEST_SOURCE} words; want {SMALLEST_TEST}"
        )
    return kept


def piece_table(text):
    """The piece of every id."""
    import tensorflow as tf

    return [piece.decode() for piece in text.tokens(tf.range(text.vocab_size)).numpy()]


def to_pieces(sentences, text, table, at_once=4096):
    """Each sentence as pieces between spaces, without START, END and PAD."""
    dropped = SPECIAL_PIECES - {"<unk>"}
    lines = []
    for start in range(0, len(sentences), at_once):
        for ids in text.ids(sentences[start : start + at_once]).to_list():
            lines.append(" ".join(table[i] for i in ids if table[i] not in dropped))
    return lines


def to_text(lines, text):
    """The sentences that lines of pieces stand for, by the target's processor, as for the demo itself."""
    from tf_seq2seq import UNK

    number = {piece: i for i, piece in enumerate(piece_table(text))}
    rows = [[number.get(piece, UNK) for piece in line.split()] for line in lines]
    return [sentence.decode() for sentence in text.text(rows).numpy()]


def write_lines(path, lines):
    data = "".join(line + "\n" for line in lines).encode()
    path.write_bytes(gzip.compress(data, mtime=0) if path.suffix == ".gz" else data)


def read_lines(path):
    return path.read_text(encoding="utf8").split("\n")[:-1]
