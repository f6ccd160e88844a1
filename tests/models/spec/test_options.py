"""Options of commands that change a network."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from heed.models.errors import ModelError
from heed.models.spec.network import NetworkSpec
from heed.models.spec.options import changed, lookup
from heed.models.spec.preset import complete, network_spec, preset
from heed.models.spec.stack import AttentionSpec
from heed.models.spec.tables import to_table


def small(**given: object) -> NetworkSpec:
    return network_spec(changed(complete(preset("small")["network"]), given), "small")


def test_what_belongs_together_changes_together() -> None:
    spec = small(n_heads=2, d_model=64, norm_placement="before", encoder_layers=6, decoder_layers=2)
    assert spec.encoder is not None
    assert spec.decoder is not None
    assert (spec.encoder.n_layers, spec.decoder.n_layers) == (6, 2)
    for stack in (spec.encoder, spec.decoder):
        assert (stack.attention.n_heads, stack.attention.n_kv_heads, stack.attention.d_head) == (2, 2, 32)
        assert (stack.norm.placement, stack.norm.last) == ("before", True)
    assert small(n_heads=4, d_head=10, n_kv_heads=1).decoder.attention == AttentionSpec(  # type: ignore[union-attr]
        n_heads=4, n_kv_heads=1, d_head=10
    )


def test_positions_of_another_kind_keep_how_many_fit() -> None:
    table = changed(complete(preset("gpt-tiny")["network"]), {"positions": "learned"})
    assert (lookup(table, "positions"), lookup(table, "context")) == ("learned", 256)
    assert lookup(changed(table, {"context": 99, "positions": "rotary"}), "context") == 99


def test_an_option_that_is_not_for_a_network_is_refused_by_name() -> None:
    alone = complete(preset("gpt2")["network"])
    for table, asked, words in (
        (alone, {"encoder_layers": 2}, "encoder_layers: the network has no encoder"),
        (complete(preset("small")["network"]), {"context": 9}, "context: positions of this kind fit any number"),
        (alone, {"n_heads": 5}, "d_model 768 must be a multiple of n_heads 5, or give d_head"),
    ):
        with pytest.raises(ModelError, match=words):
            changed(table, asked)


@given(data=st.data())
@settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow])
def test_an_option_that_says_what_is_so_changes_nothing(
    specs: st.SearchStrategy[NetworkSpec], data: st.DataObject
) -> None:
    table = to_table(data.draw(specs))
    for option in ("d_model", "dropout", "d_ff", "activation", "gated", "norm_kind", "positions"):
        value = lookup(table, option)
        if not isinstance(value, list) and option != "d_model":
            assert changed(table, {option: value}) == table
