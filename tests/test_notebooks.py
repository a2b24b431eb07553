from pathlib import Path

import nbformat
import pytest
from jupyter_client import KernelManager
from nbclient import NotebookClient

pytestmark = pytest.mark.slow

NOTEBOOKS = sorted(Path(__file__).parents[1].glob("notebooks/*.ipynb"))


@pytest.fixture(scope="module")
def kernel():
    """One kernel for all: TensorFlow is loaded once, and each notebook begins without a name."""
    manager = KernelManager(kernel_name="python3")
    yield manager
    manager.shutdown_kernel(now=True)
    manager.context.term()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
# Jupyter's client and kernel, which live in processes of their own, warn of each other.
@pytest.mark.filterwarnings("default:::jupyter_client", "default:::zmq")
def test_notebooks_run(path, kernel):
    notebook = nbformat.read(path, as_version=4)
    notebook.cells.insert(0, nbformat.v4.new_code_cell("%reset -f"))
    client = NotebookClient(notebook, km=kernel, timeout=None, startup_timeout=600)
    try:
        client.execute()
    finally:
        client.kc.stop_channels()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert not [output for output in outputs if output["output_type"] == "error"]
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= 2
    # Nothing is written to stderr: no chatter of libraries in front of the reader.
    assert not [output for output in outputs if output.get("name") == "stderr"]


def test_there_are_notebooks():
    assert NOTEBOOKS
