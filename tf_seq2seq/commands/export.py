"""`tf-seq2seq export`: a model becomes a SavedModel."""

from tf_seq2seq.commands.models import (
    add_ensemble_options,
    add_model_option,
    add_shortlist_option,
    add_unknowns_option,
    load_generator,
)
from tf_seq2seq.commands.option_types import positive
from tf_seq2seq.commands.search_options import add_search_options

HELP = "write a SavedModel, strings in, strings out"
USAGE = "tf-seq2seq export --model FOLDER --output FOLDER [option ...]"
DESCRIPTION = """\
Writes <output>/<version>/, where the version is the next free integer: the
layout of TF Serving. The SavedModel takes strings and gives strings; text
processors and vocabularies are inside. Its signatures:

  serving_default  text (B,) -> text, score, length, truncated (B,) of the best
                   hypothesis; the search options given here hold for it
  generate         text (B,) and every option of a search as an input -> text,
                   score, ... (B, K), best first, tokens and alignments
  generate_ids     the same from ids to ids
  score            source, target (B,) -> log-probs
  encode, step     for clients that search themselves
"""
_SIZES = (
    ("--max-beam-size", 8, "the largest beam size and number of samples (8)"),
    ("--max-target-length", 256, "the largest max_length, tokens (256)"),
    (
        "--max-source-length",
        None,
        "tokens, END counted, after which a text is cut, and said to be (the source processor's own maximum, else 256)",
    ),
)
EPILOG = """\
example:
  tf-seq2seq export --model runs/demo/generator --output saved_models/es_en
  tf-seq2seq export --model runs/demo/generator --output es_en_phone --lite int8
"""
_LITE = """\
{file}: {size:,.1f} MB, greedy search, ids in, ids out
source/ and target/ beside it make ids of texts and texts of ids: see tf_seq2seq.export.lite"""
_USE = """\
to use it, anywhere:
  import tensorflow as tf, tensorflow_text
  generate = tf.saved_model.load("{version}").signatures["serving_default"]
  print(generate(text=tf.constant(["..."]))["text"].numpy()[0].decode())"""


def add_options(parser):
    """Adds this command's options to its parser."""
    add_model_option(parser)
    parser.add_argument(
        "--output", required=True, metavar="FOLDER", help="folder of the versions; made if missing"
    )
    parser.add_argument(
        "--card",
        metavar="FILE",
        help="Markdown that the model card (assets.extra/README.md) begins with: data, licence, scores, limits",
    )
    sizes = parser.add_argument_group("what generate takes")
    for flag, default, what in _SIZES:
        sizes.add_argument(flag, type=positive, default=default, metavar="N", help=what)
    small = parser.add_argument_group("size")
    small.add_argument(
        "--weights",
        dest="stored_weights",
        choices=("float32", "bfloat16", "int8"),
        help="what weights are stored in: bfloat16 takes half of float32, int8 a quarter; float32 once loaded "
        "(what the model has)",
    )
    small.add_argument(
        "--lite",
        choices=("float32", "float16", "int8"),
        help="write OUTPUT as a folder of a LiteRT (TFLite) file instead: greedy search from ids to ids, for phones "
        "and small boards; other search options do not hold for it",
    )
    small.add_argument(
        "--lite-max-length",
        type=positive,
        default=64,
        metavar="N",
        help="target tokens, END counted, of a LiteRT file; --max-source-length holds for it, too, 64 if left out (64)",
    )
    add_search_options(parser)
    add_unknowns_option(parser.add_argument_group("output"))
    add_ensemble_options(parser)
    add_shortlist_option(parser.add_argument_group("speed"))


def run(options):
    """Exports and tells how to use it."""
    from tf_seq2seq.export.card import read_about

    about = read_about(options.card) if options.card else None
    generator = load_generator(options)
    if options.lite:
        return _run_lite(generator, options)
    from tf_seq2seq.export.saved_model import export_saved_model, size_in_bytes

    sizes = ("max_beam_size", "max_source_length", "max_target_length")
    version = export_saved_model(
        generator,
        options.output,
        **{name: getattr(options, name) for name in sizes},
        weights=options.stored_weights,
        about=about,
    )
    print(f"{version}: {size_in_bytes(version) / 1e6:,.1f} MB")
    print("loaded again, it answered the golden pair beside it as the generator did")
    print(_USE.format(version=version))


def _run_lite(generator, options):
    from tf_seq2seq.export.lite import export_lite

    sizes = options.max_source_length or 64, options.lite_max_length
    file = export_lite(generator, options.output, *sizes, options.lite)
    print(_LITE.format(file=file, size=file.stat().st_size / 1e6))
