"""Tiny random models of transformers, in which every number counts and no value is its default."""

from pathlib import Path
from typing import Any

import torch
import transformers

DEVIATION = 0.3  # with that of transformers, 0.02, wrong facts change next to nothing

BART_SIZES: dict[str, Any] = {
    "vocab_size": 53,
    "d_model": 24,
    "encoder_layers": 2,
    "decoder_layers": 3,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 20,
    "decoder_ffn_dim": 28,
    "max_position_embeddings": 40,
    "pad_token_id": 1,
    "bos_token_id": 0,
    "eos_token_id": 2,
    "decoder_start_token_id": 2,
    "forced_eos_token_id": None,
}
T5_SIZES: dict[str, Any] = {
    "vocab_size": 53,
    "d_model": 24,
    "d_kv": 5,
    "d_ff": 28,
    "num_layers": 2,
    "num_decoder_layers": 3,
    "num_heads": 4,
    "relative_attention_num_buckets": 8,
    "relative_attention_max_distance": 20,
    "layer_norm_epsilon": 1e-3,
    "decoder_start_token_id": 0,
}
LLAMA_SIZES: dict[str, Any] = {
    "vocab_size": 53,
    "hidden_size": 24,
    "intermediate_size": 28,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 64,
    "rms_norm_eps": 1e-3,
    "rope_parameters": {"rope_type": "default", "rope_theta": 7000.0},
    "tie_word_embeddings": False,
}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 7000.0,
    "factor": 4.0,
    "low_freq_factor": 1.5,
    "high_freq_factor": 3.0,
    "original_max_position_embeddings": 16,
}
YARN = {
    "rope_type": "yarn",
    "rope_theta": 7000.0,
    "factor": 4.0,
    "beta_fast": 8.0,
    "beta_slow": 2.0,
    "original_max_position_embeddings": 16,
}
LINEAR = {"rope_type": "linear", "rope_theta": 7000.0, "factor": 3.0}
GPT2_SIZES: dict[str, Any] = {
    "vocab_size": 53,
    "n_embd": 24,
    "n_layer": 3,
    "n_head": 4,
    "n_inner": 28,
    "n_positions": 40,
    "layer_norm_epsilon": 1e-3,
    "activation_function": "gelu",
    "bos_token_id": 0,
    "eos_token_id": 0,
}
BERT_SIZES: dict[str, Any] = {
    "vocab_size": 53,
    "hidden_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 28,
    "max_position_embeddings": 40,
    "layer_norm_eps": 1e-3,
    "type_vocab_size": 2,
    "pad_token_id": 1,
}
DISTILBERT_SIZES: dict[str, Any] = {
    "vocab_size": 53,
    "dim": 24,
    "n_layers": 3,
    "n_heads": 4,
    "hidden_dim": 28,
    "max_position_embeddings": 40,
    "pad_token_id": 1,
}
XLNET_SIZES: dict[str, Any] = {
    "vocab_size": 53,
    "d_model": 24,
    "n_layer": 3,
    "n_head": 4,
    "d_inner": 28,
    "layer_norm_eps": 1e-3,
    "mem_len": 7,
    "pad_token_id": 1,
}
# Name of a form: its class in transformers, its configuration, and what differs.
FORMS: dict[str, tuple[str, dict[str, Any]]] = {
    "marian": ("Marian", BART_SIZES | {"activation_function": "swish", "scale_embedding": True}),
    "marian-separate": (
        "Marian",
        BART_SIZES
        | {"activation_function": "relu", "share_encoder_decoder_embeddings": False, "decoder_vocab_size": 47},
    ),
    "m2m100": ("M2M100", BART_SIZES | {"activation_function": "gelu", "scale_embedding": False}),
    "bart": ("Bart", BART_SIZES | {"activation_function": "gelu_new", "scale_embedding": True}),
    "mbart": ("MBart", BART_SIZES | {"activation_function": "relu", "scale_embedding": True}),
    "t5": ("T5", T5_SIZES | {"feed_forward_proj": "relu"}),
    "t5-v1.1": (
        "T5",
        T5_SIZES | {"feed_forward_proj": "gated-gelu", "scale_decoder_outputs": False, "tie_word_embeddings": False},
    ),
    "mt5": ("MT5", T5_SIZES | {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}),
    "gpt2": ("GPT2", GPT2_SIZES),
    "bert": ("Bert", BERT_SIZES | {"hidden_act": "gelu_new"}),
    "roberta": ("Roberta", BERT_SIZES | {"hidden_act": "relu"}),
    "xlm-roberta": ("XLMRoberta", BERT_SIZES | {"type_vocab_size": 1}),
    "distilbert": ("DistilBert", DISTILBERT_SIZES | {"activation": "relu"}),
    "xlnet": ("XLNet", XLNET_SIZES | {"ff_activation": "relu"}),
    "llama": ("Llama", LLAMA_SIZES | {"attention_bias": True}),
    "llama-linear": ("Llama", LLAMA_SIZES | {"rope_parameters": LINEAR}),
    "llama3": ("Llama", LLAMA_SIZES | {"rope_parameters": LLAMA3, "tie_word_embeddings": True}),
    "llama-yarn": ("Llama", LLAMA_SIZES | {"rope_parameters": YARN}),
    "mistral": ("Mistral", LLAMA_SIZES | {"sliding_window": 6}),
    "qwen2": ("Qwen2", LLAMA_SIZES),
    "qwen3": ("Qwen3", LLAMA_SIZES | {"tie_word_embeddings": True}),
}
ENCODERS = ("Bert", "Roberta", "XLMRoberta", "DistilBert")


def model_class(family: str) -> Any:
    """The class of transformers that generates by networks of a family."""
    if family in ENCODERS:
        return getattr(transformers, f"{family}ForMaskedLM")
    names = [f"{family}{head}" for head in ("ForConditionalGeneration", "ForCausalLM", "MTModel", "LMHeadModel")]
    return next(getattr(transformers, name) for name in names if hasattr(transformers, name) and _generates(name))


def _generates(name: str) -> bool:
    return name not in ("MarianForCausalLM", "BartForCausalLM", "MBartForCausalLM")


def draw(form: str, **changes: Any) -> Any:
    """A random model of a form, with some values of its configuration changed."""
    family, sizes = FORMS[form]
    config = getattr(transformers, f"{family}Config")(**sizes | changes)
    torch.manual_seed(5)
    model = model_class(family)(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "embed_positions" in name and family in ("Marian", "M2M100"):
                continue  # sinusoids
            norm = "norm" in name.lower() or ".ln_" in name
            parameter.copy_(torch.randn_like(parameter) * DEVIATION + (norm and name.endswith("weight")))
        if hasattr(model, "final_logits_bias"):
            model.final_logits_bias.copy_(torch.randn_like(model.final_logits_bias))
    return model


def save(form: str, path: Path, **changes: Any) -> Any:
    """Draw a model and write it as a checkpoint; returns the model as transformers reads it again."""
    model = draw(form, **changes)
    model.save_pretrained(path)
    return model
