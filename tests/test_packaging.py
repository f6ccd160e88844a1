"""What setuptools, the installer and the layout rely on, and nothing else checks."""

import ast
import re
import sys
import tomllib
from pathlib import Path

import pytest

from heed.models.spec.preset import MASKED_PRESETS, TEXT_PRESETS, TRANSLATION_PRESETS

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "pyproject.toml").read_text("utf-8")
PROJECT = tomllib.loads(TEXT)
PACKAGES = ("cli", "export", "models", "transformer")

# Imports go one way: what each package may import of the others, and which libraries are not for it.
MAY_IMPORT = {
    "models": {"models"},
    "transformer": {"models", "transformer"},
    "export": {"models", "transformer", "export"},
    "cli": {"models", "transformer", "export", "cli"},
}
TRAINING = {"torch", "onnx", "onnx_ir", "safetensors", "tensorboard", "sacrebleu", "tomli_w"}
INFERENCE = {"click", "rich", "onnxruntime"}
FORBIDDEN = {
    "models": TRAINING | {"click", "rich"},  # what `pip install heed` brings, and nothing for terminals
    "transformer": INFERENCE | {"onnx", "onnx_ir"},
    "export": {"click", "rich"},
    "cli": set(),
}


def sources(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def imports(path: Path) -> list[tuple[int, str]]:
    """The line and the name of every import of a file, those within functions too; relative ones begin with dots."""
    found = []
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            names = [f"{module}.{alias.name}" for alias in node.names] if module == "heed" else [module]
            found += [(node.lineno, name) for name in names]
    return found


def test_the_packages_are_the_folders_that_have_an_init() -> None:
    """`packages` names each by hand: one that is forgotten would be left out of the wheel."""
    assert {path.parent.name for path in ROOT.glob("*/__init__.py")} == set(PACKAGES)
    folders = [path.parent.relative_to(ROOT) for package in PACKAGES for path in (ROOT / package).rglob("__init__.py")]
    assert sorted(PROJECT["tool"]["setuptools"]["packages"]) == sorted(f"heed.{'.'.join(f.parts)}" for f in folders)


@pytest.mark.parametrize("package", PACKAGES)
def test_every_folder_of_sources_is_a_package(package: str) -> None:
    assert all((path.parent / "__init__.py").is_file() for path in sources(package))


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_is_typed_and_seen_by_the_type_checkers(package: str) -> None:
    assert (ROOT / package / "py.typed").is_file()
    link = ROOT / ".typecheck/heed" / package
    assert link.is_symlink()
    assert link.resolve() == ROOT / package
    assert f"heed.{package}" in PROJECT["tool"]["mypy"]["packages"]
    assert package in PROJECT["tool"]["pyright"]["include"]
    assert package in PROJECT["tool"]["coverage"]["run"]["source"]


def test_the_command_is_where_the_script_looks() -> None:
    assert PROJECT["project"]["scripts"] == {"heed": "heed.cli.start:start"}


def dependency_lines() -> list[str]:
    """The lines of pyproject.toml within `dependencies` and the extras that hold a requirement."""
    lines, inside, table = [], False, ""
    for line in TEXT.splitlines():
        if line.startswith("["):
            table = line
        if line.startswith("]"):
            inside = False
        if inside:
            lines.append(line)
        if line.startswith("dependencies = [") or (
            table == "[project.optional-dependencies]" and re.fullmatch(r"\w+ = \[", line)
        ):
            inside = True
    return lines


def test_every_dependency_has_its_reason_beside_it() -> None:
    extras = PROJECT["project"]["optional-dependencies"]
    requirements = [*PROJECT["project"]["dependencies"], *(line for extra in extras.values() for line in extra)]
    lines = dependency_lines()
    assert len(lines) == len(requirements)
    for line in lines:
        match = re.fullmatch(r'    "(?P<requirement>[^"]+)", *(# (?P<reason>.+))?', line)
        assert match, line
        assert match["requirement"] in requirements
        if not match["requirement"].startswith("heed["):
            assert match["reason"], line
            assert ">=" in match["requirement"], line


def test_no_dependency_is_idle_and_none_is_missing() -> None:
    names = {"onnx-ir": "onnx_ir", "tomli-w": "tomli_w", "backports.zstd": "backports", "markdown-it-py": "markdown_it"}
    required = {
        names.get(name, name)
        for line in dependency_lines()
        if (name := re.split(r"[><=\[]", line.strip().strip('"'))[0]) != "heed"
    }
    tools = {
        "ctranslate2",
        "hypothesis",
        "libretranslatepy",
        "llama-cpp-python",
        "mypy",
        "openai",
        "pandas",
        "playwright",
        "polib",
        "pysubs2",
        "pytest",
        "pytest-xdist",
        "ruff",
    }  # for tests and benchmarks alone
    names_imported = {name for package in PACKAGES for path in sources(package) for _, name in imports(path)}
    imported = {name.partition(".")[0] for name in names_imported} - set(sys.stdlib_module_names) - {"heed"}
    imported.discard("compression")  # Python's own from 3.14 on
    if any(name.startswith("torch.utils.tensorboard") for name in names_imported):
        imported.add("tensorboard")  # torch has only the writer's outside
    if "sentencepiece.sentencepiece_model_pb2" in names_imported:
        imported.add("protobuf")  # which makes its classes
    if "uvicorn" in imported:
        imported |= {"httptools", "uvloop"}  # which uvicorn uses where they are installed
    assert imported == required - tools


def test_data_files_are_packaged() -> None:
    """Whatever in a package is no source is named in package-data."""
    data = PROJECT["tool"]["setuptools"]["package-data"]
    presets = sorted(path.stem for path in (ROOT / "models/spec/presets").rglob("*.toml"))
    assert presets == sorted((*TRANSLATION_PRESETS, *TEXT_PRESETS, *MASKED_PRESETS))
    patterns = [
        str(ROOT / name.removeprefix("heed.").replace(".", "/") / pattern)
        for name, every in data.items()
        for pattern in every
        if name != "*"
    ]
    files = [path for package in PACKAGES for path in (ROOT / package).rglob("*") if path.is_file()]
    others = [path for path in files if path.suffix not in (".py", ".pyc") and path.name != "py.typed"]
    assert [path for path in others if not any(path.match(pattern) for pattern in patterns)] == []


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_go_one_way(package: str) -> None:
    wrong = []
    for path in sources(package):
        for line, name in imports(path):
            first, _, rest = name.partition(".")
            inner = rest.partition(".")[0]
            if not first:
                wrong.append(f"{path}:{line}: relative import")
            elif first in PACKAGES:
                wrong.append(f"{path}:{line}: {first} is a twin of heed.{first}")
            elif first == "heed" and inner not in MAY_IMPORT[package]:
                wrong.append(f"{path}:{line}: {package} may not import {name}")
            elif first in FORBIDDEN[package]:
                wrong.append(f"{path}:{line}: {package} may not import {first}")
    assert wrong == []


def test_no_import_is_hidden_from_this_file(tmp_path: Path) -> None:
    file = tmp_path / "some.py"
    file.write_text(
        "import a.b as c, d\nfrom heed import export\nfrom . import e\nfrom ..f import g\n"
        "def h():\n    from heed.cli.main import main\n    import torch\n"
    )
    names = sorted(name for _, name in imports(file))
    assert names == sorted(["a.b", "d", "heed.export", ".", "..f", "heed.cli.main", "torch"])
