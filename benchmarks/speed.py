"""How long whole processes take beside others, in turn, on one core: `python benchmarks/speed.py [NAME...]`

Each measurement runs ours, then the other, so many times over; a row gives the medians of the seconds, of
their ratio pair by pair, and of peak memory. `cpu_ratio` is of processor time, which says the same on a
machine that does something else at the time.

- train-neuralforecast: `forecast train` on W1's training span, prices stored before, against the tuned
  LSTM of neuralforecast; its forecasting is taken off, its imports are not.
- train-from-neuralforecast: the same of `forecast train --from`, the base of `from_base.py`.
- train-from: `forecast train --from`, the base of `from_base.py`, against `forecast train`, both on W1.
- train-tutorial: the same against the LSTM of the tutorials.
- training-step: a step of training against its matrix products alone, which is the least it can take.
- per-target: training per target, dense against one window per target; no whole processes, but seconds.
- predict: `forecast predict` of 20 tickers against `python -c "import tensorflow"`.
- help: `forecast --help` against `python -c "import typer"`.
- backtest-lstm: `forecast backtest --models lstm` of a trained run over W2 against the imports it makes;
  `beyond` is the difference.
- backtest-gjr: the same of gjr, refitted every year; and with all cores against one.
"""

import json
import statistics
import sys
from collections.abc import Callable
from pathlib import Path

import common
import from_base
import referee

from forecaster.runs import bundle

IMPORTS = (
    "import forecaster.backtesting.backtest, forecaster.report.html, forecaster.data.store, "
    "matplotlib.pyplot, bokeh.plotting, scipy.stats"
)
PYTHON = [sys.executable, "-c"]

Run = Callable[[], common.Cost]


def pairs(name: str, times: int, ours: Run, other: Run) -> None:
    """Runs both in turn and writes a row."""
    found = [(ours(), other()) for _ in range(times)]
    common.row(
        "speed",
        {"measure": name},
        pairs=times,
        seconds=statistics.median(mine.wall for mine, _ in found),
        other_seconds=statistics.median(theirs.wall for _, theirs in found),
        ratio=statistics.median(mine.wall / theirs.wall for mine, theirs in found),
        cpu_ratio=statistics.median(mine.cpu / theirs.cpu for mine, theirs in found),
        beyond=statistics.median(mine.wall - theirs.wall for mine, theirs in found),
        peak=statistics.median(mine.peak for mine, _ in found),
        other_peak=statistics.median(theirs.peak for _, theirs in found),
    )


def run(command: list[str]) -> Run:
    """The cost of a command on one core, whenever it is called."""
    return lambda: common.cost(command)


def train_command() -> list[str]:
    """`forecast train` on W1."""
    work = common.w1()
    return referee.train(work, common.stocked(common.CACHE / "w1-home", work.prices), 0)


def from_command() -> list[str]:
    """`forecast train` on W1, from the weights of a run of other tickers."""
    command, run_of_others = train_command(), from_base.base_without(common.w1())
    bundle.save(run_of_others, common.CACHE / "w1-home")
    return [*command, "--from", run_of_others.name]


def neuralforecast() -> common.Cost:
    """The tuned LSTM of neuralforecast, less its forecasting."""
    _, told, _ = referee.theirs("neuralforecast-lstm")
    spent = told["predict_seconds"]
    return common.Cost(told["wall"] - spent, told["cpu"] - spent, told["peak"])


def train_neuralforecast() -> None:
    """Ours against neuralforecast's."""
    pairs("train-neuralforecast", 3, run(train_command()), neuralforecast)


def train_from_neuralforecast() -> None:
    """Ours from the weights of a run against neuralforecast's."""
    pairs("train-from-neuralforecast", 3, run(from_command()), neuralforecast)


def train_from() -> None:
    """From the weights of a run against afresh."""
    further = from_command()
    pairs("train-from", 1, run(further), run(further[: further.index("--from")]))


def train_tutorial() -> None:
    """Ours against the LSTM of the tutorials."""
    pairs("train-tutorial", 1, run(train_command()), run(referee.command("tutorial-lstm")))


def training_step() -> None:
    """A step against its matrix products; each process measures both."""
    in_process("training_step", 3, "step", "products")


def per_target() -> None:
    """Dense targets against one window per target; each process measures both."""
    in_process("per_target", 3, "dense", "one_window")


def in_process(script: str, times: int, ours: str, other: str) -> None:
    """Lets a script measure two things so many times, on one core, and writes a row."""
    out = common.CACHE / f"{script}.json"
    costs = []
    for _ in range(times):
        used = common.cost([sys.executable, str(common.HERE / f"{script}.py"), str(out)])
        told = json.loads(out.read_text(encoding="utf-8"))
        costs.append((told[ours], told[other], used.peak))
    common.row(
        "speed",
        {"measure": script.replace("_", "-")},
        pairs=times,
        seconds=statistics.median(mine for mine, _, _ in costs),
        other_seconds=statistics.median(theirs for _, theirs, _ in costs),
        ratio=statistics.median(mine / theirs for mine, theirs, _ in costs),
        peak=statistics.median(peak for _, _, peak in costs),
    )


def predict() -> None:
    """`forecast predict` of W1's 20 tickers against importing TensorFlow."""
    common.cost(train_command())
    command = common.forecast("predict", "--quiet", "--home", common.CACHE / "w1-home")
    pairs("predict", 5, run(command), run([*PYTHON, "import tensorflow"]))


def show_help() -> None:
    """`forecast --help` against importing Typer."""
    pairs("help", 10, run(common.forecast("--help")), run([*PYTHON, "import typer"]))


def w2_home() -> Path:
    """A home with W2's prices and a run trained on them."""
    work = common.w2()
    home = common.stocked(common.CACHE / "w2-home", work.prices)
    common.cost(referee.train(work, home, 0))
    return home


def backtest_command(model: str, home: Path) -> list[str]:
    """`forecast backtest` of one model over W2's scored span."""
    work, out = common.w2(), common.CACHE / f"w2-{model}"
    span = ("--start", work.start, "--end", work.end)
    return common.forecast("backtest", "--models", model, *span, "--out", out, "--home", home)


def backtest_lstm() -> None:
    """The run's backtest against its imports."""
    command = backtest_command("lstm", w2_home())
    pairs("backtest-lstm", 3, run(command), run([*PYTHON, IMPORTS]))


def backtest_gjr() -> None:
    """gjr's against its imports, then with all cores against one."""
    home = common.stocked(common.CACHE / "w2-gjr-home", common.w2().prices)
    command = backtest_command("gjr", home)
    pairs("backtest-gjr", 1, run(command), run([*PYTHON, f"{IMPORTS}, arch"]))
    pairs("backtest-gjr-cores", 1, lambda: common.cost(command, cores="all"), run(command))


MEASURES = {
    "train-neuralforecast": train_neuralforecast,
    "train-from-neuralforecast": train_from_neuralforecast,
    "train-from": train_from,
    "train-tutorial": train_tutorial,
    "training-step": training_step,
    "per-target": per_target,
    "predict": predict,
    "help": show_help,
    "backtest-lstm": backtest_lstm,
    "backtest-gjr": backtest_gjr,
}


if __name__ == "__main__":
    for name in sys.argv[1:] or MEASURES:
        MEASURES[name]()
