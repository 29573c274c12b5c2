from bireal_plugin.text_table import markdown_table, text_table

ROWS = [
    dict(name='float', epochs=90, top1=69.756, top5=100.0, checkpoint='float/epoch_90.pth'),
    dict(name='leaky_clip', epochs=9, top1=8.5, seconds=3.25, checkpoint='leaky_clip/epoch_9.pth'),
]


def test_numbers_align_right_and_text_left():
    assert text_table(ROWS).splitlines() == [
        'name          epochs    top1    top5  checkpoint                seconds',
        '----------  --------  ------  ------  ----------------------  ---------',
        'float             90   69.76  100.00  float/epoch_90.pth',
        'leaky_clip         9    8.50          leaky_clip/epoch_9.pth       3.25',
    ]


def test_no_row_gives_nothing():
    assert text_table([]) == markdown_table([]) == ''


def test_numbers_below_1_keep_four_decimals():
    assert text_table([dict(delta1=0.90324, rmse=3.7316)]).splitlines()[-1].split() == ['0.9032', '3.73']


def test_text_stays_as_it_is_written():
    assert text_table([{'a': '1,000', 'b': '1.50'}]).splitlines()[-1].split() == ['1,000', '1.50']


def test_named_columns_alone_are_left():
    assert markdown_table(
        [dict(layer='a', macs='1,000'), dict(layer='bc', macs='10')], left=['layer']
    ).splitlines() == [
        '| layer   |   macs |',
        '|:--------|-------:|',
        '| a       |  1,000 |',
        '| bc      |     10 |',
    ]
