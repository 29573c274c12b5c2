import json

import pytest
from mmengine.registry import MODELS

import bireal_plugin
from bireal_plugin.export.packed.file import save_packed
from tests.export.forged import CONFIG


@pytest.fixture
def packed(tmp_path):
    path = tmp_path / 'net.safetensors'
    save_packed(MODELS.build(CONFIG).eval(), CONFIG, path, real_layers='int8')
    return path


def test_the_table_is_the_reports(run_tool, packed):
    ended = run_tool('inspect_packed.py', packed)
    assert (ended.status, ended.err) == (0, '')
    assert ended.out == f'{bireal_plugin.inspect(packed)}\n'


def test_json_has_layers_and_totals(run_tool, packed):
    ended = run_tool('inspect_packed.py', packed, '--json')
    assert ended.status == 0
    content = json.loads(ended.out)
    assert content['file_bytes'] == packed.stat().st_size
    assert content['compression'] == content['float32_bytes'] / packed.stat().st_size
    assert content['config']['backbone']['depth'] == 18
    assert sum(layer['kind'] == '1-bit' for layer in content['layers']) == 16


@pytest.mark.parametrize(
    ('damage', 'sentence'),
    [
        (lambda path: path.unlink(), 'does not exist'),
        (lambda path: path.write_bytes(path.read_bytes()[:1000]), 'is truncated or no safetensors file'),
        (lambda path: path.write_bytes(path.read_bytes()[:-1] + b'\x55'), 'its checksum does not match; get it again'),
        (lambda path: path.write_text('hello, this is no network'), 'is truncated or no safetensors file'),
    ],
)
def test_a_damaged_file_is_one_sentence_and_status_one(run_tool, packed, damage, sentence):
    damage(packed)
    ended = run_tool('inspect_packed.py', packed)
    assert (ended.status, ended.out) == (1, '')
    assert ended.err.startswith('error: ')
    assert sentence in ended.err
    assert len(ended.err.splitlines()) == 1
