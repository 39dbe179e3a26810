"""Attention as a picture: which source tokens each output token looked at.

Shapes: **T** output length, **S** source length.
"""

import io

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.font_manager import get_font_names

from tf_seq2seq.errors import InputError
from tf_seq2seq.files import replacing

# Matplotlib's own font has Latin, Greek and Cyrillic with all accents; the others are taken where installed.
_FONTS = [
    "DejaVu Sans",
    "Noto Sans CJK JP",
    "Noto Sans Arabic",
    "Noto Sans Hebrew",
    "Noto Sans Devanagari",
    "Arial Unicode MS",
]
_INK = "#1b2a3a"
_PALE = "#c9d1da"
_COLOURS = LinearSegmentedColormap.from_list("alignments", ["#f7f9fb", "#bcd9ea", "#4a94c4", "#0b3c6f"])
_CELL = 0.36  # inches


def plot_alignments(alignments, source_tokens, output_tokens, *, path=None, title=None):
    """Draws a heat map: source tokens on top, output tokens down the side, each row sums to 1.

    >>> figure = plot_alignments([[0.9, 0.1], [0.2, 0.8]], ["▁sí", "</s>"], ["▁yes", "</s>"])
    >>> [label.get_text() for label in figure.axes[0].get_yticklabels()]
    ['yes', '</s>']

    Args:
        alignments: (T', S') array, T' >= T and S' >= S; beyond the tokens lies padding, which is cut off.
        source_tokens: S str or bytes. In SentencePiece's pieces the mark of a word's beginning is left away,
            and a piece that goes on with a word gets a leading dot.
        output_tokens: T str or bytes.
        path: where to save the picture as PNG, if at all.
        title: line above it.

    Returns:
        `matplotlib.figure.Figure`.

    Raises:
        InputError: if there are more tokens than rows or columns, or no token at all.

    Source:
        Bahdanau et al. 2015, Neural Machine Translation by Jointly Learning to Align and Translate, figure 3.
    """
    alignments = np.asarray(alignments, dtype=np.float32)
    sources, outputs = _labels(source_tokens), _labels(output_tokens)
    _check(alignments, sources, outputs)
    with matplotlib.rc_context(
        {"font.family": _installed_fonts(), "text.color": _INK, "axes.labelcolor": _INK}
    ):
        figure = _draw(alignments[: len(outputs), : len(sources)], sources, outputs, title)
        if path is not None:
            with replacing(path) as new:
                new.write_bytes(png(figure))
    return figure


def plot_generated(generator, source, *, path=None, title=None):
    """Generates for one source and draws what the best hypothesis looked at.

    Args:
        generator: a `TextGenerator` whose model has attention.
        source: str.
        path: where to save the picture as PNG, if at all.
        title: line above it; the source by default.

    Returns:
        `matplotlib.figure.Figure`.

    Raises:
        InputError: if the model has no attention.
    """
    generated = generator(source).sentences()[0]
    if generated.alignments is None:
        raise InputError(
            "this model has no attention to draw; train one with attention, such as zoo.luong2015"
        )
    title = source if title is None else title
    return plot_alignments(
        generated.alignments[0], generated.source_tokens, generated.tokens[0], path=path, title=title
    )


def png(figure, dpi=160):
    """The picture as the bytes of a PNG file.

    Args:
        figure: what `plot_alignments` returns.
        dpi: pixels an inch.

    Returns:
        bytes.
    """
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, facecolor="white", bbox_inches="tight", pad_inches=0.2)
    return buffer.getvalue()


def _draw(alignments, sources, outputs, title):
    height, width = alignments.shape
    figure = Figure(figsize=(_CELL * width + 2.2, _CELL * height + 1.6), layout="constrained")
    FigureCanvasAgg(figure)  # not pyplot: nothing to close, and safe in a thread
    axes = figure.add_subplot()
    image = axes.imshow(alignments, cmap=_COLOURS, vmin=0.0, vmax=1.0, aspect="equal")
    _name_ticks(axes, sources, outputs)
    _rule(axes, height, width)
    bar = figure.colorbar(
        image, ax=axes, shrink=min(1.0, 4 / height), aspect=14, pad=0.03, anchor=(0, 1), ticks=[0, 0.5, 1]
    )
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=0, labelsize=8, labelcolor=_INK)
    if title:
        axes.set_title(title, fontsize=11, pad=12, loc="left")
    return figure


def _name_ticks(axes, sources, outputs):
    axes.xaxis.tick_top()
    axes.set_xticks(range(len(sources)), sources, rotation=50, ha="left", rotation_mode="anchor")
    axes.set_yticks(range(len(outputs)), outputs)
    axes.tick_params(length=0, labelsize=10, labelcolor=_INK, pad=5)


def _rule(axes, height, width):
    """White lines between the cells."""
    axes.set_xticks(np.arange(width + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(height + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=1.5)
    axes.tick_params(which="minor", length=0)
    for spine in axes.spines.values():
        spine.set_color(_PALE)


def _labels(tokens):
    """Strings to print, with pieces told apart as beginnings and continuations of words."""
    tokens = [
        token.decode("utf-8", "replace") if isinstance(token, bytes) else str(token) for token in tokens
    ]
    if not any("▁" in token for token in tokens):
        return tokens
    return [_piece(token) for token in tokens]


def _piece(token):
    if token.startswith("▁"):
        return token[1:] or "␣"
    return token if token.startswith("<") else "·" + token


def _check(alignments, sources, outputs):
    if alignments.ndim != 2 or alignments.shape[0] < len(outputs) or alignments.shape[1] < len(sources):
        raise InputError(
            f"alignments of shape {alignments.shape} do not hold {len(outputs)} output and {len(sources)} "
            "source tokens; give one hypothesis's (T, S) and the tokens of the same sentence"
        )
    if not sources or not outputs:
        raise InputError("there is no token to draw; give at least one source token and one output token")


def _installed_fonts():
    names = set(get_font_names())
    return [font for font in _FONTS if font in names]
