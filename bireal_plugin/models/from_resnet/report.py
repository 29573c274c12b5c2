"""Report of ``binarize``, as data and as text."""

from __future__ import annotations

from dataclasses import dataclass

from bireal_plugin.cost import Cost


@dataclass(frozen=True)
class BinarizeReport:
    """The result of ``binarize``.

    Args:
        host: name of the changed network within the model, '' for the model itself.
        binarized: names of the convolutions that became 1-bit.
        real: name of every other convolution and linear layer of the host, and why it stayed real.
        removed: names of the stem's activations, now identities. Those of the blocks went with their blocks.
        new_parameters: names of parameters that no optimizer from before knows.
        dropped_parameters: names that are gone (shortcuts, in the 'plain' structure).
        state: structure, activation and weights, as text.
        before, after: cost of the host on an image of ``before.shape``.
    """

    host: str
    binarized: tuple[str, ...]
    real: dict[str, str]
    removed: tuple[str, ...]
    new_parameters: tuple[str, ...]
    dropped_parameters: tuple[str, ...]
    state: str
    before: Cost
    after: Cost

    def __str__(self) -> str:
        reasons: dict[str, list[str]] = {}
        for name, reason in self.real.items():
            reasons.setdefault(reason, []).append(name)
        lines = [f'{self.host or "model"}: {len(self.binarized)} convolutions binarized ({self.state})']
        lines += [f'  real: {_listed(names)} ({reason})' for reason, names in reasons.items()]
        for what, names in (
            ('removed', self.removed),
            ('new, to be added to an existing optimizer', self.new_parameters),
            ('no longer used', self.dropped_parameters),
        ):
            if names:
                lines.append(f'  {what}: {_listed(list(names))}')
        before, after = self.before, self.after
        lines.append(
            f'  memory {before.memory_bits / 1e6:.1f} -> {after.memory_bits / 1e6:.1f} Mbit '
            f'({before.memory_bits / after.memory_bits:.2f}x), bit-operations {before.bops:.3g} -> {after.bops:.3g} '
            f'({before.bops / after.bops:.2f}x) on {"x".join(map(str, before.shape))}'
        )
        return '\n'.join(lines)


def _listed(names: list[str], most: int = 4) -> str:
    return ', '.join(names[:most]) + (f', ... ({len(names)} in all)' if len(names) > most else '')
