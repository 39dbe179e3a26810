"""A model card tells what is exported, for every model of the zoo and every strategy."""

import batteries
import pytest
from tiny_generator import tiny_generator

from tf_seq2seq.decoding.greedy import Greedy
from tf_seq2seq.errors import InputError
from tf_seq2seq.export import card, description
from tf_seq2seq.export.options import NAMES, OPTIONS, Limits, filled

LIMITS = Limits(beam_size=6, target_length=120, source_length=77)


def test_it_tells_options_limits_and_what_its_maker_tells(tmp_path):
    version = tmp_path / "es_en" / "3"
    version.mkdir(parents=True)
    generator = tiny_generator(Greedy(6))
    card.write(generator, version, version, LIMITS, "bfloat16", "Data: none.")
    text = (version / card.FILE).read_text(encoding="utf-8")
    assert text.startswith("# es_en, version 3\n\nData: none.\n") and "weights stored in bfloat16" in text
    assert "77 source tokens" in text and "120 target tokens" in text and "6 hypotheses" in text
    assert all(f"| `{name}` |" in text for name in OPTIONS)
    assert "Its maker told nothing" in card.card(generator, LIMITS, "float32", None, "a", "1")


@pytest.mark.parametrize("name", batteries.ZOO)
def test_every_model_is_told_in_words(name):
    generator = tiny_generator(Greedy(6))
    generator.model = batteries.ZOO[name]()
    told = card.card(generator, LIMITS, "float32", None, "a", "1")
    assert f"{generator.model.count_params():,}; weights" in told
    cell = "GRU" if name in ("cho2014", "bahdanau2015") else "LSTM"
    assert f"{cell} decoder of" in told and ("no attention" in told) == (
        generator.model.decoder.wrapper.attention is None
    )


@pytest.mark.parametrize("name", batteries.STRATEGIES)
def test_strategies_as_options_are_options_that_there_are(name):
    """What the options cannot say is None, never something else."""
    strategy = batteries.STRATEGIES[name]()
    options = description.options_of(strategy)
    assert type(strategy).__name__ in card.card(tiny_generator(strategy), LIMITS, "float32", None, "a", "1")
    if options is None:
        assert type(strategy).__name__ not in ("Greedy",)
    else:
        assert [*filled(options, rows=1)] == [*NAMES]


def test_a_card_that_cannot_be_read_is_told(tmp_path):
    with pytest.raises(InputError, match="give --card a file of Markdown"):
        card.read_about(tmp_path / "none")
