import tomllib

import pytest
import tomli_w
from hypothesis import given
from hypothesis import strategies as st

from heed.models.errors import ModelError
from heed.models.spec.config import TRANSLATION_PRESETS, ModelConfig, from_table, preset, to_table
from heed.transformer.training.runs.settings import TranslationConfig

WHERE = "runs/x/config.toml"


def train_table(**changes: object) -> dict[str, object]:
    return to_table(TranslationConfig(src=("train.en",), tgt=("train.de",), steps=100_000)) | changes


def complaint(kind: type[ModelConfig] | type[TranslationConfig], table: dict[str, object]) -> str:
    with pytest.raises(ModelError) as caught:
        from_table(kind, table, WHERE)
    return str(caught.value)


@pytest.mark.parametrize("name", TRANSLATION_PRESETS)
def test_a_preset_is_a_network_and_a_training(name: str) -> None:
    tables = preset(name)
    assert set(tables) == {"model", "train"}
    model = from_table(ModelConfig, to_table(ModelConfig()) | tables["model"], name)
    train = from_table(TranslationConfig, train_table(**tables["train"]), name)
    assert to_table(model).items() >= tables["model"].items()
    assert to_table(train).items() >= tables["train"].items()


def test_the_base_preset_is_the_default() -> None:
    tables = preset("base")
    assert from_table(ModelConfig, to_table(ModelConfig()) | tables["model"], "base") == ModelConfig()
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


def test_what_is_absent_is_left_out_of_the_table() -> None:
    assert "epochs" not in train_table()
    assert from_table(TranslationConfig, train_table(), WHERE).epochs is None


def test_all_that_is_wrong_is_reported_at_once() -> None:
    table = to_table(ModelConfig()) | {"n_layer": 6, "d_model": "512", "tied_embeddings": 1}
    del table["n_layers"], table["norm"]
    assert complaint(ModelConfig, table) == (
        f"{WHERE}: unknown key 'n_layer'; missing key 'n_layers'; missing key 'norm'; "
        "d_model must be a whole number, not '512'; tied_embeddings must be true or false, not 1"
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
    table = to_table(ModelConfig()) | {"n_layers": 0, "dropout": 1.0, "norm": "both", "src_vocab_size": 9}
    found = complaint(ModelConfig, table)
    assert found.startswith(f"{WHERE}: ")
    for part in ("n_layers", "dropout", "norm", "src_vocab_size 9 and tgt_vocab_size 37000"):
        assert part in found


@pytest.mark.parametrize("name", ["n_layers", "d_model", "d_ff", "n_heads", "src_vocab_size", "tgt_vocab_size"])
@pytest.mark.parametrize("value", [0, -3])
def test_a_network_has_no_size_below_1(name: str, value: int) -> None:
    assert f"{name} must be " in complaint(ModelConfig, to_table(ModelConfig()) | {name: value})


@pytest.mark.parametrize(("d_model", "n_heads"), [(512, 7), (12, 4), (3, 1), (4, 8)])
def test_heads_and_sinusoids_share_the_width(d_model: int, n_heads: int) -> None:
    found = complaint(ModelConfig, to_table(ModelConfig()) | {"d_model": d_model, "n_heads": n_heads})
    assert f"d_model {d_model} must be a multiple of 2 \u00d7 n_heads {n_heads}" in found


@pytest.mark.parametrize("dropout", [-0.1, 1, 1.5])
def test_dropout_is_a_share_below_1(dropout: float) -> None:
    assert f"not {dropout!r}" in complaint(ModelConfig, to_table(ModelConfig()) | {"dropout": dropout})


def test_separate_embeddings_take_two_vocabularies() -> None:
    config = ModelConfig(tied_embeddings=False, src_vocab_size=9, tgt_vocab_size=7)
    assert (config.src_vocab_size, config.tgt_vocab_size) == (9, 7)


def test_the_width_of_a_head_is_a_share_of_the_width() -> None:
    assert ModelConfig(d_model=512, n_heads=8).d_head == 64


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
