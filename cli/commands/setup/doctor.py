"""`heed doctor`."""

import difflib
import importlib.metadata
import json
import os
import platform
from typing import TYPE_CHECKING, Any

import click

from heed.cli import options
from heed.cli.command import Command
from heed.cli.loading import find_model
from heed.models.errors import ModelError
from heed.models.system.processor import available_cores, processor

if TYPE_CHECKING:
    from heed.models.bundle.bundle import Bundle

DEVICES = ("cpu", "cuda")
WAY_OUT = "not installed; pip install '.[{}]' where heed's source is"


@click.command(cls=Command)
@options.model
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(model: str | None, as_json: bool) -> None:
    """Report what works on this machine, and why the rest does not.

    \b
    heed doctor
    heed doctor -m ende --json

    Shows versions, the processor, the models that have a name, environment variables, and what would make translation
    faster. Checks the files of a model and runs one step with it on each device. Exits with 0 if the model works on
    the CPU.
    """
    from heed.models.bundle import catalog
    from heed.models.bundle.bundle import Bundle

    path = find_model(model)
    report: dict[str, Any] = {
        "versions": _versions(),
        "processor": _processor(),
        "providers": _providers(),
        "environment": {name: value for name, value in os.environ.items() if name.startswith("HEED_")},
        "models": {
            "directory": str(catalog.models_directory()),
            "names": list(catalog.available()),
            "unreadable": catalog.unreadable(),
        },
    }
    try:
        bundle = Bundle(path)
        report["model"] = _model(bundle)
        report["devices"] = {device: _device(bundle, device) for device in DEVICES}
        report["hints"] = _hints(report)
        error = report["devices"]["cpu"].get("error")
    except ModelError as damage:
        error = str(damage)
    click.echo(json.dumps(report | {"error": error}, ensure_ascii=False) if as_json else _text(report))
    if error:
        raise ModelError(error)


def _versions() -> dict[str, str | None]:
    """Versions of what runs models, of torch (for training) and of sacreBLEU (for evaluation)."""
    import onnxruntime

    return {
        "heed": importlib.metadata.version("heed"),
        "python": platform.python_version(),
        "onnxruntime": onnxruntime.__version__,  # a distribution with several names
        "numpy": importlib.metadata.version("numpy"),
        "sentencepiece": importlib.metadata.version("sentencepiece"),
        "torch": _installed("torch"),
        "sacrebleu": _installed("sacrebleu"),
    }


def _installed(name: str) -> str | None:
    """The version of an optional package."""
    return next((found.version for found in importlib.metadata.distributions(name=name)), None)


def _processor() -> dict[str, Any]:
    name, instructions = processor()
    return {"name": name, "cores": available_cores(), "of": os.cpu_count() or 1, "instructions": instructions}


def _providers() -> list[str]:
    """The execution providers that this onnxruntime was built with; they may fail to start."""
    import onnxruntime

    return onnxruntime.get_available_providers()


def _model(bundle: "Bundle") -> dict[str, Any]:
    """The facts about a model."""
    manifest = bundle.manifest
    size = sum(record.size for record in manifest.files.values())
    return {"name": manifest.name, "path": str(bundle.path), "precision": manifest.precision, "size": size}


def _device(bundle: "Bundle", device: str) -> dict[str, Any]:
    """How many nodes of each graph each execution provider runs in one step on a device; or why the step failed."""
    from heed.models.runtime.session import placement
    from heed.models.tasks.task import TASKS

    try:
        graphs = TASKS[bundle.manifest.task].try_out(bundle, device)
    except ModelError as error:
        return {"error": str(error)}
    return {
        "nodes": {
            name: {provider: len(operators) for provider, operators in placement(session).items()}
            for name, session in graphs.items()
        }
    }


def _hints(report: dict[str, Any]) -> list[str]:
    """Settings that may be mistakes, and what would make translation faster."""
    hints = []
    for name in report["environment"]:
        if name not in options.ENVIRONMENT:
            similar = difflib.get_close_matches(name, options.ENVIRONMENT, n=1)
            hints.append(f"{name} is not read" + "".join(f"; did you mean {guess}?" for guess in similar))
    if problem := report["models"]["unreadable"]:
        hints.append(f"{problem}; set HEED_MODELS to a directory of models that you may read")
    cores, of, threads = report["processor"]["cores"], report["processor"]["of"], os.environ.get("HEED_THREADS", "")
    if cores < of:
        hints.append(f"this process may use {cores} of the {of} cores")
    if threads.isdecimal() and int(threads) != cores:
        than = "less" if int(threads) < cores else "more"
        hints.append(f"HEED_THREADS={threads} is {than} than the {cores} cores this process may use")
    if report["model"]["precision"] not in ("int8", "int4"):
        hints.append("on a CPU int8 is faster: heed export --precision int8")
    return hints


def _text(report: dict[str, Any]) -> str:
    versions, processor, models, model = report["versions"], report["processor"], report["models"], report.get("model")
    torch, sacrebleu = versions["torch"], versions["sacrebleu"]
    lines = {
        "heed": versions["heed"],
        "with": ", ".join(f"{name} {versions[name]}" for name in ("python", "onnxruntime", "numpy", "sentencepiece")),
        "training": f"torch {torch}" if torch else WAY_OUT.format("train"),
        "evaluating": f"sacrebleu {sacrebleu}" if sacrebleu else WAY_OUT.format("evaluate"),
        "processor": ", ".join([processor["name"], f"{processor['cores']} cores", *processor["instructions"]]),
        "providers": ", ".join(report["providers"]),
        "environment": ", ".join("=".join(setting) for setting in report["environment"].items()) or "nothing set",
        "models": f"{', '.join(models['names'])}; the user's own are in {models['directory']}",
    }
    if model:
        lines["model"] = f"{model['name']}, {model['precision']}, {model['size']:,} bytes, complete, {model['path']}"
    for device, found in report.get("devices", {}).items():
        lines[device] = f"no: {found['error']}" if "error" in found else _nodes(found["nodes"])
    hints = [("hint", hint) for hint in report.get("hints", ())]
    return "\n".join(f"{name:<13}{line}" for name, line in [*lines.items(), *hints])


def _nodes(graphs: dict[str, dict[str, int]]) -> str:
    """The number of nodes for each graph and provider."""
    parts = (
        f"{graph}: " + " and ".join(f"{n} nodes on {provider}" for provider, n in providers.items())
        for graph, providers in graphs.items()
    )
    return "works; " + ", ".join(parts)
