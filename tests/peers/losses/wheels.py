"""The trainers' own source files, read out of their published wheels: nothing is installed, nothing is rewritten.

The wheels come from `pip download --no-deps`; ALIDADE_PEERS_WHEELS names another folder that is searched first.
"""

import __future__

import ast
import hashlib
import os
import subprocess
import sys
import zipfile
from functools import cache
from pathlib import Path

ANNOTATIONS = __future__.annotations.compiler_flag
CACHE = Path(__file__).resolve().parent / ".wheels"


def wheel(package: str, version: str) -> Path:
    pattern = f"{package}-{version}-*.whl"
    for folder in filter(None, [os.environ.get("ALIDADE_PEERS_WHEELS"), CACHE]):
        for found in sorted(Path(folder).rglob(pattern)):
            return found
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    subprocess.run([*command, "--dest", str(CACHE), f"{package}=={version}"], check=True)
    return next(CACHE.glob(pattern))


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def source(path: Path, member: str) -> str:
    with zipfile.ZipFile(path) as archive:
        return archive.read(member).decode()


def run(tree: ast.Module, name: str, namespace: dict) -> dict:
    """Executes a tree of the trainer's own statements; annotations stay text, so that their types need not exist."""
    code = compile(ast.fix_missing_locations(tree), name, "exec", flags=ANNOTATIONS, dont_inherit=True)
    exec(code, namespace)
    return namespace


def functions(text: str, names: list[str]) -> list[ast.stmt]:
    """The module-level functions of these names, as they stand in the file; absent ones are left out."""
    return [node for node in parse(text).body if isinstance(node, ast.FunctionDef) and node.name in names]


@cache
def parse(text: str) -> ast.Module:
    return ast.parse(text)


def class_of(text: str, name: str, methods: list[str], base: str) -> ast.ClassDef:
    """A class with only these of its methods, on another base class."""
    node = next(node for node in ast.parse(text).body if isinstance(node, ast.ClassDef) and node.name == name)
    node.body = [part for part in node.body if isinstance(part, ast.FunctionDef) and part.name in methods]
    missing = set(methods) - {part.name for part in node.body}
    assert not missing, f"{name} has no {missing}"
    node.bases, node.keywords, node.decorator_list = [ast.Name(base, ast.Load())], [], []
    return node


def assigns(node: ast.AST, target: str) -> bool:
    return isinstance(node, ast.Assign) and any(ast.unparse(one) == target for one in node.targets)


def statements(text: str, owner: str, method: str) -> list[ast.stmt]:
    cls = next(node for node in parse(text).body if isinstance(node, ast.ClassDef) and node.name == owner)
    return next(node for node in cls.body if isinstance(node, ast.FunctionDef) and node.name == method).body


def between(body: list[ast.stmt], first, last) -> ast.Module:
    """The statements from the first that fulfils `first` to the last that fulfils `last`, both included."""
    start = next(index for index, node in enumerate(body) if first(node))
    end = max(index for index, node in enumerate(body) if last(node))
    return ast.Module(body[start : end + 1], [])


def field_defaults(text: str, name: str) -> dict:
    """Defaults of a configuration class, where they are literals: `a: int = 1` or `a: int = field(default=1)`."""
    cls = next(node for node in parse(text).body if isinstance(node, ast.ClassDef) and node.name == name)
    found = {}
    for node in cls.body:
        if not isinstance(node, ast.AnnAssign):
            continue
        given = node.value
        if isinstance(given, ast.Call):
            given = next((word.value for word in given.keywords if word.arg == "default"), None)
        try:
            found[node.target.id] = ast.literal_eval(given)
        except (TypeError, ValueError):
            continue
    return found
