"""Which drives of KITTI's raw recordings belong to the split of Eigen et al. and Garg et al.

The categories city, residential and road have 61 drives: 28 for testing (Eigen et al. 2014) and the 33 others for
training (Garg et al. 2016). The published lists are a selection of their frames: 22 600 pairs for training and 888 for
validation from the 33, and 697 images for testing from the 28.
"""

_TEST = {
    '2011_09_26': (
        '0002 0009 0013 0020 0023 0027 0029 0036 0046 0048 0052 0056 0059 0064 0084 0086 0093 0096 0101 0106 0117'
    ),
    '2011_09_28': '0002',
    '2011_09_29': '0071',
    '2011_09_30': '0016 0018 0027',
    '2011_10_03': '0027 0047',
}
_TRAIN = {
    '2011_09_26': (
        '0001 0005 0011 0014 0015 0017 0018 0019 0022 0028 0032 0035 0039 0051 0057 0060 0061 0070 0079 0087 0091 '
        '0095 0104 0113'
    ),
    '2011_09_28': '0001',
    '2011_09_29': '0004 0026',
    '2011_09_30': '0020 0028 0033 0034',
    '2011_10_03': '0034 0042',
}

GARG_DRIVES: dict[str, tuple[tuple[str, str], ...]] = {
    part: tuple((date, drive) for date, drives in table.items() for drive in drives.split())
    for part, table in (('train', _TRAIN), ('test', _TEST))
}
"""(date, drive) of the 33 'train' and the 28 'test' drives."""
