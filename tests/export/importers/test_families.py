"""Every family against transformers: random models, the same logits."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch.testing import assert_close

from heed.export.importers.checkpoints import read_network
from heed.export.importers.formats.checkpoint import Checkpoint
from heed.models.errors import ModelError
from heed.transformer.masks import padding_mask
from heed.transformer.model import Transformer
from tests.export.importers import tiny

T, PAD = 37, 1  # longer than windows, distances of relative positions and the texts of the first training


def network(path: Path) -> Transformer:
    """The network of a checkpoint, in PyTorch."""
    spec, weights = read_network(Checkpoint(path))
    with torch.device("meta"):
        found = Transformer(spec)
    state = {name: torch.from_numpy(weights[name]) for name in weights}
    found.load_state_dict(state, assign=True)
    return found.eval()


def ids(vocab_size: int) -> torch.Tensor:
    """Random tokens, (3, T), none of them padding."""
    return torch.randint(PAD + 2, vocab_size, (3, T), generator=torch.Generator().manual_seed(3))


@torch.inference_mode()
def logits(model: Transformer) -> torch.Tensor:
    """What a network of heed predicts: of a batch with padding, if it translates."""
    spec = model.spec
    if spec.decoder is None:
        src = padded(ids(spec.last.vocab_size))
        return without_padding(src, model(src, padding_mask(src, PAD)))
    tgt = ids(spec.decoder.vocab_size)
    if spec.encoder is None:
        return model(tgt=tgt)
    src = padded(ids(spec.encoder.vocab_size))
    return model(src, padding_mask(src, PAD), tgt)


@torch.inference_mode()
def reference(model: Any) -> torch.Tensor:
    """What transformers predicts of the same."""
    config = model.config
    tgt = ids(getattr(config, "decoder_vocab_size", config.vocab_size))
    src = padded(ids(config.vocab_size))
    if type(model).__name__.endswith("ForMaskedLM"):
        return without_padding(src, model(input_ids=src, attention_mask=(src != PAD).long()).logits)
    if type(model).__name__ == "XLNetLMHeadModel":  # the states of its encoder, as heed multiplies them
        states = model.transformer(**last_apart(src)).last_hidden_state
        return without_padding(src, states @ model.transformer.word_embedding.weight.T)
    if not config.is_encoder_decoder:
        return model(tgt).logits
    return model(input_ids=src, attention_mask=(src != PAD).long(), decoder_input_ids=tgt).logits


def padded(src: torch.Tensor) -> torch.Tensor:
    """The same with rows of several lengths."""
    src = src.clone()
    src[1, 20:], src[2, 5:] = PAD, PAD
    return src


def last_apart(src: torch.Tensor) -> dict[str, torch.Tensor]:
    """What XLNet reads: the last token of each text is in a segment of its own."""
    mask = (src != PAD).long()
    last = torch.arange(src.shape[1]) == mask.sum(1, keepdim=True) - 1
    return {"input_ids": src, "attention_mask": mask, "token_type_ids": 2 * last}


def without_padding(src: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    """Logits of an encoder alone, which are of no account at padding."""
    return logits.masked_fill((src == PAD)[:, :, None], 0.0)


def assert_same(found: torch.Tensor, expected: torch.Tensor) -> None:
    """Log-probabilities are those of the reference."""
    assert expected.std() > 0.3
    assert_close(found.log_softmax(-1), expected.log_softmax(-1), rtol=0, atol=1e-4)


@pytest.mark.parametrize("form", tiny.FORMS)
def test_predicts_what_transformers_predicts(form: str, tmp_path: Path) -> None:
    model = tiny.save(form, tmp_path)
    assert_same(logits(network(tmp_path)), reference(model))


# Changes of a configuration's values: what the network computes changes, or the import is refused.
MUTATIONS: dict[str, dict[str, Any]] = {
    "bart": {
        "activation_function": "relu",
        "decoder_attention_heads": 4,
        "encoder_layers": 1,
        "encoder_attention_heads": 2,
        "max_position_embeddings": 50,
        "scale_embedding": False,
        "normalize_before": True,
        "tie_word_embeddings": False,
        "something_new": 1,
    },
    "bert": {
        "hidden_act": "relu",
        "intermediate_size": 30,
        "is_decoder": True,
        "layer_norm_eps": 1e-12,
        "max_position_embeddings": 39,
        "num_attention_heads": 2,
        "num_hidden_layers": 2,
        "position_embedding_type": "relative_key",
        "something_new": 1,
    },
    "roberta": {"hidden_act": "gelu", "pad_token_id": 0, "layer_norm_eps": 1e-12},
    "distilbert": {"activation": "gelu", "n_heads": 2, "hidden_dim": 30},
    "xlnet": {
        "attn_type": "uni",
        "bi_data": True,
        "clamp_len": 3,
        "d_head": 8,
        "d_inner": 30,
        "ff_activation": "gelu",
        "layer_norm_eps": 1e-12,
        "n_head": 2,
        "n_layer": 2,
        "something_new": 1,
        "summary_type": "mean",
    },
    "marian-separate": {"decoder_vocab_size": 53, "share_encoder_decoder_embeddings": True},
    "t5": {
        "d_kv": 4,
        "feed_forward_proj": "gated-gelu",
        "layer_norm_epsilon": 1e-6,
        "num_heads": 5,
        "relative_attention_max_distance": 128,
        "relative_attention_num_buckets": 16,
        "scale_decoder_outputs": False,
        "is_decoder": True,
    },
    "gpt2": {
        "activation_function": "relu",
        "layer_norm_epsilon": 1e-5,
        "n_head": 2,
        "n_inner": 96,
        "n_positions": 30,
        "scale_attn_weights": False,
        "scale_attn_by_inverse_layer_idx": True,
        "add_cross_attention": True,
    },
    "llama3": {
        "attention_bias": True,
        "head_dim": 4,
        "hidden_act": "gelu",
        "mlp_bias": True,
        "num_attention_heads": 2,
        "num_key_value_heads": 4,
        "rms_norm_eps": 1e-6,
        "rope_parameters": {"rope_type": "default", "rope_theta": 7000.0},
        "partial_rotary_factor": 0.5,
        "quantization_config": {"quant_method": "awq"},
        "auto_map": {"AutoModel": "modeling.Model"},
    },
    "mistral": {"sliding_window": 7, "model_type": "llama"},
    "qwen2": {"use_sliding_window": True, "layer_types": ["sliding_attention"] * 3},
}
MUTATED = [(form, key) for form, changes in MUTATIONS.items() for key in changes]


@pytest.mark.parametrize(("form", "key"), MUTATED)
def test_no_value_of_a_configuration_is_overlooked(form: str, key: str, tmp_path: Path) -> None:
    expected = reference(tiny.save(form, tmp_path))
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {key: MUTATIONS[form][key]}))
    try:
        found = logits(network(tmp_path))
    except ModelError as error:
        assert str(error).count("\n") == 0  # noqa: PT017 - either is right
    else:
        assert found.shape != expected.shape or (found - expected).abs().max() > 1e-3


@pytest.mark.parametrize("change", [{"factor": 8.0}, {"low_freq_factor": 1.0}, {"high_freq_factor": 4.0}], ids=str)
def test_no_value_of_a_rotation_is_overlooked(change: dict[str, float], tmp_path: Path) -> None:
    expected = reference(tiny.save("llama3", tmp_path))
    tiny.save("llama3", tmp_path, rope_parameters=tiny.LLAMA3 | change)
    assert (logits(network(tmp_path)) - expected).abs().max() > 1e-3


def test_old_files_say_how_to_rotate_in_two_keys(tmp_path: Path) -> None:
    expected = reference(tiny.save("llama3", tmp_path))
    config = json.loads((tmp_path / "config.json").read_text())
    scaling = config.pop("rope_parameters")
    config |= {"rope_theta": scaling.pop("rope_theta"), "rope_scaling": scaling}
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert_same(logits(network(tmp_path)), expected)


@pytest.mark.parametrize("form", ["bart", "t5", "gpt2", "llama3", "bert", "roberta", "distilbert", "xlnet"])
def test_names_that_old_files_hold_twice(form: str, tmp_path: Path) -> None:
    """pytorch_model.bin has tied matrices under all of their names."""
    model = tiny.save(form, tmp_path)
    (tmp_path / "model.safetensors").unlink()
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    assert_same(logits(network(tmp_path)), reference(model))


@pytest.mark.parametrize("form", ["marian", "marian-separate", "gpt2", "llama", "mt5"])
def test_shards_are_one_checkpoint(form: str, tmp_path: Path) -> None:
    model = tiny.draw(form)
    model.save_pretrained(tmp_path, max_shard_size="10KB")
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 2
    assert_same(logits(network(tmp_path)), reference(model))


def test_networks_without_their_head(tmp_path: Path) -> None:
    model = tiny.draw("gpt2")
    model.transformer.save_pretrained(tmp_path)
    assert_same(logits(network(tmp_path)), reference(model))


@pytest.mark.parametrize("form", ["bert", "roberta", "distilbert"])
def test_encoders_without_their_head(form: str, tmp_path: Path) -> None:
    """Their states are the same; old files call a norm's weight and bias gamma and beta."""
    model = tiny.draw(form)
    state = {
        re.sub(r"LayerNorm\.weight$", "LayerNorm.gamma", re.sub(r"LayerNorm\.bias$", "LayerNorm.beta", name)): tensor
        for name, tensor in model.base_model.state_dict().items()
    }
    model.base_model.save_pretrained(tmp_path)
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, tmp_path / "model.safetensors")
    found, src = network(tmp_path), padded(ids(53))
    assert found.spec.output_transform is None
    with torch.inference_mode():
        states = found.encode(src, padding_mask(src, PAD))
        expected = model.base_model(input_ids=src, attention_mask=(src != PAD).long()).last_hidden_state
    assert_close(states[src != PAD], expected[src != PAD], rtol=0, atol=1e-4)


def test_bfloat16_is_read(tmp_path: Path) -> None:
    tiny.draw("llama").bfloat16().save_pretrained(tmp_path)
    model = tiny.model_class("Llama").from_pretrained(tmp_path, dtype=torch.float32)
    assert_same(logits(network(tmp_path)), reference(model))


def test_a_separate_output_matrix_is_used_whatever_the_configuration_says(tmp_path: Path) -> None:
    """T5 v1.1 of before transformers 5 says so by a key that now means another thing."""
    expected = reference(tiny.save("t5-v1.1", tmp_path))
    config = json.loads((tmp_path / "config.json").read_text())
    del config["scale_decoder_outputs"]
    (tmp_path / "config.json").write_text(json.dumps(config | {"tie_word_embeddings": False}))
    assert_same(logits(network(tmp_path)), expected)
