"""The recipes for every evening, and the image: run as far as one machine can, else read by their rules."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import typer
import yaml

from forecaster.cli.app import app
from forecaster.data import calendars, prices
from forecaster.data.store import Store

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "how-to" / "recipes.md").read_text(encoding="utf-8")
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
_RECIPE = re.compile(r"<!-- recipe: (\S+) -->\n```\w*\n(.*?)^```$", re.DOTALL | re.MULTILINE)
RECIPES = dict(_RECIPE.findall(PAGE))
FORECAST = Path(sys.executable).with_name("forecast")
posix = pytest.mark.skipif(sys.platform == "win32", reason="a recipe of a POSIX shell")


def parse(words):
    """Raise if the command line does not understand the words."""
    command, said = typer.main.get_command(app), ["forecast"]
    while words and words[0] in getattr(command, "commands", ()):
        command, said, words = command.commands[words[0]], [*said, words[0]], words[1:]
    with command.make_context(" ".join(said), list(words), resilient_parsing=False):
        pass


@pytest.fixture
def shell(tmp_path):
    """A function that runs lines in a shell, in which `forecast` is the real one, with prices up to now."""
    home, folder = tmp_path / "repository" / "home", tmp_path / "bin"
    until = calendars.last_finished("AAA", calendars.now())
    days = calendars.sessions_between("AAA", until - pd.Timedelta(days=500), until)
    for ticker, seed in (("AAA", 1), ("BBB", 2)):
        close = 50 * np.exp(0.01 * np.random.default_rng(seed).standard_t(5, len(days)).cumsum())
        frame = pd.DataFrame({"ticker": ticker, "date": days, "close": close})
        Store(home).write(prices.check(frame), source="test")
    folder.mkdir()
    (folder / "forecast").symlink_to(FORECAST)
    (folder / "python").symlink_to(sys.executable)
    (tmp_path / ".local").mkdir()
    (tmp_path / ".local" / "bin").symlink_to(folder)
    environment = {
        **os.environ,
        "PATH": f"{folder}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "HOME": str(tmp_path),
        "FORECAST_HOME": str(home),
        "GIT_CONFIG_NOSYSTEM": "1",
    }

    def run(lines, program=("bash", "-eo", "pipefail"), **more):
        return subprocess.run(
            [*program, "-c", lines],
            env=environment | more,
            cwd=home.parent,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def test_every_command_of_a_recipe_is_one_that_there_is():
    texts = [*RECIPES.values(), yaml.safe_dump(COMPOSE["services"]["daily"]["command"])]
    texts += re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL)
    said = re.compile(r"\bforecast(?:\.exe)?\\?\"? ((?:daily|ledger)[^|>&\n]*)")
    found = [re.sub(r'"\$\(.*?\)"', "X", words) for text in texts for words in said.findall(text)]
    assert len(found) >= 7
    for words in found:
        parse([word.strip('"\\').replace("$$", "$") for word in words.split()])
    (arguments,) = re.findall(r'-Argument "(.*?)"', RECIPES["task.ps1"])
    parse(shlex.split(arguments))
    parse(COMPOSE["services"]["serve"]["command"])


@posix
@pytest.mark.slow
def test_the_line_of_cron_forecasts_and_is_silent_on_stderr(shell, tmp_path):
    *settings, line = [
        it for it in RECIPES["crontab"].splitlines() if it and not it.startswith("#")
    ]
    assert all(re.fullmatch(r"[A-Z_]+=\S+", it) for it in settings)
    match = re.fullmatch(r"(\d+) (\d+) (\*) (\*) ([\d*-]+) ([^%]+)", line)
    assert match, "five fields, and a command without the % that cron makes a line break of"
    assert (int(match[1]) < 60, int(match[2]) < 24) == (True, True)
    result = shell(match[6], program=("sh",))
    assert (result.returncode, result.stderr) == (0, "")
    assert "recorded" in (tmp_path / "forecast.log").read_text(encoding="utf-8")


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd-analyze")
def test_the_units_are_what_systemd_takes(tmp_path):
    for name in ("forecast.service", "forecast.timer"):
        text = RECIPES[name].replace("%h/.local/bin/forecast", str(FORECAST))
        (tmp_path / name).write_text(text, encoding="utf-8")
        checked = subprocess.run(
            ["systemd-analyze", "--user", "verify", tmp_path / name],
            env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path), "HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")
    (when,) = re.findall(r"^OnCalendar=(.*)$", RECIPES["forecast.timer"], re.MULTILINE)
    subprocess.run(["systemd-analyze", "calendar", when], check=True, capture_output=True)


@posix
@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("git"), reason="needs git")
def test_the_workflow_commits_a_ledger_that_goes_on_from_its_last_digest(shell, tmp_path):
    workflow = yaml.safe_load(RECIPES["daily.yml"])
    (job,) = workflow["jobs"].values()
    steps = [it for it in job["steps"] if "run" in it and it["name"] != "Install"]
    repository, remote = tmp_path / "repository", tmp_path / "remote.git"
    (repository / ".gitignore").write_text(RECIPES[".gitignore"], encoding="utf-8")
    made = shell(
        "git config --global init.defaultBranch main && git init --quiet . && "
        f"git init --quiet --bare {remote} && "
        f"git remote add origin {remote} && git config push.autoSetupRemote true"
    )
    assert made.returncode == 0, made.stderr

    def evening():
        """Run the steps as the runner does; return their exit codes and what the last one printed."""
        codes = {}
        for step in steps:
            if "if" in step:
                assert step["if"] == "always() && steps.verify.outcome == 'success'"
                wanted = codes["verify"] == 0
            else:
                wanted = not any(codes.values())
            if wanted:
                folder = job["env"]["FORECAST_HOME"]
                result = shell(step["run"], TICKERS="AAA BBB", FORECAST_HOME=folder)
                codes[step.get("id", step["name"])] = result.returncode
        return list(codes.values()), result.stdout.strip()

    codes, digest = evening()
    assert codes == [0, 0, 0]
    assert re.fullmatch(r"\d+-0-[0-9a-f]{64}", digest)
    log = shell(f"git --git-dir {remote} log --format=%s main; git ls-files").stdout.splitlines()
    assert log[0] == digest
    assert {"head.txt", "home/ledger.db", "home/page/index.html", ".gitignore"} <= set(log)
    assert not [it for it in log if "prices" in it or "/." in it or "wal" in it]
    # A clone of it verifies, and goes on.
    clone = tmp_path / "clone"
    words = f'forecast ledger verify --home {clone}/home --head "$(cat {clone}/head.txt)"'
    assert shell(f"git clone --quiet {remote} {clone} && {words}").returncode == 0
    assert evening() == ([0, 0, 0], digest)
    # One that was changed does not, and nothing is forecast or committed on top of it.
    (repository / "head.txt").write_text(f"{digest[:-4]}0000")
    assert evening() == ([1], "")


def test_the_workflow_trusts_no_stranger_with_its_secrets():
    (job,) = yaml.safe_load(RECIPES["daily.yml"])["jobs"].values()
    assert "secrets." not in str(job["env"])
    for step in job["steps"]:
        assert ("secrets." in str(step)) == (step.get("name") == "Forecast")
        # By its name alone pip would bring another project.
        assert all("git+https" in it for it in re.findall("pip install .*", step.get("run", "")))
    checkout = next(it for it in job["steps"] if "checkout" in it.get("uses", ""))
    assert checkout["with"]["ref"] == "${{ github.ref }}"


def test_the_image_is_of_python_alone_and_has_no_rights():
    assert set(re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)) == {"python:3.13-slim"}
    (user,) = re.findall(r"^USER (.*)$", DOCKERFILE, re.MULTILINE)
    assert f"useradd --uid 1000 --no-create-home --home-dir /data {user}" in DOCKERFILE
    assert "train" not in re.findall(r'"\.\[(.*?)\]"', DOCKERFILE)[0]
    let_through = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    (copied, *_) = re.findall(r"^COPY (.*) \./$", DOCKERFILE, re.MULTILINE)
    for name in (*copied.split(), "forecaster"):
        assert (ROOT / name).exists()
        assert f"!{name}" in let_through


def test_both_services_share_a_volume_and_may_write_nothing_else():
    for service in COMPOSE["services"].values():
        assert service["volumes"] == ["data:/data"]
        assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])
        assert service["healthcheck"]["test"]
    assert COMPOSE["services"]["serve"]["ports"] == ["127.0.0.1:8000:8000"]


@posix
@pytest.mark.slow
def test_the_services_do_their_work_and_their_checks_see_it(shell, tmp_path):
    daily, serve = (COMPOSE["services"][name] for name in ("daily", "serve"))
    done = tmp_path / "done"
    (tmp_path / "bin" / "sleep").write_text("#!/bin/sh\nkill $PPID\n")  # a night is over
    (tmp_path / "bin" / "sleep").chmod(0o755)
    check = daily["healthcheck"]["test"][1].replace("/tmp/done", str(done))
    assert shell(check).returncode == 1
    lines = daily["command"][0].replace("$$", "$").replace("/tmp/done", str(done))
    worked = shell(lines, program=daily["entrypoint"][:1], TICKERS="AAA BBB")
    assert "recorded" in worked.stdout, worked.stderr
    assert shell(check).returncode == 0
    words = [str(FORECAST), *serve["command"]]
    words[words.index("8000")] = "0"  # a port that is free
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "FORECAST_HOME": str(tmp_path / "repository" / "home"),
        "FORECAST_TOKEN": "a-long-and-random-token",
    }
    with subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, text=True) as server:
        try:
            (port,) = re.findall(r"^http://0\.0\.0\.0:(\d+)/", server.stdout.readline())
            code = serve["healthcheck"]["test"][-1].replace("8000", port)
            checked = subprocess.run([sys.executable, "-c", code], env=environment, check=False)
            assert checked.returncode == 0
            with pytest.raises(urllib.error.HTTPError, match="401") as refused:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10)
            refused.value.close()
        finally:
            server.terminate()
