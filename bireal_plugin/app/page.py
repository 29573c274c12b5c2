"""The page itself, by Gradio: photographs in, classes and depth out. What it shows is made in ``answers``."""

from __future__ import annotations

import errno
import os
import socket
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from bireal_plugin.app import answers
from bireal_plugin.app.answers import Networks
from bireal_plugin.depth.inference.outputs import Estimate
from bireal_plugin.errors import InputError

try:
    import gradio as gr
    import gradio.routes as gradio_routes
    import plotly.graph_objects as plotly
except ModuleNotFoundError as missing:
    raise InputError(f"the page needs {missing.name}: pip install 'bireal-plugin[app]'") from missing

P = ParamSpec('P')
T = TypeVar('T')
PORTS = range(7860, 7960)  # that are tried where none is given
KEPT = 3600  # s that files of an upload are kept, for downloads


@contextmanager
def served(networks: Networks, *, host: str, port: int | None, most_megabytes: int) -> Iterator[str]:
    """Serve the page while the block runs; yields its address. What users upload lies in a folder that goes at the end.

    Args:
        host: that may be connected to; '127.0.0.1' is this machine alone. port: None takes a free one.

    Raises:
        InputError: the port is taken, or ``host`` is no address of this machine.
    """
    with tempfile.TemporaryDirectory(prefix='bireal-app-') as folder:
        os.environ['GRADIO_TEMP_DIR'] = gradio_routes.DEFAULT_TEMP_DIR = folder  # the latter is read at Gradio's import
        page = built(networks, Path(folder))
        try:
            yield _launched(page, host, PORTS if port is None else [port], max_file_size=f'{most_megabytes}mb')
        finally:
            page.close(verbose=False)


def _launched(page: gr.Blocks, host: str, ports: Sequence[int], **options: Any) -> str:
    """The page's address, at the first of ``ports`` that can be had; where none can, Gradio would name its options."""
    options |= dict(quiet=True, prevent_thread_lock=True, share=False, show_error=True, footer_links=[])
    options |= dict(ssr_mode=False, enable_monitoring=False, run_history=False)
    name = host.strip('[]')
    for port in ports:
        try:
            with socket.socket(socket.AF_INET6 if ':' in name else socket.AF_INET) as trial:
                trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do, after a former one's end
                trial.bind((name, port))
            return page.launch(server_name=host, server_port=port, **options)[1]
        except OSError as error:
            # Gradio's has no number, where another process has taken the port in the meantime.
            reason = error.strerror or os.strerror(errno.EADDRINUSE)
            if error.errno not in (None, errno.EADDRINUSE):
                break
    raise InputError(f'no page at {host}:{port}: {reason}; give another --host or --port')


def built(networks: Networks, folder: Path) -> gr.Blocks:
    """The page, with a tab for each network; ``folder`` takes the files that it offers."""
    with gr.Blocks(title='Bi-Real Net', analytics_enabled=False, delete_cache=(KEPT // 6, KEPT)) as page:
        gr.Markdown('# What a 1-bit network sees')
        if networks.classifier is not None:
            with gr.Tab('Classes'):
                _classes(networks.classifier)
        if networks.predictor is not None:
            with gr.Tab('Depth'):
                _depth(networks.predictor, folder)
    return page


def sentences(function: Callable[P, T]) -> Callable[P, T]:
    """Mistakes of the user's as a notice on the page, in one sentence."""

    @wraps(function)
    def told(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return function(*args, **kwargs)
        except (InputError, OSError) as error:
            text = str(error)
            for path in (value for value in args if isinstance(value, str)):
                text = text.replace(path, Path(path).name)  # the user's own name for it
            raise gr.Error(text, print_exception=False) from error

    return told


def _photo() -> gr.Image:
    return gr.Image(type='filepath', sources=['upload', 'webcam', 'clipboard'], label='Photograph', image_mode=None)


def _classes(classifier: answers.Classifier) -> None:
    with gr.Row():
        photo = _photo()
        shown = gr.Label(num_top_classes=5, label='Classes')

    @sentences
    def show(path: str | None) -> dict[str, float] | None:
        return None if path is None else answers.classes(classifier, Path(path))

    photo.change(show, photo, shown, api_name='classes')


def _depth(predictor: answers.Predictor, folder: Path) -> None:
    seen = gr.State(time_to_live=KEPT)
    with gr.Row():
        with gr.Column():
            photo = _photo()
            focal = gr.Number(
                label='Focal length in px of the photograph', info='Without it depth is relative.', precision=1
            )
            start = gr.Button('Show depth', variant='primary')
        with gr.Column():
            map_ = gr.Image(
                label='Depth: click for a number',
                interactive=False,
                elem_id='depth',
                buttons=['download', 'fullscreen'],
            )
            number = gr.Markdown(elem_id='number')
    with gr.Row():
        slider = gr.ImageSlider(label='Before and after')
        cloud = gr.Plot(label='Points: drag to turn')
    offered = gr.File(label='Files', file_count='multiple', interactive=False)

    @sentences
    def suggest(path: str | None) -> float | None:
        return None if path is None else answers.suggested_focal(Path(path))

    @sentences
    def show(path: str | None, focal: float | None) -> tuple[Estimate, Any, str, Any, Any, list[str]]:
        if path is None:
            raise InputError('choose a photograph first')
        estimate = answers.estimate(predictor, Path(path), focal)
        picture = answers.coloured(estimate)
        files = answers.files(estimate, Path(tempfile.mkdtemp(dir=folder)))
        metric = 'in metres' if estimate.camera else 'relative, since no focal length is known'
        plain = picture[:, : estimate.image.shape[1]]
        return (
            estimate,
            picture,
            f'Depth is {metric}. {Path(predictor.source).name}',
            (estimate.image, plain[: len(estimate.image)]),
            _turned(estimate) if estimate.camera else None,
            [str(file) for file in files],
        )

    def measure(estimate: Estimate | None, event: gr.SelectData) -> str:
        return '' if estimate is None else answers.measured(estimate, *event.index)

    suggestion = photo.change(suggest, photo, focal, api_visibility='private')
    focal.input(None, cancels=suggestion)  # what is typed stays, however late the photograph's own length is known
    start.click(show, [photo, focal], [seen, map_, number, slider, cloud, offered], api_name='depth')
    map_.select(measure, seen, number, api_visibility='private')


def _turned(estimate: Estimate) -> plotly.Figure:
    """Points to turn: x to the right, depth into the page, up is up."""
    points, colours = answers.points(estimate)
    marker = dict(size=2, color=[f'rgb({r},{g},{b})' for r, g, b in colours.tolist()])
    x, y, z = points.T
    told = 'depth %{y:.2f} m<extra></extra>'  # under the pointer
    figure = plotly.Figure(plotly.Scatter3d(x=x, y=z, z=-y, mode='markers', marker=marker, hovertemplate=told))
    eye = dict(eye=dict(x=0.1, y=-1.6, z=0.4))  # from where the photograph was taken, and above
    axes = dict(camera=eye, xaxis_title='right, m', yaxis_title='depth, m', zaxis_title='up, m', aspectmode='data')
    figure.update_layout(scene=axes, margin=dict(l=0, r=0, t=0, b=0))
    return figure
