"""`tf-seq2seq export`: a model becomes a SavedModel."""

from tf_seq2seq.commands.models import (
    add_ensemble_options,
    add_model_option,
    add_shortlist_option,
    add_unknowns_option,
    load_generator,
)
from tf_seq2seq.commands.search_options import add_search_options

HELP = "write a SavedModel, strings in, strings out"
USAGE = "tf-seq2seq export --model FOLDER --output FOLDER [option ...]"
DESCRIPTION = """\
Writes <output>/<version>/, where the version is the next free integer: the
layout of TF Serving. The SavedModel takes strings and gives strings; text
processors and vocabularies are inside. Its signatures:

  serving_default  text (B,) -> text, score, length (B,) of the best hypothesis
  greedy, beam     text (B,) -> text, score, length (B, K), best first

The search options hold for serving_default, and for that of the other two
which searches in the same way.
"""
EPILOG = """\
example:
  tf-seq2seq export --model runs/demo/generator --output saved_models/es_en
"""
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
    add_search_options(parser)
    add_unknowns_option(parser.add_argument_group("output"))
    add_ensemble_options(parser)
    add_shortlist_option(parser.add_argument_group("speed"))


def run(options):
    """Exports and tells how to use it."""
    generator = load_generator(options)
    from tf_seq2seq.export.saved_model import export_saved_model, size_in_bytes

    version = export_saved_model(generator, options.output)
    print(f"{version}: {size_in_bytes(version) / 1e6:,.1f} MB")
    print(_USE.format(version=version))
