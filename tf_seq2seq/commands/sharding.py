"""`tf-seq2seq data shard`: the training split as shards of ids, beside the texts to validate and test with."""

import shutil
from pathlib import Path

from tf_seq2seq.commands.option_types import positive
from tf_seq2seq.errors import InputError
from tf_seq2seq.files import replacing

HELD_OUT = ("valid.source", "valid.target", "test.source", "test.target")
TRAIN = "train"  # the folder of shards


def add_shard_options(group):
    """Adds the options of shards to a parser or a group."""
    group.add_argument(
        "--shards", type=positive, default=32, metavar="N", help="number of files of ids (default 32)"
    )
    group.add_argument(
        "--max-length", type=positive, metavar="N", help="drop pairs of which a side has more tokens"
    )
    group.add_argument(
        "--compress", action="store_true", help="gzip the files: half the size, slower to read"
    )


def check_shard_options(options):
    """Raises InputError unless the options say what shards are made of and where they go."""
    if not (options.output and options.vocabulary):
        raise InputError("data shard wants --output FOLDER and --vocabulary SPLIT, such as subwords")


def write_sharded(pairs, options):
    """Fits a vocabulary of each side, and writes the folder whole or not at all; prints what is in it."""
    from tf_seq2seq import TextProcessor, write_shards

    sides = [pairs.train.map(lambda *pair, column=column: pair[column]) for column in (0, 1)]
    texts = [TextProcessor.fit(one, options.vocabulary, vocab_size=options.vocab_size) for one in sides]
    older = (TRAIN,) if (Path(options.output) / TRAIN / "shards.json").exists() else ()
    with replacing(options.output, holds=(*older, *HELD_OUT)) as new:
        new.mkdir()
        for name in HELD_OUT:
            if (pairs.folder / name).exists():
                shutil.copyfile(pairs.folder / name, new / name)
        how = {"shards": options.shards, "max_length": options.max_length, "compress": options.compress}
        counts = write_shards(pairs.train, new / TRAIN, *texts, **how).counts
    for side, text in zip(("source", "target"), texts):
        tokens = counts[f"{side}_tokens"]
        print(f"{side}: vocabulary {text.vocab_size:,} {text.split}; {tokens:,} tokens with END")
    print(f"pairs too long: {counts['dropped']:,}")
    print(f"written to: {options.output}")
