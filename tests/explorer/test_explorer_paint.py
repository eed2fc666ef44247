"""Curves of the explorer's plots are cut at their frame: dashes millions of pixels off the screen stop a page."""

import json
import shutil
import subprocess
from importlib.resources import files

import numpy as np
import pytest

pytestmark = pytest.mark.skipif(shutil.which("node") is None, reason="no Node.js")
FRAME = {"left": -1.0, "right": 2.0, "top": -0.5, "bottom": 1.5}
CUT = """
import { within } from "PAGE";
import { readFileSync } from "node:fs";
const { lines, frame } = JSON.parse(readFileSync(0, "utf-8"));
console.log(JSON.stringify(lines.map((points) => within(points, frame))));
"""


def cut(lines):
    """The page's own ``within`` on polylines; pieces are apart by a NaN, which JSON writes as null."""
    page = files("sdesam.explorer").joinpath("page/paint.js")
    command = ["node", "--input-type=module", "-e", CUT.replace("PAGE", f"file://{page}")]
    text = json.dumps({"lines": [line.tolist() for line in lines], "frame": FRAME})
    found = subprocess.run(command, input=text, capture_output=True, text=True, check=True, timeout=60)
    return [np.array(line, float).reshape(-1, 2) for line in json.loads(found.stdout)]


def inside(x):
    return (x[..., 0] >= -1) & (x[..., 0] <= 2) & (x[..., 1] >= -0.5) & (x[..., 1] <= 1.5)


def test_what_lies_in_the_frame_is_kept_and_nothing_else():
    rng = np.random.default_rng(0)
    lines = [rng.normal(0, scale, (30, 2)) for scale in (0.2, 1.0, 5.0, 1e6) for _ in range(25)]
    lines += [
        np.array([[-3.0, 1.0], [4.0, 1.0]]),
        np.array([[0.0, -9.0], [0.0, 9.0]]),
        np.array([[3.0, 0.0], [3.0, 1.0]]),
    ]
    u = (np.arange(4000) + 0.5) / 4000
    for line, kept in zip(lines, cut(lines), strict=True):
        steps = np.diff(line, axis=0)
        share = inside(line[:-1, None] + u[:, None] * steps[:, None]).mean(1)
        lengths = np.linalg.norm(steps, axis=1)
        expected, tolerance = (share * lengths).sum(), (lengths / 4000).sum() * 2
        assert abs(np.nansum(np.linalg.norm(np.diff(kept, axis=0), axis=1)) - expected) <= tolerance
        corners = kept[~np.isnan(kept[:, 0])]
        slack = 1e-15 * max(1.0, np.abs(line).max())
        assert np.all(np.abs(corners - [0.5, 0.5]) <= np.array([1.5, 1.0]) + slack)


def test_a_line_inside_is_one_stroke_of_its_own_points():
    line = np.array([[0.0, 0.0], [1.0, 1.0], [1.5, -0.5], [2.0, 1.5]])
    (kept,) = cut([line])
    np.testing.assert_array_equal(kept[1:], line)


def test_nothing_is_drawn_of_a_point_or_of_what_is_not_finite():
    assert [len(kept) for kept in cut([np.zeros((1, 2)), np.zeros((0, 2))])] == [0, 0]
