"""Shapes and types are checked at run time in the tests, but for those marked ``untyped``: their time goes into the
same few functions, which others check.  One torch thread a worker; hypothesis derandomised; one worker has the browser.

Not checked are the engine's modules that write code symbol by symbol: they hold no tensor of the user's, and their
small functions are called a million times.
"""

from pathlib import Path

import jaxtyping
from jaxtyping import install_import_hook

_PACKAGE = Path(__file__).parents[1] / "sdesam"
_WRITERS = (
    "aggregates", "circular", "draws", "formats", "functions", "lanes", "lists", "operations", "powers", "printer",
    "programs", "reductions", "rounding", "rows", "rules", "runtime", "scalars", "vectors", "watcher",
)  # fmt: skip
_MODULES = [p.relative_to(_PACKAGE.parent).with_suffix("") for p in _PACKAGE.rglob("[!_]*.py")]
_CHECKED = [".".join(p.parts) for p in _MODULES if not (p.parent.name in ("tracing", "llvm") and p.stem in _WRITERS)]
install_import_hook(_CHECKED, "beartype.beartype")

import pytest  # noqa: E402
import torch  # noqa: E402
from hypothesis import settings  # noqa: E402

torch.set_num_threads(1)
settings.register_profile("suite", derandomize=True, deadline=None, max_examples=40)
settings.load_profile("suite")


def pytest_collection_modifyitems(items):
    """With ``--dist loadgroup`` the browser's tests follow each other: their pages are timed."""
    for item in items:
        if item.get_closest_marker("browser"):
            item.add_marker(pytest.mark.xdist_group("browser"))


@pytest.fixture(autouse=True)
def _typed(request):
    """The run-time checks are off where a test is marked so."""
    jaxtyping.config.update("jaxtyping_disable", request.node.get_closest_marker("untyped") is not None)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture(autouse=True)
def _same_draws():
    """A test's own torch.randn is the same in every order and process."""
    torch.manual_seed(0)


@pytest.fixture(autouse=True, scope="session")
def _compiled_here(tmp_path_factory):
    """Compiled kernels go to a folder of this run, not to the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SDESAM_CACHE", str(tmp_path_factory.mktemp("compiled")))
        yield


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request):
    """Every device there is; CUDA is skipped, visibly, where there is none."""
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    return torch.device(request.param)
