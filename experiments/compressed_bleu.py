"""What storing weights in fewer bits costs: BLEU, size and speed of each export of one generator.

    python experiments/compressed_bleu.py --model runs/demo/generator --source test.es --reference test.en

SavedModels with weights in float32, bfloat16 and int8 search as the generator does; LiteRT files in float32, float16 and
int8 search greedily, one sentence at a time. Prints a table; `bytes` are of the variables or of the .tflite file.
"""

import argparse
import tempfile
import time
from pathlib import Path

import tensorflow as tf

from tf_seq2seq import TextGenerator, corpus_bleu
from tf_seq2seq.export.lite import LiteGenerator, export_lite
from tf_seq2seq.export.saved_model import export_saved_model, size_in_bytes

BATCH = 64  # sentences


def saved_model(generator, weights, folder):
    """The function from texts to texts of a SavedModel, and the bytes of its variables."""
    version = export_saved_model(generator, folder / f"saved-{weights}", weights=weights)
    model = tf.saved_model.load(str(version))
    answer = model.signatures["serving_default"]

    def generate(texts):
        batches = [texts[start : start + BATCH] for start in range(0, len(texts), BATCH)]
        found = [answer(text=tf.constant(batch))["text"].numpy() for batch in batches]
        return [text.decode() for batch in found for text in batch]

    return generate, size_in_bytes(version / "variables")


def lite(generator, quantization, folder):
    """The same of a LiteRT file."""
    file = export_lite(generator, folder / f"lite-{quantization}", quantization=quantization)
    return LiteGenerator(file.parent), file.stat().st_size


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", required=True, help="folder that TextGenerator.save wrote")
    parser.add_argument("--source", required=True, type=Path, help="text, one sentence a line")
    parser.add_argument("--reference", required=True, type=Path, help="its translation")
    parser.add_argument("--sentences", type=int, default=1000, help="the first so many (%(default)s)")
    options = parser.parse_args()
    texts, references = (
        path.read_text(encoding="utf-8").split("\n")[: options.sentences]
        for path in (options.source, options.reference)
    )
    generator = TextGenerator.load(options.model)
    exports = [(saved_model, "SavedModel", weights) for weights in ("float32", "bfloat16", "int8")]
    exports += [(lite, "LiteRT", quantization) for quantization in ("float32", "float16", "int8")]
    print(f"{generator.model.count_params():,} parameters, {len(texts)} sentences")
    print(f"{'export':<12}{'weights':<10}{'bytes':>12}{'BLEU':>8}{'change':>8}{'sentences/s':>13}")
    first = {}
    with tempfile.TemporaryDirectory() as folder:
        for export, kind, weights in exports:
            generate, size = export(generator, weights, Path(folder))
            generate(texts[:BATCH])  # the first call prepares
            start = time.perf_counter()
            hypotheses = generate(texts)
            seconds = time.perf_counter() - start
            bleu = corpus_bleu(hypotheses, references).value
            change = bleu - first.setdefault(kind, bleu)
            row = f"{bleu:>8.2f}{change:>+8.2f}{len(texts) / seconds:>13.1f}"
            print(f"{kind:<12}{weights:<10}{size:>12,}{row}", flush=True)


if __name__ == "__main__":
    main()
