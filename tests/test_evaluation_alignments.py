"""The picture of an attention."""

import numpy as np
import pytest

from tf_seq2seq.errors import InputError
from tf_seq2seq.evaluation.alignments import plot_alignments


def labels(axis):
    return [label.get_text() for label in axis.get_ticklabels()]


def test_tokens_stand_at_their_axes_and_padding_is_cut(tmp_path):
    alignments = np.random.default_rng(0).dirichlet(np.ones(5), size=4)
    figure = plot_alignments(
        alignments,
        ["sí", b"se\xc3\xb1or", "</s>"],
        ["yes", "</s>"],
        path=tmp_path / "new" / "a.png",
        title="ñandú",
    )
    axes = figure.axes[0]
    assert labels(axes.xaxis) == ["sí", "señor", "</s>"] and labels(axes.yaxis) == ["yes", "</s>"]
    np.testing.assert_allclose(axes.images[0].get_array(), alignments[:2, :3], rtol=1e-6)
    assert (tmp_path / "new" / "a.png").read_bytes().startswith(b"\x89PNG")


def test_dark_is_much_attention(tmp_path):
    from PIL import Image

    plot_alignments(np.eye(2), ["a", "b"], ["a", "b"], path=tmp_path / "a.png")
    image = np.asarray(Image.open(tmp_path / "a.png").convert("L"), float)
    figure = plot_alignments(np.eye(2), ["a", "b"], ["a", "b"])
    colours = figure.axes[0].images[0].cmap([1.0, 0.0])[:, :3].mean(1)
    assert colours[0] < 0.4 and colours[1] > 0.9 and image.min() < 100 and image.max() == 255


def test_pieces_are_printed_as_words():
    figure = plot_alignments(np.eye(4), ["▁com", "er", "▁", "</s>"], ["▁eat", ".", "<unk>", "</s>"])
    assert labels(figure.axes[0].xaxis) == ["com", "·er", "␣", "</s>"]
    assert labels(figure.axes[0].yaxis) == ["eat", "·.", "<unk>", "</s>"]


@pytest.mark.parametrize("shape", [(2,), (1, 3), (3, 1), (1, 2, 2)])
def test_alignments_of_another_sentence_are_refused(shape):
    with pytest.raises(InputError, match="do not hold 2 output and 2 source tokens"):
        plot_alignments(np.zeros(shape), ["a", "b"], ["c", "d"])


def test_no_token_is_refused():
    with pytest.raises(InputError, match="no token to draw"):
        plot_alignments(np.zeros((2, 2)), [], ["a"])
