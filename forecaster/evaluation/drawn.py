"""What figures and pages show of forecasts, gathered in one pass over their parts."""

from collections.abc import Sequence

import pandas as pd

from forecaster.distributions.forecasts import probability_of_rise
from forecaster.distributions.parts import Parts
from forecaster.errors import HistoryError
from forecaster.evaluation import calibration, metrics, stability
from forecaster.evaluation.columns import Columns
from forecaster.evaluation.daily import DailyLosses, together
from forecaster.evaluation.significance import compare
from forecaster.evaluation.skill import running
from forecaster.evaluation.survey import Survey

SURPRISES = 300
"""The least expected days of the first model that are shown."""


class Drawn:
    """The calibration and the mean CRPS of each day of forecasts of one step.

    Parameters
    ----------
    parts : the forecasts; those whose outcome is not known count for nothing.
    model : whose surprises and sums of CRPS are wanted.
    """

    def __init__(self, parts: Parts, model: str) -> None:
        self.survey = Survey.of(parts)
        self.models = self.survey.models
        self.daily = DailyLosses(self.models, ["crps"], ([model, it] for it in self.models))
        self.columns = Columns(self.models, parts.folder)
        """log_return and rise, the probability of one; and is_apart"""
        self._calibration = calibration.Shares()
        self._thirds = calibration.thirds_tests()
        self._surprises: list[pd.DataFrame] = []
        self._crps: list[pd.Series] = []
        self._model = model
        days: list[pd.Timestamp] = []
        known_days: list[pd.Timestamp] = []
        self.tickers = 0
        for frame in parts:
            known = metrics.known(frame)
            if len(known):
                self._add(known)
                known_days += [known["date"].min(), known["date"].max()]
            if len(frame):
                days += [frame["date"].min(), frame["date"].max()]
                self.tickers += frame["ticker"].nunique()
        self.days, self.known_days = ((min(its), max(its)) for its in (days, known_days))
        """The first and the last date forecast, and of those whose outcome is known."""

    def _add(self, frame: pd.DataFrame) -> None:
        losses = metrics.crps_of(frame)
        self.daily.add(losses)
        mine = losses[losses["model"] == self._model]
        self._crps.append(mine.groupby("ticker", sort=False)["crps"].sum())
        is_apart = frame["cutoff"].isin(self.survey.apart).to_numpy()
        keys = frame[["ticker", "model", "cutoff", "date", "log_return"]]
        self.columns.add(keys.assign(rise=probability_of_rise(frame), is_apart=is_apart))
        apart = frame if is_apart.all() else frame[is_apart]
        if apart.empty:
            return
        self._calibration.add(apart)
        shared = metrics.comparable(frame, len(self.models))
        if len(shared):
            self._thirds.add(shared)
        own = apart[apart["model"] == self._model]
        if len(own):
            self._surprises.append(calibration.surprises(own, SURPRISES))

    @property
    def histogram(self) -> pd.DataFrame:
        """:func:`.calibration.histogram`"""
        return self._calibration.histogram()

    @property
    def reliability(self) -> pd.DataFrame:
        """:func:`.calibration.reliability`"""
        return self._calibration.reliability()

    @property
    def thirds(self) -> pd.DataFrame:
        """:func:`.calibration.coverage_by_thirds` of the 80% interval"""
        if not self._thirds.has_rows:
            raise HistoryError(
                "expected forecasts of the same sessions by all models, came none; backtest them over "
                "the same days"
            )
        return calibration.pooled_at(self._thirds.table(), 0.8)

    @property
    def forecasts(self) -> int:
        """Forecasts of the model whose outcome is known, and that do not overlap."""
        return self._calibration.forecasts(self._model)

    @property
    def surprises(self) -> pd.DataFrame:
        """:func:`.calibration.surprises` of the model"""
        rows = pd.concat(self._surprises).nlargest(SURPRISES, "days")
        return rows.assign(expected=self.forecasts / rows["days"])

    @property
    def crps_by_ticker(self) -> pd.Series:
        """The sum of the CRPS of the model by ticker."""
        sums: pd.Series = pd.concat(self._crps)
        return sums

    def running(self, against: Sequence[str]) -> pd.DataFrame:
        """Return :func:`.skill.running` of the model against others."""
        return pd.concat(
            [running(self.pair(name), self._model, [name]) for name in against], ignore_index=True
        )

    def years(self, against: Sequence[str]) -> pd.DataFrame:
        """Return :func:`.stability.by_year` of the model against others."""
        tables = [stability.by_year(self.pair(name), against=[name]) for name in against]
        return pd.concat(tables, ignore_index=True)

    def tests(self) -> pd.DataFrame:
        """Return :func:`.significance.compare` of the model with every other."""
        tables = [
            compare(self.pair(name), models=[self._model], against=[name])
            for name in self.models
            if name != self._model
        ]
        return together(tables, compare(self.daily.losses([self._model]), against=[]))

    def pair(self, other: str) -> pd.DataFrame:
        """Return the mean losses of each day of the model and another."""
        return self.daily.losses([self._model, other])

    def rows(self, names: Sequence[str], models: Sequence[str] | None = None) -> pd.DataFrame:
        """Return columns of the forecasts that do not overlap."""
        rows = self.columns.whole([*names, "is_apart"], models)
        return rows if rows["is_apart"].all() else rows[rows["is_apart"]]
