"""Mutations of bytes, texts and nested values, drawn from one ``random.Random``, so that a number names one."""

import json

import torch

NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 2**63 - 1, 2**64 - 1)
WORDS = (
    *(
        '',
        ' ',
        '-1',
        '0',
        '1e400',
        'nan',
        'inf',
        '²',
        '٣',
        '9' * 5000,
        '0x10',
        'None',
        'null',
        '../../etc/passwd',
        '\0',
    ),
    *('[' * 22 + ']' * 22, '(' * 50, '{}', '!!python/object/apply:os.system ["touch ran"]', '&a [*a]', '%s', '{{x}}'),
    *('é', '\ufeff', '\u2028', 'a' * 100_000, '-' * 50, "'", '"', '=', ',', ':', '#', '\t', '\r\n', '4294967296'),
)
VALUES = (
    *(None, True, -1, 0, 1, 3, 2**31, 2**63, 10**30, 0.5, -1.0, float('nan'), float('inf'), '', 'x', 'os.system'),
    *(
        'a' * 10_000,
        '²',
        [],
        {},
        [[]],
        [1, 2, 3],
        ['a', None],
        {'type': 'os.system'},
        {'a': 1},
        {'type': ''},
        [[1, [2]]],
    ),
)


def mutated(rng, content, other=b''):
    """Bits, numbers, blocks and ends of ``content`` changed, a few times; blocks of ``other`` may come in."""
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 4, 16))):
        head = rng.random() < 0.4  # where sizes stand
        place = rng.randrange(min(len(data), 200) if head else len(data)) if data else 0
        length = rng.choice((1, 2, 4, 8, 16, 64, 512, 4096))
        match rng.randrange(9):
            case 0 | 1:
                if data:
                    data[place] ^= 1 << rng.randrange(8)
            case 2:
                data[place : place + 1] = bytes([rng.randrange(256)])
            case 3:
                size = rng.choice((1, 2, 4, 8))
                number = rng.choice(NUMBERS) & (1 << 8 * size) - 1
                data[place : place + size] = number.to_bytes(size, rng.choice(('little', 'big')))
            case 4:
                del data[place : place + length]
            case 5:
                data[place:place] = data[place : place + length]
            case 6:
                data[place : place + length] = bytes(min(length, len(data) - place))
            case 7:
                del data[place:]
            case 8:
                start = rng.randrange(len(other) or 1)
                data[place : place + length] = other[start : start + length]
    return bytes(data)


def mutated_text(rng, text):
    """Words, numbers and lines of ``text`` changed, a few times."""
    for _ in range(rng.choice((1, 1, 2, 3))):
        if rng.random() < 0.3:
            lines = text.split('\n')
            place = rng.randrange(len(lines))
            match rng.randrange(4):
                case 0:
                    del lines[place]
                case 1:
                    lines.insert(place, rng.choice(lines))
                case 2:
                    lines[place] = rng.choice(WORDS)
                case 3:
                    rng.shuffle(lines)
            text = '\n'.join(lines)
        else:
            start = rng.randrange(len(text) + 1)
            end = min(len(text), start + rng.choice((0, 1, 3, 10)))
            text = text[:start] + rng.choice((*WORDS, str(rng.choice(NUMBERS)))) + text[end:]
    return text


def mutated_value(rng, value, values=VALUES):
    """A copy of nested dicts and lists in which one value, key or length is another."""
    value = copied(value)
    places = list(_places(value))
    if not places:
        return rng.choice(values)
    for _ in range(rng.choice((1, 1, 2))):
        container, key = rng.choice(places)
        match rng.randrange(5):
            case 0 if isinstance(container, dict):
                container.pop(key, None)
            case 1 if isinstance(container, dict):
                container[rng.choice((3, '', 'x'))] = container.pop(key, None)
            case 2 if isinstance(container, list):
                container.append(rng.choice(values))
            case _:
                if isinstance(container, dict) or key < len(container):
                    container[key] = copied(rng.choice(values))
    return value


def copied(value):
    """Nested dicts and lists anew; tensors, of which some cannot be copied, as they are."""
    if isinstance(value, dict):
        return {key: copied(item) for key, item in value.items()}
    return [copied(item) for item in value] if isinstance(value, list) else value


def mutated_json(rng, text):
    """The text of a JSON with another value in it, or another text."""
    if rng.random() < 0.4:
        return mutated_text(rng, text)
    return json.dumps(mutated_value(rng, json.loads(text)))


def tensors():
    """Tensors that no network has as weights, and some that it may."""
    return (
        *(
            torch.ones(2),
            torch.zeros(0),
            torch.tensor(3),
            torch.ones(2, dtype=torch.complex64),
            torch.eye(3).to_sparse(),
        ),
        *(torch.ones(2, device='meta'), torch.ones(1).expand(10**5, 10**5), torch.full((2,), float('nan'))),
        *(
            torch.ones(2, dtype=torch.bool),
            torch.ones(3, 3, 3, 3, dtype=torch.float16),
            torch.ones(1, dtype=torch.int8),
        ),
        torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]),
    )


def _places(value):
    if isinstance(value, (dict, list)):
        for key, item in list(value.items() if isinstance(value, dict) else enumerate(value)):
            yield value, key
            yield from _places(item)
