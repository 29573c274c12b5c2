"""Contents of a download of KITTI's raw recordings: counts of each drive, unusable files, and swapped pairs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np

from bireal_plugin.data.image_file import image_size
from bireal_plugin.depth.kitti.calibration import stereo_camera
from bireal_plugin.depth.kitti.ground_truth import check_scan_size, read_velodyne
from bireal_plugin.depth.kitti.raw import CAMERAS, Frame, RawFolder, read_recorded
from bireal_plugin.depth.maps import read_depth_png
from bireal_plugin.errors import InputError
from bireal_plugin.text_table import text_table

Content = TypeVar('Content')
COUNTS = ('left', 'right', 'pairs', 'lidar', 'annotated')
PAIRS_PER_DRIVE = 3  # looked at for the order of left and right


@dataclass
class DriveSurvey:
    """Counts of one drive's files, and the faults of some.

    ``sizes`` counts the (H, W) of its whole images, ``order`` is the median of ``right_order`` over a few pairs, None
    if no pair has near objects.
    """

    date: str
    drive: str
    left: int = 0
    right: int = 0
    pairs: int = 0
    lidar: int = 0
    annotated: int = 0
    bytes: int = 0
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    unreadable: list[str] = field(default_factory=list)
    unequal: list[str] = field(default_factory=list)
    order: float | None = None

    @property
    def folder(self) -> str:
        """Name of the drive's folder."""
        return Frame(self.date, self.drive, 0).folder


def survey_drive(raw: RawFolder, date: str, drive: str, *, deep: bool = False) -> DriveSurvey:
    """Look at every file of a drive: headers and ends by default, the whole content if ``deep``."""
    found = DriveSurvey(date, drive)
    left, right = raw.frames((date, drive), 'left'), raw.frames((date, drive), 'right')
    both = set(left) & set(right)
    found.left, found.right, found.pairs = len(left), len(right), len(both)
    usable = []

    def whole(path: Path, read: Callable[[Path], Content]) -> Content | None:
        found.bytes += path.stat().st_size
        try:
            return read(path)
        except InputError as error:
            found.unreadable.append(str(error))
            return None

    def decoded_size(path: Path) -> tuple[int, int]:
        size = image_size(path)
        read_recorded(path)
        return size

    for frame in sorted({*left, *right}):
        images = (raw.image(frame, side) for side in CAMERAS if raw.has_image(frame, side))
        sizes = [size for path in images if (size := whole(path, decoded_size if deep else image_size)) is not None]
        found.sizes.update(sizes)
        if len(set(sizes)) > 1:
            found.unequal.append(str(raw.image(frame)))
        elif len(sizes) == len(CAMERAS):
            usable.append(frame)
        if (scan := raw.velodyne(frame)).is_file():
            found.lidar += 1
            whole(scan, read_velodyne if deep else check_scan_size)
        if (depth := raw.annotated(frame)) is not None:
            found.annotated += 1
            whole(depth, read_depth_png if deep else image_size)
    shares = []
    for index in sorted(set(np.linspace(0, len(usable) - 1, PAIRS_PER_DRIVE).astype(int))) if usable else []:
        with suppress(InputError):  # headers were whole, the content is not: told by --deep
            shares.append(right_order(*(read_recorded(raw.image(usable[index], side)) for side in CAMERAS)))
    known = [share for share in shares if share is not None]
    found.order = float(np.median(known)) if known else None
    return found


def drive_table(raw: RawFolder, drives: Sequence[DriveSurvey]) -> str:
    """A row per drive with counts of files, MB, sizes and calibration, and a row of sums."""
    rows: list[dict[str, Any]] = []
    for found in drives:
        try:
            camera = stereo_camera(raw.calibration(found.date), source=found.date)
            calibration = f'f {camera.focal:.2f} px, b {camera.baseline:.4f} m'
        except InputError:
            calibration = 'none'  # a fault of its own
        sizes = ', '.join(f'{width} x {height}' for height, width in sorted(found.sizes)) or 'no image'
        counts = {name: getattr(found, name) for name in COUNTS}
        megabytes = f'{found.bytes / 1e6:.1f}'
        rows.append({'drive': found.folder, **counts, 'MB': megabytes, 'size': sizes, 'calibration': calibration})
    sums: dict[str, int] = {name: sum(getattr(found, name) for found in drives) for name in COUNTS}
    rows.append({'drive': f'{len(drives)} drives', **sums, 'MB': f'{sum(found.bytes for found in drives) / 1e6:.1f}'})
    return text_table(rows, left=('drive', 'size', 'calibration'))


WIDTH = 320
LARGEST_SHIFT = 48  # px at ``WIDTH``: an object 1.3 m in front of KITTI's cameras
WINDOW = 11
BORDER = 8
LEAST_VOTES = 200


def right_order(left: np.ndarray, right: np.ndarray) -> float | None:
    """Share of textured pixels whose match lies where a right camera sees it, x_right = x_left - d with d > 0.

    Each pixel compares windows (sum of absolute differences, brightness removed) at shifts in both directions, and
    votes if a shift fits clearly better than none. Near 1 the order is right, near 0 the images are swapped.

    Args:
        left, right: ``(H, W, 3)`` uint8 RGB of one size.

    Returns:
        The share, or None where fewer than 200 pixels of the 320 px wide pair vote: nothing near enough is in sight.
    """
    left_grey, right_grey = _prepared(left), _prepared(right)
    # Of left at x and right at x - shift; the columns that wrap around lie in the border, which has no vote.
    cost = {
        shift: cv2.blur(np.abs(left_grey - np.roll(right_grey, shift, axis=1)), (WINDOW, WINDOW))
        for shift in range(-LARGEST_SHIFT, LARGEST_SHIFT + 1)
    }
    still = np.minimum.reduce([cost[shift] for shift in (-1, 0, 1)])
    forwards = np.minimum.reduce([cost[shift] for shift in range(2, LARGEST_SHIFT + 1)])
    backwards = np.minimum.reduce([cost[-shift] for shift in range(2, LARGEST_SHIFT + 1)])
    texture = cv2.blur(np.abs(cv2.Sobel(left_grey, cv2.CV_32F, 1, 0)), (WINDOW, WINDOW))
    voters = (texture > np.median(texture)) & (still > 1.2 * np.minimum(forwards, backwards))
    inner = np.zeros_like(voters)
    inner[BORDER:-BORDER, LARGEST_SHIFT + BORDER : -LARGEST_SHIFT - BORDER] = True
    voters &= inner
    if voters.sum() < LEAST_VOTES:
        return None
    return float((forwards < backwards)[voters].mean())


def _prepared(image: np.ndarray) -> np.ndarray:
    """Grey, ``WIDTH`` px wide, without the local mean: the cameras' gains differ."""
    height = max(1, round(image.shape[0] * WIDTH / image.shape[1]))
    grey = cv2.resize(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), (WIDTH, height), interpolation=cv2.INTER_AREA)
    grey = grey.astype(np.float32)
    return grey - cv2.blur(grey, (31, 31))
