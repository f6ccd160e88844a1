import tomllib

import pytest
import tomli_w
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from heed.models.errors import ModelError
from heed.models.spec.network import NetworkSpec
from heed.models.spec.options import changed, lookup
from heed.models.spec.presets import PRESETS, complete, network_spec, preset
from heed.models.spec.stack import AttentionSpec, StackSpec
from heed.models.spec.tables import defaults, from_table, to_table
from heed.transformer.training.runs.run import RUNS
from heed.transformer.training.runs.settings import TranslationConfig

WHERE = "runs/x/config.toml"


def train_table(**changes: object) -> dict[str, object]:
    return to_table(TranslationConfig(src=("train.en",), tgt=("train.de",), steps=100_000)) | changes


def complaint(kind: type[NetworkSpec] | type[TranslationConfig], table: dict[str, object]) -> str:
    with pytest.raises(ModelError) as caught:
        from_table(kind, table, WHERE)
    return str(caught.value)


@pytest.mark.parametrize(("task", "name"), [(task, name) for task, names in PRESETS.items() for name in names])
def test_a_preset_is_a_network_and_a_training(task: str, name: str) -> None:
    tables = preset(name)
    assert set(tables) == {"network", "train"}
    spec = network_spec(complete(tables["network"]), name)
    assert (spec.encoder is not None, spec.decoder is not None) == (task == "translate", True)
    files = {"src": ["a"], "tgt": ["b"]} if task == "translate" else {"text": ["a"]}
    kind = RUNS[task].settings
    train = from_table(kind, defaults(kind) | tables["train"] | files, name)  # type: ignore[arg-type]
    assert to_table(train).items() >= tables["train"].items()


def test_the_base_preset_is_the_default() -> None:
    tables = preset("base")
    assert network_spec(complete(tables["network"]), "base") == NetworkSpec()
    assert train_table(**tables["train"]) == train_table()


@given(data=st.data())
@settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow])
def test_a_table_gives_its_network_back(specs: st.SearchStrategy[NetworkSpec], data: st.DataObject) -> None:
    spec = data.draw(specs)
    assert network_spec(to_table(spec), WHERE) == spec
    assert network_spec(tomllib.loads(tomli_w.dumps(to_table(spec))), WHERE) == spec


TEXT = st.text("abc\u00e9 /\\\"'\n")
TRAINING = st.builds(
    TranslationConfig,
    src=st.lists(TEXT, min_size=1, max_size=2).map(tuple),
    tgt=st.lists(TEXT, min_size=1, max_size=2).map(tuple),
    src_language=TEXT,
    joint=st.booleans(),
    learning_rate_scale=st.floats(1e-6, 1e3),
    steps=st.integers(1, 10**9),
    epochs=st.none() | st.integers(1, 9),
    minutes=st.none() | st.floats(1e-3, 1e6),
    seed=st.integers(0, 2**63 - 1),
)


@given(TRAINING)
def test_a_table_gives_its_configuration_back(config: TranslationConfig) -> None:
    assert from_table(TranslationConfig, to_table(config), WHERE) == config
    through_a_file = tomllib.loads(tomli_w.dumps(to_table(config)))
    assert from_table(TranslationConfig, through_a_file, WHERE) == config


def test_what_is_absent_is_left_out_of_the_table() -> None:
    assert "epochs" not in train_table()
    assert from_table(TranslationConfig, train_table(), WHERE).epochs is None


def test_all_that_is_wrong_is_reported_at_once() -> None:
    table = complete({"encoder": {}, "decoder": {"attention": {"n_head": 6}}, "d_model": "512", "tied_output": 1})
    del table["dropout"]
    assert complaint(NetworkSpec, table) == (
        f"{WHERE}: missing key 'dropout'; d_model must be a whole number, not '512'; "
        "unknown key 'decoder.attention.n_head'; tied_output must be true or false, not 1"
    )


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("steps", 1.5, "a whole number, not 1.5"),
        ("steps", True, "a whole number, not True"),
        ("epochs", "3", "a whole number, not '3'"),
        ("learning_rate_scale", "1", "a number, not '1'"),
        ("minutes", False, "a number, not False"),
        ("precision", 16, "text, not 16"),
        ("joint", "yes", "true or false, not 'yes'"),
        ("src", "train.en", "a list, not 'train.en'"),
        ("src", [1], "a list, not [1]"),
    ],
)
def test_a_value_of_a_wrong_type_is_named(key: str, value: object, words: str) -> None:
    assert complaint(TranslationConfig, train_table(**{key: value})) == f"{WHERE}: {key} must be {words}"


def test_a_whole_number_is_a_number() -> None:
    assert from_table(TranslationConfig, train_table(minutes=5, learning_rate_scale=2), WHERE).minutes == 5


def test_all_impossible_values_are_reported_at_once() -> None:
    with pytest.raises(ModelError) as caught:
        NetworkSpec(d_model=3, dropout=1.0, encoder=StackSpec(vocab_size=9))
    for part in ("d_model must be even", "dropout", "shared_embedding needs one vocabulary, not 9 and 37000 pieces"):
        assert part in str(caught.value)
    with pytest.raises(ModelError, match="n_heads must be at least 1, not 0; d_head must be at least 1, not -2"):
        AttentionSpec(n_heads=0, d_head=-2)


@pytest.mark.parametrize("dropout", [-0.1, 1, 1.5])
def test_dropout_is_a_share_below_1(dropout: float) -> None:
    with pytest.raises(ModelError, match=f"not {dropout!r}"):
        NetworkSpec(dropout=dropout)


# Options


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
    for table, given, words in (
        (alone, {"encoder_layers": 2}, "encoder_layers: the network has no encoder"),
        (complete(preset("small")["network"]), {"context": 9}, "context: positions of this kind fit any number"),
        (alone, {"n_heads": 5}, "d_model 768 must be a multiple of n_heads 5, or give d_head"),
    ):
        with pytest.raises(ModelError, match=words):
            changed(table, given)


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


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((name, 0) for name in ("vocab_size", "batch_tokens", "max_length", "warmup", "valid_every", "average")),
        *((name, 0) for name in ("steps", "epochs", "minutes", "learning_rate_scale")),
        ("learning_rate_scale", -1.0),
        ("learning_rate_scale", float("inf")),
        ("minutes", float("nan")),
        ("label_smoothing", 1.0),
        ("label_smoothing", -0.1),
        ("seed", -1),  # PyTorch takes it, NumPy does not
        ("precision", "float16"),
    ],
)
def test_an_impossible_training_is_refused_by_name(name: str, value: object) -> None:
    found = complaint(TranslationConfig, train_table(**{name: value}))
    assert found.startswith(f"{WHERE}: {name} must be ")
    assert repr(value) in found


def test_a_training_without_an_end_is_refused() -> None:
    table = train_table()
    del table["steps"]
    assert "one of steps, epochs and minutes must say when to stop" in complaint(TranslationConfig, table)
    for limit in ("steps", "epochs", "minutes"):
        from_table(TranslationConfig, table | {limit: 1}, WHERE)


def test_options_that_go_together_are_refused_apart() -> None:
    assert "valid_src and valid_tgt go together" in complaint(TranslationConfig, train_table(valid_src=["valid.en"]))
    assert "not 3" in complaint(TranslationConfig, train_table(tokenizer=["a", "b", "c"]))
