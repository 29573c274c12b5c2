"""The layers of the package, asserted from its imports: none points up, and no two folders import each other."""

import ast
from collections import defaultdict
from graphlib import TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parents[1]

# From the ground up. A room, which is a folder or file of bireal_plugin, may import rooms of the lines above it alone.
LAYERS = """
    errors version hosts processes progress text_table
    whole_file mmcv_operators zoo
    registry c_compiler
    binary
    dry_run
    cost folding
    checkpoints
    models
    data torchao
    training
    export
    shipping
    depth
    studies app mmpretrain
    __init__
    commands
    tools
"""
FLOOR = {room: floor for floor, line in enumerate(LAYERS.splitlines()) for room in line.split()}

# Imported within functions, since each needs a package that may be absent.
OPTIONAL = (
    'bireal_plugin.app.page',
    'bireal_plugin.export.onnx.',
    'bireal_plugin.export.openvino.',
    'bireal_plugin.export.tflite.',
    'bireal_plugin.studies.ablation.figure',
    'bireal_plugin.studies.figures.choice',
    'bireal_plugin.studies.figures.pictures',
    'bireal_plugin.studies.speed.chart',
)

PACKAGE = {
    '.'.join(file.relative_to(ROOT).with_suffix('').parts): file for file in (ROOT / 'bireal_plugin').rglob('*.py')
}
SCRIPTS = {
    f'tools.{folder}_{file.stem}': file for folder in ('tools', 'depth') for file in (ROOT / folder).glob('*.py')
}


def imports(file):
    """(module of ours, whether it is imported within a function) for every import in ``file``."""
    tree = ast.parse(file.read_text())
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    inside = {id(node) for function in functions for node in ast.walk(function)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f'{node.module}.{alias.name}' for alias in node.names]
        else:
            continue
        for name in names:
            parts = name.split('.')
            places = ['.'.join(parts[:end]) for end in range(len(parts), 0, -1)]
            found = (module for place in places for module in (place, f'{place}.__init__') if module in PACKAGE)
            yield from ((module, id(node) in inside) for module in list(found)[:1])


IMPORTS = {module: list(imports(file)) for module, file in {**PACKAGE, **SCRIPTS}.items()}
ARROWS = [(module, other, inside) for module, others in IMPORTS.items() for other, inside in others]


def room(module):
    return 'tools' if module.startswith('tools.') else module.split('.')[1]


def folder(module):
    return module.rpartition('.')[0]


def test_every_room_has_its_floor():
    assert {room(module) for module in IMPORTS} == set(FLOOR)


def test_no_import_points_up():
    assert [
        f'{module} imports {other}'
        for module, other, _ in ARROWS
        if room(module) != room(other) and FLOOR[room(other)] >= FLOOR[room(module)]
    ] == []


def test_no_two_folders_import_each_other():
    """A folder and a folder in it are one house; within it, as everywhere, no circle leads from a file to itself."""
    arrows = defaultdict(list)
    for module, other, _ in ARROWS:
        here, there = folder(module), folder(other)
        if not f'{here}.'.startswith(f'{there}.') and not f'{there}.'.startswith(f'{here}.'):
            arrows[here, there].append(f'{module} imports {other}')
    assert [
        found + arrows[there, here] for (here, there), found in list(arrows.items()) if (there, here) in arrows
    ] == []
    TopologicalSorter({module: [other for other, _ in others] for module, others in IMPORTS.items()}).prepare()


def test_imports_stand_at_the_top_but_for_packages_that_may_be_absent():
    assert [
        f'{module} imports {other} in a function'
        for module, other, inside in ARROWS
        if inside and not other.startswith(OPTIONAL)
    ] == []
