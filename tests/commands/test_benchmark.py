"""tools/benchmark.py measures, prints, writes, and tells mistakes in a sentence."""

import pytest

from tests.studies.speed.test_inference import from_json

NARROW = """
model = dict(
    type='BiRealClassifier',
    backbone=dict(type='BiRealResNet', depth=18, base_channels=32, out_indices=(3,)),
    num_classes=10,
)
"""
QUICK = ('--rounds', 2, '--repeats', 1, '--warm-up', 1)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp('benchmark')


@pytest.fixture(scope='module')
def narrow(folder):
    path = folder / 'narrow.py'
    path.write_text(NARROW)
    return path


@pytest.fixture(scope='module')
def measured(run_tool, narrow, folder):
    shapes = ('--size', 32, 32, '--shape', 2, 3, 32, 64)  # the second in the older spelling
    return run_tool(
        'benchmark.py', narrow, *shapes, '--engines', 'torch', 'openvino-f32', *QUICK, '--out', folder / 'out'
    )


def test_every_side_is_timed_at_every_shape_and_written(measured, folder):
    assert measured.status == 0, measured.err
    report = from_json((folder / 'out' / 'benchmark.json').read_text())
    pairs = [(side, engine) for side in ('ours', 'twin') for engine in ('openvino-f32', 'torch')]
    assert [result.shape for result in report.results] == [(1, 3, 32, 32), (2, 3, 32, 64)]
    for result in report.results:
        assert [(t.side, t.engine, len(t.times_ms)) for t in result.timings] == [(*pair, 2) for pair in pairs]
        assert [p.engine for p in result.profiles] == ['openvino-f32']
    assert sorted(path.name for path in (folder / 'out').iterdir()) == [
        'benchmark.json',
        'benchmark.md',
        'narrow_1x3x32x32.png',
        'narrow_1x3x32x32.svg',
        'narrow_2x3x32x64.png',
        'narrow_2x3x32x64.svg',
    ]


def test_the_tables_printed_are_those_of_the_files(measured, folder):
    markdown = from_json((folder / 'out' / 'benchmark.json').read_text()).markdown()
    assert (folder / 'out' / 'benchmark.md').read_text() == markdown
    table = [line for line in markdown.splitlines() if line.startswith(('|', '#'))]
    assert [line for line in measured.out.splitlines() if line.startswith(('|', '#'))] == table
    assert 'no side torchvision' in measured.out


def test_older_spelling_works_with_a_note(measured):
    assert 'note: --shape is called --size H W, and --batch N now\n' in measured.err


def test_older_spelling_still_names_the_channels(run_tool, narrow):
    ended = run_tool('benchmark.py', narrow, '--shape', 1, 4, 32, 32)
    assert (ended.status, ended.err.splitlines()[-1].partition(': ')[0]) == (1, 'error')
    assert 'takes images of 3 channels' in ended.err


def test_a_report_is_not_replaced_unasked(measured, run_tool, narrow, folder):
    before = (folder / 'out' / 'benchmark.json').read_text()
    ended = run_tool('benchmark.py', narrow, *QUICK, '--out', folder / 'out')
    assert (ended.status, (folder / 'out' / 'benchmark.json').read_text()) == (1, before)
    assert 'benchmark.json exists; give another --out, --overwrite to replace it, or --skip-existing' in ended.err


@pytest.mark.parametrize(
    ('arguments', 'words'),
    [
        (['19'], 'there is no Bi-Real-19; the depths are 18, 34'),
        (['absent.py'], 'config absent.py does not exist'),
        (['CONFIG', '--engines', 'tensorrt'], "there is no engine 'tensorrt'"),
        (['CONFIG', '--sides', 'theirs'], "there is no side 'theirs'"),
        (['CONFIG', '--size', 16, 32], 'at least 32 pixels'),
        (['CONFIG', '--engines', 'torch', '--size', 99999, 99999], 'networks at this size take about'),
        (['CONFIG', '--warm-up', 0], '--rounds, --repeats and --warm-up must be at least 1'),
        (['CONFIG', '--threads', 9999], '--threads 9999: this process has'),
        (['CONFIG', '--sides', 'torchvision', '--engines', 'torch', '--size', 32, 32], 'has no side torchvision'),
        (['CONFIG', '--engines', 'torch'], 'has no data that would tell the size of the images: give --size H W'),
        (['CONFIG', '--checkpoint', 'absent.pth'], 'checkpoint absent.pth does not exist'),
        (['CONFIG', '18', '--checkpoint', 'absent.pth'], 'give one model'),
    ],
    ids=lambda value: value if isinstance(value, str) else ' '.join(map(str, value)),
)
def test_mistake_is_one_sentence(run_tool, narrow, arguments, words):
    ended = run_tool('benchmark.py', *(narrow if argument == 'CONFIG' else argument for argument in arguments))
    assert (ended.status, ended.err.count('\n')) == (1, 1)
    assert ended.err.startswith('error: ')
    assert words in ended.err
