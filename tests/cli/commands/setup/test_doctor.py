import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import onnxruntime
import pytest
from click.testing import Result

from heed.models.system.processor import available_cores, processor

Heed = Callable[..., Result]
CPU = "CPUExecutionProvider"


@pytest.fixture(autouse=True)
def no_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CPU])


def test_the_default_model_translates_here(heed: Heed) -> None:
    result = heed("doctor")
    assert (result.exit_code, result.stderr) == (0, "")
    lines = dict(line.split(None, 1) for line in result.stdout.splitlines())
    assert lines["heed"] == importlib.metadata.version("heed")
    assert f"onnxruntime {onnxruntime.__version__}" in lines["with"]
    assert lines["training"] == f"torch {importlib.metadata.version('torch')}"
    assert lines["model"].startswith("en-de, int8, ")
    assert lines["cpu"].startswith("works; encoder: ")
    assert lines["cpu"].count(f"nodes on {CPU}") == 3
    assert lines["cuda"].startswith("no: device 'cuda': this onnxruntime has no CUDAExecutionProvider; install ")


def test_json_is_the_same(heed: Heed, bundle: Path) -> None:
    result = heed("doctor", "-m", bundle, "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    report = json.loads(result.stdout)
    assert report["error"] is None
    assert report["versions"]["numpy"] == importlib.metadata.version("numpy")
    assert report["processor"]["cores"] == available_cores()
    assert report["providers"] == [CPU]
    model = report["model"]
    assert (model["path"], model["precision"]) == (str(bundle), "float32")
    assert model["size"] == sum(file.stat().st_size for file in bundle.iterdir() if file.name != "heed.json")
    nodes = report["devices"]["cpu"]["nodes"]
    assert {"encoder", "decoder"} <= set(nodes)
    assert all(set(providers) == {CPU} and providers[CPU] > 20 for providers in nodes.values())
    assert "CUDAExecutionProvider" in report["devices"]["cuda"]["error"]
    text = heed("doctor", "-m", bundle).stdout
    assert f"decoder: {nodes['decoder'][CPU]} nodes on {CPU}" in text
    assert report["devices"]["cuda"]["error"] in text


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_a_damaged_model_is_told_after_what_is_known(form: list[str], heed: Heed, bundle: Path, tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(bundle, model)
    (model / "weights.bin").write_bytes(b"")
    result = heed("doctor", "-m", model, *form)
    assert result.exit_code == 4
    assert onnxruntime.__version__ in result.stdout
    assert "weights.bin has 0 bytes" in result.stderr
    assert result.stderr.count("\n") == 1
    if form:
        assert json.loads(result.stdout)["error"] in result.stderr


def test_an_unknown_model(heed: Heed) -> None:
    result = heed("doctor", "-m", "nowhere")
    assert (result.exit_code, result.stdout) == (4, "")
    assert result.stderr.startswith("Error: nowhere: ")


def test_the_environment_and_the_models_are_told(
    heed: Heed, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(bundle, tmp_path / "mine")
    monkeypatch.setenv("HEED_MODELS", str(tmp_path))
    monkeypatch.setenv("HEED_MODEL", "mine")
    report = json.loads(heed("doctor", "--json").stdout)
    assert report["environment"] == {"HEED_MODELS": str(tmp_path), "HEED_MODEL": "mine"}
    names = ["en-de", "shakespeare", "de-en", "mine"]
    assert report["models"] == {"directory": str(tmp_path), "names": names, "unreadable": None}
    lines = dict(line.split(None, 1) for line in heed("doctor").stdout.splitlines())
    assert lines["models"] == f"en-de, shakespeare, de-en, mine; the user's own are in {tmp_path}"
    assert f"HEED_MODELS={tmp_path}" in lines["environment"]


def test_what_slows_or_is_mistaken_is_hinted(heed: Heed, bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cores = available_cores()
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    assert json.loads(heed("doctor", "--json").stdout)["hints"] == []
    monkeypatch.setattr(os, "cpu_count", lambda: cores + 3)
    monkeypatch.setenv("HEED_THREADS", str(cores + 1))
    monkeypatch.setenv("HEED_MODLE", "mine")
    hints = json.loads(heed("doctor", "-m", bundle, "--json").stdout)["hints"]
    assert hints == [
        "HEED_MODLE is not read; did you mean HEED_MODEL?",
        f"this process may use {cores} of the {cores + 3} cores",
        f"HEED_THREADS={cores + 1} is more than the {cores} cores this process may use",
        "on a CPU int8 is faster: heed export --precision int8",
    ]
    told = heed("doctor", "-m", bundle).stdout.splitlines()
    assert [line.split(None, 1)[1] for line in told if line.startswith("hint ")] == hints


def test_no_torch_is_needed(bundle: Path) -> None:
    code = "import sys; sys.modules['torch'] = None; from heed.cli.main import main; main(sys.argv[1:])"
    command = [sys.executable, "-c", code, "doctor", "-m", str(bundle), "--json"]
    finished = subprocess.run(command, capture_output=True, timeout=60, check=False)
    assert (finished.returncode, finished.stderr) == (0, b"")
    assert json.loads(finished.stdout)["devices"]["cpu"]["nodes"]


def test_a_machine_without_torch_is_told_how_to_get_it(heed: Heed, monkeypatch: pytest.MonkeyPatch) -> None:
    distributions = importlib.metadata.distributions
    monkeypatch.setattr(
        importlib.metadata,
        "distributions",
        lambda **wanted: iter(()) if wanted == {"name": "torch"} else distributions(**wanted),
    )
    (line,) = [line for line in heed("doctor").stdout.splitlines() if line.startswith("training")]
    assert "not installed; pip install '.[train]'" in line
    assert json.loads(heed("doctor", "--json").stdout)["versions"]["torch"] is None


def test_the_processor_is_what_the_system_tells(tmp_path: Path) -> None:
    info = tmp_path / "cpuinfo"
    core = "model name\t: Some 9000\nflags\t\t: fpu avx2 avx512_vnni avx512_vnni_not\n\n"
    info.write_text("processor\t: 0\n" + core + "processor\t: 1\n" + core)
    assert processor(info) == ("Some 9000", ["avx2", "avx512_vnni"])


def test_a_system_that_tells_nothing(tmp_path: Path) -> None:
    assert processor(tmp_path / "none") == (os.uname().machine, [])
