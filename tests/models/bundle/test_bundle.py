import contextlib
import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from click.testing import Result
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from onnx.external_data_helper import ExternalDataInfo, _get_all_tensors, uses_external_data

from heed.models.bundle import manifest as manifests
from heed.models.bundle.bundle import Bundle, record_files
from heed.models.bundle.external_data import external_files
from heed.models.errors import ModelError
from heed.models.spec.preset import merged
from heed.models.tasks.generator import Generator
from heed.models.tasks.scorer import Scorer
from heed.models.tasks.translation.translator import Translator

FILES = ("README.md", "decoder.onnx", "encoder.onnx", "tokenizer.model", "weights.bin")
EVERY_FILE = pytest.mark.parametrize("name", FILES)


@pytest.fixture
def copy(bundle: Path, tmp_path: Path) -> Path:
    """A bundle that a test may damage."""
    return shutil.copytree(bundle, tmp_path / "copy")


def edit_manifest(path: Path, change: Callable[[dict[str, object]], object]) -> None:
    file = path / "heed.json"
    table = json.loads(file.read_text("utf-8"))
    change(table)
    file.write_text(json.dumps(table), "utf-8")


def complaint(path: Path) -> str:
    with pytest.raises(ModelError) as caught:
        Bundle(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_bundle_as_it_was_exported_passes(bundle: Path) -> None:
    assert set(Bundle(bundle).manifest.files) == set(FILES)
    assert {file.name for file in bundle.iterdir()} == {*FILES, "heed.json"}


@EVERY_FILE
def test_a_flipped_byte_is_found(copy: Path, name: str) -> None:
    data = bytearray((copy / name).read_bytes())
    data[len(data) // 2] ^= 1
    (copy / name).write_bytes(data)
    assert complaint(copy) == (
        f"{copy}: damaged: {name} differs from what was exported (SHA-256); get or export the model again"
    )


@EVERY_FILE
def test_a_file_cut_short_is_found(copy: Path, name: str) -> None:
    size = (copy / name).stat().st_size
    (copy / name).write_bytes((copy / name).read_bytes()[:-1])
    assert f"{name} has {size - 1} bytes and should have {size}" in complaint(copy)


@EVERY_FILE
def test_a_missing_file_is_found(copy: Path, name: str) -> None:
    (copy / name).unlink()
    assert f"{name} is missing or not a plain file" in complaint(copy)


@EVERY_FILE
def test_a_link_is_no_file_even_to_the_same_bytes(copy: Path, bundle: Path, name: str) -> None:
    (copy / name).unlink()
    (copy / name).symlink_to(bundle / name)
    assert complaint(copy).startswith(f"{copy}: {name}: symbolic links")
    assert complaint(copy).endswith(f"cp -rL {copy} {copy}-copy")


def test_a_directory_is_no_file(copy: Path) -> None:
    (copy / "weights.bin").unlink()
    (copy / "weights.bin").mkdir()
    assert "weights.bin is missing or not a plain file" in complaint(copy)


def test_all_damaged_files_are_named_at_once(copy: Path) -> None:
    for name in FILES:
        (copy / name).unlink()
    assert all(name in complaint(copy) for name in FILES)


@EVERY_FILE
def test_a_damaged_file_is_refused_before_it_is_used(copy: Path, name: str) -> None:
    (copy / name).write_bytes(b"")
    with pytest.raises(ModelError, match=name):
        Translator.load(copy)


LOADERS = [
    ("bundle", Translator.load),
    ("bundle", lambda path: Scorer.load(path, "translate")),
    ("text_bundle", Generator.load),
]


def change_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(("kind", "load"), LOADERS, ids=["translator", "scorer", "generator"])
def test_weights_that_were_changed_are_refused_though_they_load(
    request: pytest.FixtureRequest, tmp_path: Path, kind: str, load: Callable[[Path], object]
) -> None:
    copy = shutil.copytree(request.getfixturevalue(kind), tmp_path / "copy")
    load(copy)
    change_a_bit(copy / "weights.bin")
    with pytest.raises(ModelError, match=r"weights\.bin differs from what was exported \(SHA-256\)"):
        load(copy)


def test_damage_is_what_is_told_whatever_else_goes_wrong_while_loading(copy: Path) -> None:
    change_a_bit(copy / "weights.bin")
    with pytest.raises(ModelError, match=r"weights\.bin differs"), Bundle.loading(copy):
        raise ModelError("ONNX Runtime cannot load it")


@pytest.mark.parametrize("name", ["../x", "a/b", "/etc/passwd", "..", ".", "", "a\\b", "..\\x"])
def test_a_name_that_leads_elsewhere_is_refused(copy: Path, name: str) -> None:
    """Even where there is such a file: a bundle has no business to have it read."""
    (copy.parent / "x").write_text("a")
    (copy / "a").mkdir()
    (copy / "a/b").write_text("a")
    (copy / "a\\b").write_text("a")
    record = {"size": 1, "sha256": "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4f72b9807785afee48bb"}  # of an "a"
    edit_manifest(copy, lambda table: table["files"].update({name: record}))  # type: ignore[attr-defined]
    assert repr(name) in complaint(copy) or "is missing or not a plain file" in complaint(copy)


@pytest.mark.parametrize("graph", ["encoder.onnx", "decoder.onnx"])
def test_a_graph_that_is_not_in_the_manifest_is_refused(copy: Path, graph: str) -> None:
    edit_manifest(copy, lambda table: table["files"].pop(graph))  # type: ignore[attr-defined]
    assert f"{graph} is not in the manifest" in complaint(copy)


def test_a_bundle_without_a_manifest_is_none(tmp_path: Path) -> None:
    assert complaint(tmp_path) == (f"{tmp_path}: not a heed model (no heed.json); name a directory made by heed export")


@pytest.mark.parametrize("found", [4, 1, None, "2"])
def test_another_format_is_refused_with_a_way_out(copy: Path, found: object) -> None:
    edit_manifest(copy, lambda table: table.update(format=found))
    assert complaint(copy) == (
        f"{copy / 'heed.json'}: format {found!r}, but this heed reads 2 and 3; install a matching heed"
    )


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe{}", b'{"format": 1', b"[1, 2]", b"3", b"[" * 100_000])
def test_a_manifest_that_is_no_table_is_damaged(copy: Path, content: bytes) -> None:
    (copy / "heed.json").write_bytes(content)
    found = complaint(copy)
    assert found.startswith(f"{copy / 'heed.json'}: damaged (")
    assert found.endswith("; get the model again")


def test_unknown_and_missing_keys_are_told_at_once(copy: Path) -> None:
    def change(table: dict[str, object]) -> None:
        table["colour"] = "blue"
        del table["precision"], table["files"]

    edit_manifest(copy, change)
    assert complaint(copy) == (
        f"{copy / 'heed.json'}: unknown key 'colour'; missing key 'precision'; missing key 'files'"
    )


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (
            lambda table: table["network"]["encoder"].update(n_layers="2"),
            "network.encoder.n_layers must be a whole number, not '2'",
        ),
        (lambda table: table["network"]["encoder"].update(n_layers=0), "n_layers must be at least 1, not 0"),
        (lambda table: table["decode"].pop("beam_size"), "missing key 'decode.beam_size'"),
        (lambda table: table["decode"].update(beam_size=0), "beam_size"),
        (lambda table: table["decode"].update(length_penalty=-1.0), "length_penalty"),
        (lambda table: table["decode"].update(max_length=0), "max_length"),
        (lambda table: table.update(network=None), "network must be"),
        (lambda table: table.update(files=[]), "files must be"),
        (lambda table: table["files"].update(x=3), "files.x must be a table, not 3"),
        (lambda table: table["files"]["weights.bin"].pop("sha256"), "missing key 'files.weights.bin.sha256'"),
        (lambda table: table["parity"].update(texts=True), "parity.texts must be a whole number, not True"),
    ],
)
def test_a_value_that_cannot_be_is_named(
    copy: Path, change: Callable[[dict[str, object]], object], expected: str
) -> None:
    edit_manifest(copy, change)
    assert expected in complaint(copy)


@pytest.mark.parametrize(
    "change", [{"n_layers": 3}, {"n_layers": 1}, {"vocab_size": 26}, {"attention": {"n_kv_heads": 1}}]
)
def test_a_manifest_of_another_network_than_the_graphs_is_refused(copy: Path, change: dict[str, object]) -> None:
    def edit(table: dict[str, Any]) -> None:
        table["network"]["decoder"] = merged(table["network"]["decoder"], change)

    edit_manifest(copy, edit)
    with pytest.raises(ModelError):
        Translator.load(copy).translate(["1 2 3"])


@settings(deadline=None)
@given(st.data())
def test_a_manifest_with_any_byte_changed_is_read_or_refused(bundle: Path, data: st.DataObject) -> None:
    content = bytearray((bundle / "heed.json").read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] = data.draw(st.integers(0, 255))
    path = bundle.parent / "changed"
    path.mkdir(exist_ok=True)
    (path / "heed.json").write_bytes(content)
    with contextlib.suppress(ModelError):
        assert isinstance(manifests.read(path), manifests.Manifest)


def test_a_manifest_comes_back(bundle: Path, tmp_path: Path) -> None:
    for quality in (None, manifests.Quality(**{**dict.fromkeys(_numbers(), 1), **dict.fromkeys(_texts(), "ä")})):  # type: ignore[arg-type]
        written = dataclasses.replace(Bundle(bundle).manifest, quality=quality)
        manifests.write(tmp_path, written)
        assert manifests.read(tmp_path) == written


def _numbers() -> list[str]:
    return ["sentences", "beam_size", "bleu", "chrf", "bleu_torch", "bleu_whole"]


def _texts() -> list[str]:
    return ["test_set", "bleu_signature", "chrf_signature"]


# What graphs read


def outside(location: str, name: str = "weight") -> TensorProto:
    """A tensor whose data are in another file."""
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[2], data_location=TensorProto.EXTERNAL)
    for key, value in (("location", location), ("offset", "0"), ("length", "8")):
        tensor.external_data.add(key=key, value=value)
    return tensor


def model_of(nodes: list[onnx.NodeProto], tensors: list[TensorProto]) -> onnx.ModelProto:
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, [2])
    return helper.make_model(helper.make_graph(nodes, "graph", [], [output], initializer=tensors))


def in_an_initializer(location: str) -> onnx.ModelProto:
    return model_of([helper.make_node("Identity", ["weight"], ["y"])], [outside(location)])


def in_a_constant(location: str) -> onnx.ModelProto:
    return model_of([helper.make_node("Constant", [], ["y"], value=outside(location))], [])


def in_a_subgraph(location: str) -> onnx.ModelProto:
    inner = in_an_initializer(location).graph
    condition = helper.make_tensor("condition", TensorProto.BOOL, [], [True])
    node = helper.make_node("If", ["condition"], ["y"], then_branch=inner, else_branch=inner)
    return model_of([node], [condition])


def in_a_constant_of_a_subgraph(location: str) -> onnx.ModelProto:
    model = in_a_subgraph(location)
    for attribute in model.graph.node[0].attribute:
        attribute.g.CopyFrom(in_a_constant(location).graph)
    return model


def in_a_list_of_tensors(location: str) -> onnx.ModelProto:
    node = helper.make_node("Several", [], ["y"], domain="some", values=[outside("weights.bin"), outside(location)])
    return model_of([node], [])


def in_a_list_of_graphs(location: str) -> onnx.ModelProto:
    node = helper.make_node("Several", [], ["y"], domain="some", bodies=[in_a_constant(location).graph])
    return model_of([node], [])


def in_a_function(location: str) -> onnx.ModelProto:
    model = model_of([helper.make_node("Make", [], ["y"], domain="some")], [])
    nodes = in_a_constant(location).graph.node
    model.functions.append(helper.make_function("some", "Make", [], ["y"], nodes, model.opset_import))
    return model


def in_a_graph_of_a_function(location: str) -> onnx.ModelProto:
    model = model_of([helper.make_node("Make", [], ["y"], domain="some")], [])
    nodes = in_a_subgraph(location).graph.node
    model.functions.append(helper.make_function("some", "Make", [], ["y"], nodes, model.opset_import))
    return model


def in_a_sparse_tensor(location: str) -> onnx.ModelProto:
    model = in_an_initializer("weights.bin")
    indices = helper.make_tensor("indices", TensorProto.INT64, [2], [0, 1])
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(outside(location, "sparse"), indices, [5]))
    return model


HIDEOUTS = (
    in_an_initializer,
    in_a_constant,
    in_a_subgraph,
    in_a_constant_of_a_subgraph,
    in_a_list_of_tensors,
    in_a_list_of_graphs,
    in_a_function,
    in_a_graph_of_a_function,
    in_a_sparse_tensor,
)
EVERYWHERE = pytest.mark.parametrize("hide", HIDEOUTS)


@pytest.mark.parametrize("graph", ["encoder.onnx", "shortlist.onnx"])  # one that every bundle has, one that some have
@pytest.mark.parametrize("location", ["../../etc/passwd", "/etc/passwd", "../copy/weights.bin", "./weights.bin", ""])
@EVERYWHERE
def test_a_graph_that_reads_another_file_is_refused(
    copy: Path, monkeypatch: pytest.MonkeyPatch, hide: Callable[[str], onnx.ModelProto], location: str, graph: str
) -> None:
    """ONNX Runtime is never asked: whoever made the graph also wrote its hash into the manifest."""
    monkeypatch.setattr("onnxruntime.InferenceSession", None)
    if graph == "shortlist.onnx":
        shutil.copy(copy / "decoder.onnx", copy / "shortlist_decoder.onnx")
    (copy / graph).write_bytes(hide(location).SerializeToString())
    manifests.write(copy, dataclasses.replace(manifests.read(copy), files=record_files(copy)))
    with pytest.raises(ModelError) as caught:
        Translator.load(copy)
    assert f"{graph} reads {location!r}" in str(caught.value)


@pytest.mark.parametrize(
    ("there", "missing"),
    [("shortlist.onnx", "shortlist_decoder.onnx"), ("shortlist_decoder.onnx", "shortlist.onnx")],
)
def test_half_a_shortlist_is_refused(copy: Path, there: str, missing: str) -> None:
    shutil.copy(copy / "decoder.onnx", copy / there)
    manifests.write(copy, dataclasses.replace(manifests.read(copy), files=record_files(copy)))
    assert f"{missing} is not in the manifest" in complaint(copy)


@EVERYWHERE
def test_a_graph_that_reads_the_bundle_s_own_file_passes(copy: Path, hide: Callable[[str], onnx.ModelProto]) -> None:
    (copy / "encoder.onnx").write_bytes(hide("weights.bin").SerializeToString())
    manifests.write(copy, dataclasses.replace(manifests.read(copy), files=record_files(copy)))
    assert Bundle(copy).manifest.files["encoder.onnx"].size == (copy / "encoder.onnx").stat().st_size


@pytest.mark.parametrize("content", [b"\xff", b"PK\x03\x04", b"\x3a\x7f"], ids=["tag", "zip", "size"])
def test_a_graph_that_is_none_is_refused(copy: Path, content: bytes) -> None:
    (copy / "decoder.onnx").write_bytes(content)
    manifests.write(copy, dataclasses.replace(manifests.read(copy), files=record_files(copy)))
    assert "decoder.onnx is not an ONNX graph (" in complaint(copy)


def test_what_onnx_runtime_refuses_is_a_bad_model(copy: Path) -> None:
    (copy / "decoder.onnx").write_bytes(in_a_list_of_graphs("weights.bin").SerializeToString())
    manifests.write(copy, dataclasses.replace(manifests.read(copy), files=record_files(copy)))
    with pytest.raises(ModelError, match=r"decoder\.onnx: ONNX Runtime cannot load it: "):
        Translator.load(copy)


@st.composite
def models(draw: st.DrawFn) -> onnx.ModelProto:
    """Graphs of graphs, with tensors outside and inside of them in any place."""
    names = st.sampled_from(["weights.bin", "../x", "/etc/passwd", "", "ä\u2028", "x" * 200])
    tensors = st.one_of(
        st.builds(outside, names),
        st.just(onnx.numpy_helper.from_array(np.zeros(3, dtype=np.float32))),
    )

    def nodes(*parts: st.SearchStrategy[object]) -> st.SearchStrategy[onnx.NodeProto]:
        lists = [st.lists(part, min_size=1, max_size=3) for part in parts]
        values = st.integers(-(2**63), 2**63 - 1), st.floats(width=32), st.binary(min_size=1)
        attributes = st.one_of(*parts, *lists, *values)
        made = st.dictionaries(st.sampled_from("abc"), attributes)
        return made.map(lambda values: helper.make_node("Some", ["x"], ["y"], domain="some", **values))

    def graph(nodes: list[onnx.NodeProto], tensors: list[TensorProto]) -> onnx.GraphProto:
        return helper.make_graph(nodes, "graph", [], [], initializer=tensors)

    leaf = st.builds(graph, st.just([]), st.lists(tensors, max_size=2))
    graphs = st.recursive(
        leaf,
        lambda inner: st.builds(graph, st.lists(nodes(tensors, inner), max_size=3), st.lists(tensors, max_size=2)),
        max_leaves=4,
    )
    model = helper.make_model(draw(graphs))
    # onnx's own list leaves out what the graphs of a function hold; the test above does not.
    body = draw(st.lists(nodes(tensors), max_size=2))
    model.functions.append(helper.make_function("some", "Some", [], ["y"], body, model.opset_import))
    return model


@settings(deadline=None)
@given(models())
def test_the_files_of_a_graph_are_those_that_onnx_lists(model: onnx.ModelProto) -> None:
    expected = {ExternalDataInfo(tensor).location for tensor in _get_all_tensors(model) if uses_external_data(tensor)}
    assert external_files(model.SerializeToString()) == expected


@settings(deadline=None)
@given(st.binary())
def test_any_bytes_name_files_or_are_no_graph(data: bytes) -> None:
    with contextlib.suppress(ValueError):
        assert isinstance(external_files(data), set)


@settings(deadline=None)
@given(models(), st.data())
def test_a_graph_with_any_byte_changed_names_files_or_is_none(model: onnx.ModelProto, data: st.DataObject) -> None:
    """Nearer to a graph than bytes at random, so that the deeper levels are reached."""
    content = bytearray(model.SerializeToString())
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] = data.draw(st.integers(0, 255))
    with contextlib.suppress(ValueError):
        assert isinstance(external_files(bytes(content)), set)


def test_graphs_in_graphs_without_end_are_no_graph() -> None:
    """They have ended the program by a RecursionError; Protocol buffers' own readers stop at 100 levels."""
    entry = onnx.StringStringEntryProto(key="location", value="weights.bin")
    message = onnx.GraphProto(initializer=[onnx.TensorProto(external_data=[entry])]).SerializeToString()
    for _ in range(1000):
        for tag in (b"\x32", b"\x2a", b"\x0a"):  # an attribute's graph, a node's attribute, a graph's node
            message = tag + _varint(len(message)) + message
    with pytest.raises(ValueError, match=r"."):
        external_files(b"\x3a" + _varint(len(message)) + message)


def _varint(number: int) -> bytes:
    return bytes([number]) if number < 128 else bytes([number & 127 | 128]) + _varint(number >> 7)


def test_a_damaged_bundle_is_one_line_on_stderr_and_status_4(copy: Path, heed: Callable[..., Result]) -> None:
    (copy / "weights.bin").write_bytes(b"")
    for arguments in (["models", "verify", copy], ["translate", "-m", copy]):
        result = heed(*arguments, stdin=b"1 2\n")
        assert result.exit_code == 4
        assert result.stdout_bytes == b""
        assert result.stderr.startswith("Error: ")
        assert result.stderr.count("\n") == 1
        assert "weights.bin has 0 bytes" in result.stderr


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda table: table["files"].pop("tokenizer.model"), "tokenizer.model is not in the manifest"),
        (lambda table: table.update(task="image"), "task 'image', and this heed knows translate and generate"),
        (lambda table: table["network"].update(encoder=None, decoder=None), "encoder or decoder must be given"),
    ],
)
def test_what_could_not_be_loaded_is_not_verified(
    copy: Path, change: Callable[[dict[str, object]], object], expected: str
) -> None:
    edit_manifest(copy, change)
    assert expected in complaint(copy)
