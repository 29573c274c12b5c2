"""Packed networks on the Hugging Face Hub: a folder with the file and a model card, and its upload.

``bireal_plugin.load('hf-hub:OWNER/NAME')`` and every command that takes a packed file read what is written here.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from bireal_plugin.errors import InputError
from bireal_plugin.export.packed.format import read_packed
from bireal_plugin.export.packed.inspection import PackedReport, inspect_packed
from bireal_plugin.shipping.classification import KEY, Preparation
from bireal_plugin.whole_file import write_whole
from bireal_plugin.zoo import HUB, WEIGHTS, local_file

CARD = """---
library_name: bireal-plugin
license: {license}
pipeline_tag: {task}
tags: [bi-real-net, binary-neural-network, 1-bit]
---

# {name}

A network with {binary:,} weights of 1 bit in {layers} convolutions and {real:,} real numbers:
{size:.2f} MB, of {float32:.2f} MB in float32. It was written by bireal-plugin
([Bi-Real Net](https://arxiv.org/abs/1811.01335)) and is loaded without running code from it.

```python
import bireal_plugin

model = bireal_plugin.load('{address}')
```

{use}
Real layers are stored in {real_layers}; SHA-256 of the content: `{checksum}`.
"""


def write_hub_folder(packed: str | Path, folder: Path, name: str, *, license: str = 'apache-2.0') -> Path:
    """Write ``weights.safetensors`` and ``README.md``, the model card, into ``folder``, and return that.

    Args:
        packed: file, or address of one. name: OWNER/NAME of the repository. license: of the weights, in the card.

    Raises:
        InputError: the file is no packed network, or ``name`` is no OWNER/NAME.
    """
    if len([part for part in name.split('/') if part]) != 2:
        raise InputError(f'a repository of the Hub is called OWNER/NAME, not {name!r}')
    report, metadata = inspect_packed(packed), read_packed(packed).metadata
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(local_file(packed), folder / WEIGHTS)
    write_whole(folder / 'README.md', card(report, metadata, name, license))
    return folder


def card(report: PackedReport, metadata: dict[str, str], name: str, license: str) -> str:
    """The model card of a packed file with ``metadata``."""
    binary = [layer for layer in report.layers if layer.kind == '1-bit']
    address, use, task = f'{HUB}{name}', '', 'image-feature-extraction'
    if KEY in metadata:
        preparation = Preparation.of_metadata(metadata, report.path)
        height, width = preparation.size
        named = '' if preparation.classes is None else f' Classes: {", ".join(preparation.classes)}.'
        use = f'```bash\nbireal predict {address} photo.jpg\n```\n\nImages: {height} x {width} px.{named}\n'
        task = 'image-classification'
    elif report.config.get('type') == 'DepthNetwork':
        use = f'```bash\nbireal depth infer photo.jpg --checkpoint {address}\n```\n'
        task = 'depth-estimation'
    return CARD.format(
        license=license,
        task=task,
        name=name.rpartition('/')[2],
        binary=sum(layer.weights for layer in binary),
        layers=len(binary),
        real=sum(layer.float32_bytes // 4 for layer in report.layers) - sum(layer.weights for layer in binary),
        size=report.file_bytes / 1e6,
        float32=report.float32_bytes / 1e6,
        address=address,
        use=use,
        real_layers=report.real_layers,
        checksum=report.checksum,
    )


def push_to_hub(packed: str | Path, name: str, *, license: str = 'apache-2.0', private: bool = False) -> str:
    """Upload a packed network with its card to the repository OWNER/NAME, made if it is missing; the Hub's address.

    The token is that of ``hf auth login``, or ``HF_TOKEN`` in the environment.

    Raises:
        InputError: see ``write_hub_folder``, or the Hub refuses.
    """
    from huggingface_hub import HfApi  # here, since its import takes as long as many a command

    with tempfile.TemporaryDirectory() as folder:
        write_hub_folder(packed, Path(folder), name, license=license)
        try:
            HfApi().create_repo(name, private=private, exist_ok=True)
            HfApi().upload_folder(repo_id=name, folder_path=folder, commit_message='A network with 1-bit convolutions')
        except (OSError, ValueError) as error:
            reason = ' '.join(str(error).split())
            raise InputError(f'{HUB}{name} cannot be written ({type(error).__name__}: {reason})') from error
    return f'{HUB}{name}'
