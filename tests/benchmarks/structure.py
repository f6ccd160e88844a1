"""Figures of the source: how much there is, how it is cut up, and how often it asks which kind a model is.

    python tests/benchmarks/structure.py
    python tests/benchmarks/structure.py ../before

Prints a line for each figure, as of the directory of a repository: lines of source (of the packages, without tests),
branches on the kind of a model, the folder with the most files, circles of imports, lines of the README, and the
median, the 90th percentile and the longest of its functions, in lines.
"""

import argparse
import ast
import re
import statistics
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

PACKAGES = ("cli", "export", "models", "transformer")
# What tells one kind of model from another: by the class of its configuration, network, manifest or run, or by a name.
CLASSES = (
    "LanguageModelConfig|ModelConfig|LanguageModel|Transformer|TextManifest|TranslationManifest|TextRun|TranslationRun"
    "|TextConfig|TranslationConfig|TranslationScore"
)
NAMES = r"\"(encoder-)?decoder\"|\"(translate|generate|embed|fill)\"|TextRun|TranslationRun|kind\b|task\b"
# Not every `kind` is one of a model: norms, tags of HTML and tokens of Markdown have kinds, too.
KIND = re.compile(
    rf"isinstance\([^)]*\b({CLASSES})\b|\b(kind|task)\s*(==|!=)\s*({NAMES})|\b(kind|task)\s+not in\s+(KINDS|TASKS)"
    r"|\bif\s+of_text\b(?!\[)|is (not )?TEXT\b"
)
# A network may have an encoder or not, as it may have biases or not.
ENCODER = re.compile(r"\bencoder is (not )?None|\bif [\w.]*\bencoder\b(?! is)")


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", nargs="?", type=Path, default=Path(__file__).parents[2], help="of a repository")
    for name, figure in figures(parser.parse_args().root).items():
        print(f"{name:<38}{figure}")


def figures(root: Path) -> dict[str, object]:
    """All figures of a repository."""
    files = [file for package in PACKAGES for file in sorted((root / package).rglob("*.py"))]
    trees = {file: ast.parse(file.read_text("utf-8")) for file in files}
    lengths = sorted(length for tree in trees.values() for length in _functions(tree))
    folders = Counter(file.parent.relative_to(root) for file in files if file.name != "__init__.py")
    (fullest, n_files), branches = folders.most_common(1)[0], [_found(KIND, file) for file in files]
    return {
        "files of source": len(files),
        "lines of source": sum(len(file.read_text("utf-8").splitlines()) for file in files),
        "branches on the kind of a model": sum(branches),
        "files with such branches": sum(map(bool, branches)),
        "questions whether there is an encoder": sum(_found(ENCODER, file) for file in files),
        "files in the fullest folder": f"{n_files} ({fullest})",
        "circles of imports": len(_circles(_imports(root, trees))),
        "lines of the README": len((root / "README.md").read_text("utf-8").splitlines()),
        "functions: median, 90th, longest": f"{statistics.median(lengths):g}, {lengths[len(lengths) * 9 // 10]}, "
        f"{lengths[-1]} lines",
    }


def _functions(tree: ast.AST) -> Iterator[int]:
    """The lines of each function, its signature and docstring among them."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.end_lineno is not None:
            yield node.end_lineno - node.lineno + 1


def _found(pattern: re.Pattern[str], file: Path) -> int:
    """The lines of a file that have a pattern."""
    return sum(bool(pattern.search(line)) for line in file.read_text("utf-8").splitlines())


def _imports(root: Path, trees: dict[Path, ast.Module]) -> dict[str, set[str]]:
    """What each module imports at its top, of the repository's own modules."""
    names = {".".join(("heed", *file.relative_to(root).with_suffix("").parts)): tree for file, tree in trees.items()}
    return {
        name: {each for node in tree.body for each in _imported(node) if each in names} for name, tree in names.items()
    }


def _imported(node: ast.stmt) -> Iterator[str]:
    """The modules that a statement names, if only for types."""
    if isinstance(node, ast.If):
        for inner in node.body:
            yield from _imported(inner)
    elif isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and node.module:
        yield node.module
        yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _circles(imports: dict[str, set[str]]) -> list[set[str]]:
    """Sets of modules that import each other, directly or not."""
    reached = {name: _reached(name, imports) for name in imports}
    found: list[set[str]] = []
    for name, others in reached.items():
        circle = {other for other in others if name in reached[other]}
        if name in others and circle not in found:
            found.append(circle)
    return found


def _reached(name: str, imports: dict[str, set[str]]) -> set[str]:
    found, waiting = set[str](), [name]
    while waiting:
        for other in imports[waiting.pop()] - found:
            found.add(other)
            waiting.append(other)
    return found


if __name__ == "__main__":
    main()
