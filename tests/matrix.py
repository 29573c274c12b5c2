"""This package in new environments: every Python, with the lowest and the highest versions that setup.cfg admits.

make matrix                                Python 3.10 to 3.13, as far as there are interpreters
make matrix PYTHONS=/usr/bin/python3.12    one of them
make matrix PYTHONS=3.10:lowest            one environment

In each the digits are trained through every stage, exported and verified, and the tests of the models run. A row of a
Markdown table tells how it went; one that fails names its step, and the next follows. Logs stay in work_dirs/matrix.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from datetime import date
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / 'work_dirs' / 'matrix'
CONFIG = 'bireal_r18_digits'
RESOLUTIONS = {'lowest': 'lowest-direct', 'highest': 'highest'}
EXTRAS = 'det,digits,onnx,openvino,qonnx,tflite,torchao'
PACKAGES = ('torch', 'torchvision', 'timm', 'numpy', 'onnxruntime', 'openvino')
VERSIONS = """
import json, platform, sys
from importlib.metadata import version
print(json.dumps({'python': platform.python_version(), **{name: version(name) for name in sys.argv[1:]}}))
"""
TESTS = 'tests of the models'
COLUMNS = ('python', 'versions', *PACKAGES, 'digits, top-1', 'verified', TESTS, 'date')


class Environment:
    """One environment, in a folder of its own; ``row`` holds what was found out in it.

    Args:
        interpreter: its version or path. versions: lowest or highest.
    """

    def __init__(self, interpreter: str, versions: str) -> None:
        self.interpreter, self.resolution = interpreter, RESOLUTIONS[versions]
        self.row = {'python': Path(interpreter).name.removeprefix('python'), 'versions': versions}
        self.folder = FOLDER / '-'.join(self.row.values())
        self.log = self.folder.with_name(f'{self.folder.name}.log')
        self.larq = self.folder / 'larq' / 'bin' / 'python'
        self.formats = ['packed', 'c', 'openvino', 'onnx', 'qonnx']

    def attempt(self) -> bool:
        """Take all steps; whether none failed."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        self.log.write_text('')
        self.row['date'] = date.today().isoformat()
        for step in (self.install, self.install_larq, self.train, self.export, self.test):
            try:
                step()
            except subprocess.CalledProcessError:
                self.row[TESTS] = f'fails to {step.__name__}: {self.log.relative_to(ROOT)}'
                break
        shutil.rmtree(self.folder)
        return not self.row[TESTS].startswith('fails')

    def install(self) -> None:
        self.run('uv', 'venv', '--python', self.interpreter, 'venv')
        pip = ('uv', 'pip', 'install', '--python', 'venv')
        self.run(*pip, '--resolution', self.resolution, '--editable', f'{ROOT}[{EXTRAS}]')
        self.run(*pip, 'hypothesis', 'pytest', 'pytest-timeout')
        self.row |= json.loads(self.run('venv/bin/python', '-c', VERSIONS, *PACKAGES))

    def install_larq(self) -> None:
        self.run('uv', 'venv', '--python', self.interpreter, 'larq')
        larq = ('--no-deps', '--only-binary', ':all:', 'numpy<2', 'larq-compute-engine==0.16.0')
        try:
            self.run('uv', 'pip', 'install', '--python', 'larq', *larq)
        except subprocess.CalledProcessError:
            self.row['verified'] = '; no larq-compute-engine'
        else:
            self.formats.append('tflite')

    def train(self) -> None:
        self.run('venv/bin/bireal', 'train', CONFIG)
        *_, last = json.loads((self.folder / 'work_dirs' / CONFIG / 'results.json').read_text())['stages']
        self.row['digits, top-1'] = f'{last["top1"]:.2f}'
        self.checkpoint = f'work_dirs/{CONFIG}/{last["checkpoint"]}'

    def export(self) -> None:
        verify = ('--verify', '--images', '50')
        self.run('venv/bin/bireal', 'export', CONFIG, self.checkpoint, '--format', *self.formats, *verify)
        self.row['verified'] = ', '.join(self.formats) + self.row.get('verified', '')

    def test(self) -> None:
        tests = ('tests/models', '-m', 'not slow')
        said = self.run(self.folder / 'venv/bin/python', '-m', 'pytest', *tests, cwd=ROOT)
        self.row[TESTS] = re.findall(r'\d+ passed.*?(?= in |$)', said, re.M)[-1]

    def run(self, *command: str | Path, cwd: Path | None = None) -> str:
        """What a command prints, which goes to the log.

        Raises:
            subprocess.CalledProcessError: it fails.
        """
        variables = {**os.environ, 'BIREAL_LARQ_PYTHON': str(self.larq)}
        with self.log.open('a+') as log:
            print('$', *command, file=log, flush=True)
            start = log.tell()
            subprocess.run(command, cwd=cwd or self.folder, env=variables, stdout=log, stderr=log, check=True)
            log.seek(start)
            return log.read()


def main() -> int:
    """Print the table; 1 where an environment failed."""
    print_row(dict(zip(COLUMNS, COLUMNS, strict=True)))
    print_row(dict.fromkeys(COLUMNS, '---'))
    passed = []
    for given in sys.argv[1:]:
        interpreter, _, only = given.partition(':')
        for versions in [only] if only else RESOLUTIONS:
            environment = Environment(interpreter, versions)
            passed.append(environment.attempt())
            print_row(environment.row)
    return 0 if all(passed) else 1


def print_row(row: dict[str, str]) -> None:
    print('|', ' | '.join(row.get(column, '') for column in COLUMNS), '|', flush=True)


if __name__ == '__main__':
    sys.exit(main())
