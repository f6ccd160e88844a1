import json
import tomllib

import pytest
import tomli_w
from hypothesis import given
from hypothesis import strategies as st

from heed.models.errors import ModelError
from heed.models.spec.network import NetworkSpec
from heed.models.spec.preset import TEXT_PRESETS, TRANSLATION_PRESETS, complete, merged, preset, sized
from heed.models.spec.tables import from_table, to_table
from heed.transformer.training.runs.settings import TextConfig, TranslationConfig

WHERE = "runs/x/config.toml"


def train_table(**changes: object) -> dict[str, object]:
    return to_table(TranslationConfig(src=("train.en",), tgt=("train.de",), steps=100_000)) | changes


def complaint(kind: type[NetworkSpec] | type[TranslationConfig], table: dict[str, object]) -> str:
    with pytest.raises(ModelError) as caught:
        from_table(kind, table, WHERE)
    return str(caught.value)


def network_table(**changes: object) -> dict[str, object]:
    """The paper's base network, with what differs."""
    return merged(to_table(NetworkSpec()), changes)


def decoder(**changes: object) -> dict[str, object]:
    """The paper's base network, with what differs in its decoder."""
    return network_table(decoder=changes)


@pytest.mark.parametrize("name", [*TRANSLATION_PRESETS, *TEXT_PRESETS])
def test_a_preset_is_a_network_and_a_training(name: str) -> None:
    tables = preset(name)
    assert set(tables) == {"network", "train"}
    network = from_table(NetworkSpec, complete(tables["network"]), name)
    assert (network.encoder is not None) == (name in TRANSLATION_PRESETS)
    train = train_table() if name in TRANSLATION_PRESETS else to_table(TextConfig(text=("a.txt",), steps=1))
    kind = TranslationConfig if name in TRANSLATION_PRESETS else TextConfig
    assert to_table(from_table(kind, train | tables["train"], name)).items() >= tables["train"].items()


def test_the_base_preset_is_the_default() -> None:
    tables = preset("base")
    assert sized(complete(tables["network"]), 37000, 37000, joint=True) == NetworkSpec()
    assert train_table(**tables["train"]) == train_table()


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


@given(st.data())
def test_a_network_s_table_gives_it_back(specs: st.SearchStrategy[NetworkSpec], data: st.DataObject) -> None:
    spec = data.draw(specs)
    assert from_table(NetworkSpec, to_table(spec), WHERE) == spec
    assert from_table(NetworkSpec, json.loads(json.dumps(to_table(spec))), WHERE) == spec
    assert from_table(NetworkSpec, tomllib.loads(tomli_w.dumps(to_table(spec))), WHERE) == spec


def test_what_is_absent_is_left_out_of_the_table() -> None:
    assert "epochs" not in train_table()
    assert from_table(TranslationConfig, train_table(), WHERE).epochs is None


def test_all_that_is_wrong_is_reported_at_once() -> None:
    table = network_table(d_modle=6, d_model="512", decoder={"norm": {"eps": "small"}, "positions": {"layout": 1}})
    del table["tied_output"]
    found = complaint(NetworkSpec, table)
    assert found.startswith(f"{WHERE}: ")
    for part in (
        "unknown key 'd_modle'",
        "missing key 'tied_output'",
        "d_model must be a whole number, not '512'",
        "decoder.norm.eps must be a number, not 'small'",
        "decoder.positions.layout must be text, not 1",
    ):
        assert part in found


def test_positions_of_no_known_kind_are_refused() -> None:
    assert "decoder.positions.kind must be one of 'sinusoidal', 'learned'" in complaint(
        NetworkSpec, decoder(positions={"kind": "absolute"})
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


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"n_layers": 0}, "n_layers must be at least 1, not 0"),
        ({"vocab_size": -3}, "vocab_size must be at least 1, not -3"),
        ({"attention": {"n_kv_heads": 3}}, "n_heads 8 must be a multiple of n_kv_heads 3"),
        ({"attention": {"window": 0}}, "window must be at least 1, not 0"),
        ({"attention": {"scale": -1.0}}, "scale must be a number above 0, not -1.0"),
        ({"feed_forward": {"activation": "tanh"}}, "activation must be one of 'relu', 'gelu'"),
        ({"norm": {"kind": "batch"}}, "kind must be one of 'layer', 'rms', not 'batch'"),
        ({"norm": {"eps": 0.0}}, "eps must be a number above 0 and below 1"),
        ({"positions": {"kind": "rotary"}, "attention": {"d_head": 7}}, "rotary positions need an even d_head, not 7"),
        ({"positions": {"kind": "relative", "n_buckets": 5}}, "n_buckets must be an even number of at least 4, not 5"),
        ({"positions": {"kind": "relative_sinusoids", "last_apart": True}}, "are for an encoder; choose others"),
    ],
    ids=str,
)
def test_an_impossible_stack_is_refused_by_name(changes: dict[str, object], words: str) -> None:
    found = complaint(NetworkSpec, decoder(**changes))
    assert found.startswith(f"{WHERE}: ")
    assert words in found


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"dropout": 1}, "dropout must be at least 0 and below 1, not 1"),
        ({"dropout": -0.1}, "not -0.1"),
        ({"d_model": 0}, "d_model must be at least 1, not 0"),
        ({"d_model": 511}, "d_model must be even"),
        ({"encoder": {"vocab_size": 9}}, "shared_embedding needs one vocabulary, not 9 and 37000 pieces"),
    ],
    ids=str,
)
def test_an_impossible_network_is_refused_by_name(changes: dict[str, object], words: str) -> None:
    assert words in complaint(NetworkSpec, network_table(**changes))


def test_separate_embeddings_take_two_vocabularies() -> None:
    spec = from_table(NetworkSpec, network_table(shared_embedding=False, encoder={"vocab_size": 9}), WHERE)
    assert spec.encoder is not None
    assert spec.encoder.vocab_size == 9
    assert spec.embedding_of("decoder") == spec.output == "tgt_embedding"


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
    assert "one of steps, epochs and minutes must be given" in complaint(TranslationConfig, table)
    for limit in ("steps", "epochs", "minutes"):
        from_table(TranslationConfig, table | {limit: 1}, WHERE)


def test_options_that_go_together_are_refused_apart() -> None:
    assert "valid_src and valid_tgt must be given together" in complaint(
        TranslationConfig, train_table(valid_src=["valid.en"])
    )
    assert "not 3" in complaint(TranslationConfig, train_table(tokenizer=["a", "b", "c"]))
