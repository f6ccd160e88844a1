"""The weights of heed's networks as CTranslate2 reads them."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from heed.models.tokenizers.subwords import Tokenizer

if TYPE_CHECKING:  # torch stays out of the processes whose memory is measured
    from heed.transformer.data.shortlist import Shortlist
    from heed.transformer.model import Transformer


def convert(run_path: Path, directory: Path) -> None:
    """Convert the run's weights for CTranslate2, unless that is done."""
    from heed.transformer.data.shortlist import Shortlist
    from heed.transformer.training.runs.run import TranslationRun

    if not directory.exists():
        run = TranslationRun.open(run_path)
        network = run.load_network(run.best()[0])
        assert isinstance(run.tgt_tokenizer, Tokenizer), "heed learnt it"
        write_model(network, pieces_of(run.tgt_tokenizer), Shortlist.load(run_path), directory)


def convert_bundle(bundle: Path, work: Path) -> None:
    """Copy a bundle, and convert its weights for CTranslate2, unless that is done."""
    from heed.export.importers.bundle import from_bundle
    from heed.models.bundle.bundle import Bundle
    from heed.transformer.model import Transformer

    if not (work / "heed").exists():
        shutil.copytree(bundle, work / "heed")
    if not (work / "ctranslate2").exists():
        initial, network = from_bundle(bundle), Transformer(Bundle(bundle).manifest.network)
        network.load_state_dict(initial.weights, strict=False)  # tied matrices stand there once
        pieces = pieces_of(Tokenizer.load(Path(initial.tokenizer[-1])))
        write_model(network, pieces, initial.shortlist, work / "ctranslate2")


def pieces_of(tokenizer: Tokenizer) -> list[str]:
    """The pieces of a vocabulary."""
    return [tokenizer.piece(i) for i in range(len(tokenizer))]


def write_model(network: "Transformer", pieces: list[str], shortlist: "Shortlist | None", directory: Path) -> None:
    """Write a network for CTranslate2, with its shortlist."""
    write_weights(network, pieces, directory)
    if shortlist:
        write_vmap(shortlist, pieces, directory / "vmap.txt")


def write_weights(network: "Transformer", pieces: list[str], directory: Path, precision: str = "int8") -> None:
    """Write a network's weights for CTranslate2."""
    import torch
    from ctranslate2.specs import common_spec, transformer_spec  # pyright: ignore[reportMissingImports]

    from heed.transformer.positions import sinusoids

    network_spec = network.spec
    assert network_spec.encoder is not None
    assert network_spec.decoder is not None
    before = network_spec.decoder.norm.placement == "before"
    state = {name: tensor.float().numpy() for name, tensor in network.state_dict().items()}
    n_layers = network_spec.encoder.n_layers, network_spec.decoder.n_layers
    spec: Any = transformer_spec.TransformerSpec.from_config(
        n_layers,
        network_spec.decoder.attention.n_heads,
        pre_norm=before,
        activation=common_spec.Activation.RELU,
    )
    positions = sinusoids(torch.arange(1024), network_spec.d_model).numpy()
    names = (network_spec.embedding_of(stack) for stack in ("encoder", "decoder"))
    for side, name in zip((spec.encoder, spec.decoder), names, strict=True):
        embeddings = side.embeddings[0] if isinstance(side.embeddings, list) else side.embeddings
        embeddings.weight = state[f"{name}.weight"]
        side.position_encodings.encodings = positions

    def norm(target: Any, name: str) -> None:
        target.gamma, target.beta = state[f"{name}.weight"], state[f"{name}.bias"]

    def attention(target: Any, name: str, residual: str, groups: list[tuple[str, ...]]) -> None:
        for linear, parts in zip(target.linear, groups, strict=True):
            linear.weight = np.concatenate([state[f"{name}.{part}.weight"] for part in parts])
        norm(target.layer_norm, f"{residual}.norm")

    for stack, layers in (("encoder", spec.encoder.layer), ("decoder", spec.decoder.layer)):
        for number, layer in enumerate(layers):
            name = f"{stack}.layers.{number}"
            parts = [("query", "key", "value"), ("output",)]
            attention(layer.self_attention, f"{name}.self_attention", f"{name}.self_residual", parts)
            if stack == "decoder":
                parts = [("query",), ("key", "value"), ("output",)]
                attention(layer.attention, f"{name}.cross_attention", f"{name}.cross_residual", parts)
            for linear, part in ((layer.ffn.linear_0, "inner"), (layer.ffn.linear_1, "outer")):
                linear.weight = state[f"{name}.feed_forward.{part}.weight"]
                linear.bias = state[f"{name}.feed_forward.{part}.bias"]
            norm(layer.ffn.layer_norm, f"{name}.feed_residual.norm")
    if before:
        norm(spec.encoder.layer_norm, "encoder.norm")
        norm(spec.decoder.layer_norm, "decoder.norm")
    spec.decoder.projection.weight = state[f"{network_spec.output}.weight"]
    spec.register_source_vocabulary(pieces)
    spec.register_target_vocabulary(pieces)
    spec.validate()
    spec.optimize(quantization=None if precision == "float32" else precision)
    directory.mkdir()
    spec.save(str(directory))


def write_vmap(shortlist: "Shortlist", pieces: list[str], path: Path) -> None:
    """The shortlist as CTranslate2 reads it: a source token, a tab, target tokens; without a source token, for all."""
    rows = ["\t" + " ".join(pieces[i] for i in shortlist.always)]
    for src, likely in enumerate(shortlist.likely):
        if own := [pieces[i] for i in dict.fromkeys(likely.tolist()) if i != shortlist.always[0]]:
            rows.append(pieces[src] + "\t" + " ".join(own))
    path.write_text("".join(row + "\n" for row in rows), "utf-8")
