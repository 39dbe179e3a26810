"""The model card of an exported folder, ``assets.extra/README.md``: what it is, what it takes, how it is asked.

What only its maker knows, data, licence, command, scores and limits, is a text that the card begins with.
"""

from pathlib import Path

from tf_seq2seq.errors import InputError
from tf_seq2seq.export.options import OPTIONS

FILE = Path("assets.extra") / "README.md"

_NOTHING = """\
Its maker told nothing of data, licence, scores and limits: export with `card=` (or `--card FILE`) to tell them.
"""
_CARD = """\
# {name}, version {version}

{about}
## What it is

| | |
|---|---|
| model | {model} |
| parameters | {parameters:,}; weights stored in {weights} |
| source text | {source} |
| target text | {target} |
| default search | `{strategy}` |
| at most | {limits.source_length} source tokens (longer texts are cut, and told by `truncated`), \
{limits.target_length} target tokens, {limits.beam_size} hypotheses or samples a text |

## How it is asked

`serving_default` takes `text` alone. `generate` takes `text` and all of these options; `generate_ids`, `score`, `encode` and
`step` are described in tf_seq2seq's `export.saved_model`.

| option | default | allowed | |
|---|---|---|---|
{options}

```bash
docker run -p 8501:8501 -v "$PWD:/models/{name}" -e MODEL_NAME={name} tensorflow/serving   # in the folder of the versions
curl localhost:8501/v1/models/{name}:predict -d '{{"inputs": {{"text": ["..."]}}}}'
```

Beside this file: `golden.json`, requests with the answers that they had when the model was exported;
`tf_serving_warmup_requests`, what TF Serving asks before it serves; `generator.json`, how its texts are split.
"""


def write(generator, folder, version, limits, weights, about=None):
    """Writes the card of an exported `TextGenerator`.

    Args:
        generator: the `TextGenerator`.
        folder: path of what is being written.
        version: path where it will be, ``<name>/<version>``.
        limits: `tf_seq2seq.export.options.Limits`.
        weights: str, what the weights are stored in.
        about: str, Markdown: data, licence, command, scores, limits; None if nothing is told.
    """
    file, version = Path(folder) / FILE, Path(version).resolve()
    file.parent.mkdir(exist_ok=True)
    text = card(generator, limits, weights, about, version.parent.name, version.name)
    file.write_text(text, encoding="utf-8")


def card(generator, limits, weights, about, name, version):
    """The card's text, Markdown; arguments as `write` has them."""
    texts = generator.source_text, generator.target_text
    source, target = (f"{text.vocab_size:,} tokens of {text.split}" for text in texts)
    rows = (
        f"| `{option.name}` | {option.default} | {option.allowed(limits)} | {option.meaning} |"
        for option in OPTIONS.values()
    )
    return _CARD.format(
        name=name,
        version=version,
        about=about.strip() + "\n" if about else _NOTHING,
        model=_model(generator.model),
        parameters=sum(int(weight.shape.num_elements()) for weight in generator.model.trainable_weights),
        weights=weights,
        source=source,
        target=target,
        strategy=_strategy(generator.strategy),
        limits=limits,
        options="\n".join(rows),
    )


def read_about(file):
    """The text that a card begins with, of a file.

    Raises:
        InputError: if it cannot be read.
    """
    try:
        return Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {file}: give --card a file of Markdown in UTF-8 ({error})") from error


def _model(model):
    """An encoder-decoder in words; of anything else its class."""
    encoder, decoder = getattr(model, "encoder", None), getattr(model, "decoder", None)
    if not (hasattr(encoder, "cell") and hasattr(decoder, "wrapper")):
        return type(model).__name__
    directions = "bidirectional " if encoder.bidirectional else ""
    attention = decoder.wrapper.attention
    cells = [side.cell.partition("_")[0].upper() for side in (encoder, decoder)]  # gru_v1 is a GRU, too
    parts = [
        f"{directions}{cells[0]} encoder of {encoder.depth} x {encoder.units} units",
        f"{cells[1]} decoder of {decoder.depth} x {decoder.units} units",
        f"{type(attention).__name__} {decoder.wrapper.position} the cells" if attention else "no attention",
        *["input feeding"] * decoder.wrapper.input_feeding,
        *["tied embeddings"] * decoder.tied,
    ]
    return ", ".join(parts)


def _strategy(strategy):
    """A strategy as one would write it, without what is as always."""
    config = getattr(strategy, "get_config", dict)()
    try:
        usual = type(strategy)().get_config()
    except TypeError:  # one that cannot be made without arguments
        usual = {}
    told = (f"{name}={_short(value)}" for name, value in config.items() if value != usual.get(name))
    return f"{type(strategy).__name__}({', '.join(told)})"


def _short(value):
    """A saved part by its name."""
    if isinstance(value, dict) and "class_name" in value:
        return value["config"].get("name") or value["class_name"]
    return f"[{', '.join(map(_short, value))}]" if isinstance(value, list) else repr(value)
