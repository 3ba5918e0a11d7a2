"""A season: trees sell in December; forecast from a state alone, or from a window of so many months.

No network is told the month. Each shop has its own size, and grows or shrinks by its own rate: last year's December
says how much this one will sell, and two Decembers say it better.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor, nn

from model_export.lab import pictures, series_folder
from model_export.lab.bench import Bench
from model_export.lab.claims import Claim
from model_export.lab.experiment import Experiment, Finding, Picture, Served
from model_export.lab.series import SeriesConfig, SeriesNetwork, WindowNetwork, fit_series
from service.model.checked import Between, Checked

YEAR = 12
DECEMBER = 11
WINDOWS = (6, 12, 24)  # half a year, a year, two years
MONTHS = 96  # of a series: eight years
SETTLED = 36  # where measuring begins: every network has seen then what it can use
_SHOPS = 32  # a batch
_TESTS = 400
_AHEAD = 24
_HIDDEN = 64  # units of a window network
_GROWTH = (0.8, 1.25)  # a year
_NOISE = 0.03  # of a December, as a share of it
_QUIET = 0.04  # what sells in any other month, as a share of a December
_MEAN, _SCALE = 25.0, 50.0  # of trees a month, about; what the networks see is near 0 and 1

Series = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(Checked):
    """units: of the LSTM.  steps: of training each network."""

    units: Annotated[int, Between(2, 128)] = 24
    steps: Annotated[int, Between(1, 20_000)] = 6_000


SHORT = Claim(
    "short_window_blind",
    "A window of half a year does not see December coming.",
    "its mean error in December over what is sold then",
    0.5,
)
EQUAL = Claim(
    "year_window_sees",
    "A window of one year sees it: last December stands at its far end.",
    "its mean error in December over what is sold then",
    0.2,
    sense="at most",
)
LONGER = Claim(
    "longer_window_better",
    "A window of two years sees better: it knows by how much the shop grows.",
    "its mean error in December over that of the window of one year",
    0.8,
    sense="at most",
)
STATE = Claim(
    "state_alone",
    "The LSTM, which is shown one month at a time, sees as well as the window of two years.",
    "its mean error in December over that of the window of two years",
    1.05,
    sense="at most",
)
CALENDAR = Claim(
    "calendar",
    "It keeps a calendar that nobody gave it: the month can be read from its state.",
    "share of months told right by a linear reading of c, on shops that it was not fitted to",
    0.9,
    digits=4,
    percent=True,
)
AHEAD = Claim(
    "two_years_ahead",
    "Fed with its own forecasts for two years, it does better than repeating the last year.",
    "its mean error in those Decembers over that of the repetition",
    0.9,
    sense="at most",
)


def draw_shops(generator: np.random.Generator, shops: int, months: int = MONTHS) -> tuple[Series, NDArray[np.int64]]:
    """Trees sold, float32 [months, shops], and which month it was, int64 [months, shops]: 0 January, 11 December.

    Every series begins in a month of its own, so that its length tells nothing.
    """
    month = (np.arange(months)[:, None] + generator.integers(0, YEAR, shops)) % YEAR
    size = generator.uniform(100, 300, shops)
    growth = generator.uniform(*_GROWTH, shops)
    years = (np.arange(months)[:, None] - months / 2) / YEAR
    full = size * growth**years * (1 + _NOISE * generator.standard_normal((months, shops)))
    quiet = _QUIET * size * generator.uniform(0.5, 1.5, (months, shops))
    return np.where(month == DECEMBER, full, quiet).astype(np.float32), month


def december_error(expected: Series, sold: Series, month: NDArray[np.int64]) -> float:
    """Mean |expected - sold| in Decembers, over what is sold then; all [time, shops]."""
    december = month == DECEMBER
    return float(np.abs(expected - sold)[december].mean() / sold[december].mean())


def _drawn(generator: np.random.Generator, _step: int) -> Tensor:
    return torch.from_numpy(draw_shops(generator, _SHOPS)[0])


def train_state(settings: Settings, bench: Bench) -> SeriesNetwork:
    """The LSTM, which reads a month at a time."""
    torch.manual_seed(bench.seed)
    network = SeriesNetwork(SeriesConfig(units=settings.units, mean=_MEAN, scale=_SCALE))
    draw = partial(_drawn, np.random.default_rng(bench.seed))

    def loss_at(step: int) -> Tensor:
        values = draw(step)[..., None]
        expected, _ = network(values[:-1], network.initial(_SHOPS))
        return nn.functional.mse_loss(expected / _SCALE, values[1:] / _SCALE)

    fit_series(network, loss_at, settings.steps, bench, "state alone")
    return network


def train_window(window: int, settings: Settings, bench: Bench) -> WindowNetwork:
    """A feed-forward net that sees so many months at once."""
    torch.manual_seed(bench.seed)
    network = WindowNetwork(window, _HIDDEN, _MEAN, _SCALE)
    draw = partial(_drawn, np.random.default_rng(bench.seed))

    def loss_at(step: int) -> Tensor:
        values = draw(step)
        return nn.functional.mse_loss(network(values[:-1]) / _SCALE, values[window:] / _SCALE)

    fit_series(network, loss_at, settings.steps, bench, f"window of {window}")
    return network


def measure_windows(settings: Settings, bench: Bench) -> dict[str, Any]:
    """Of each window network: its error in December, and its forecasts for the first shop."""
    each = settings.as_document()
    return {
        str(window): bench.part(each, f"window of {window}", partial(_measure_window, window, settings, bench))
        for window in WINDOWS
    }


def _measure_window(window: int, settings: Settings, bench: Bench) -> dict[str, Any]:
    sold, month = unseen_shops()
    network = train_window(window, settings, bench)
    with torch.no_grad():
        expected = network(torch.from_numpy(sold[SETTLED - window : -1])).numpy()
    error = december_error(expected, sold[SETTLED:], month[SETTLED:])
    return {"error": error, "first_shop": [round(float(one), 2) for one in expected[:, 0]]}


def unseen_shops() -> tuple[Series, NDArray[np.int64]]:
    """Shops that nothing was trained on, the same every time."""
    return draw_shops(np.random.default_rng(7), _TESTS)


def run(bench: Bench, settings: Settings) -> Finding:
    """Answer the claims from networks that were kept, or new ones."""
    config = SeriesConfig(units=settings.units, mean=_MEAN, scale=_SCALE)
    network = series_folder.kept(
        bench, "season", config, lambda: train_state(settings, bench), what="trees sold", step="month"
    )
    windows = bench.measured(settings.as_document(), lambda: measure_windows(settings, bench))
    sold, month = unseen_shops()
    expected, signals = network.watch(torch.from_numpy(sold[:-1, :, None]))
    from_state = expected.numpy()[..., 0]
    state = december_error(from_state[SETTLED - 1 :], sold[SETTLED:], month[SETTLED:])
    short, year, two_years = (windows[str(window)]["error"] for window in WINDOWS)
    memory = signals[-1]["c"].numpy()
    repeated, ahead = look_ahead(network, sold, month)
    verdicts = (
        SHORT.verdict(short, "June and November look alike to it"),
        EQUAL.verdict(year),
        LONGER.verdict(two_years / year, f"{two_years:.1%} of what is sold, against {year:.1%}"),
        STATE.verdict(state / two_years, f"{state:.1%} of what is sold, against {two_years:.1%}"),
        CALENDAR.verdict(*_calendar(memory, month[:-1])),
        AHEAD.verdict(ahead / repeated, f"{ahead:.1%} of what is sold, against {repeated:.1%}"),
    )
    shop = _Shop(sold[:, 0], from_state[:, 0], {w: np.array(windows[str(w)]["first_shop"]) for w in WINDOWS})
    drawn = (
        Picture("forecasts", _draw_forecasts(shop), _FORECASTS_CAPTION),
        Picture("state", _draw_state(sold[:-1, 0], memory[:, 0], month[:-1, 0]), _STATE_CAPTION),
        Picture("ahead", _draw_ahead(network, sold[:, 1]), _AHEAD_CAPTION),
    )
    errors = {**{f"window of {w}": windows[str(w)]["error"] for w in WINDOWS}, "state alone": state}
    return Finding(verdicts, drawn, _STORY, {"december_error": errors, "two_years_ahead": ahead, "repeated": repeated})


def look_ahead(network: SeriesNetwork, sold: Series, month: NDArray[np.int64]) -> tuple[float, float]:
    """The error over the last two years of the shops, in December: of repeating the year before, and of the network
    that reads its own forecasts."""
    known, future = sold[:-_AHEAD], sold[-_AHEAD:]
    forecast = network.forecast(torch.from_numpy(known[..., None]), _AHEAD).numpy()[..., 0]
    repeated = np.concatenate([known[-YEAR:]] * (_AHEAD // YEAR))
    told = month[-_AHEAD:]
    return december_error(repeated, future, told), december_error(forecast, future, told)


def _calendar(memory: Series, month: NDArray[np.int64]) -> tuple[float, str]:
    """The share of months that a linear reading of c tells, fitted to half of the shops; and a clause."""
    half = memory.shape[1] // 2
    flat = memory[SETTLED:].reshape(-1, memory.shape[-1])
    seen = np.concatenate([flat, np.ones((len(flat), 1))], axis=1).reshape(len(memory) - SETTLED, -1, flat.shape[1] + 1)
    fitted = seen[:, :half].reshape(-1, seen.shape[2])
    wanted = np.eye(YEAR)[month[SETTLED:]]
    weights, *_ = np.linalg.lstsq(fitted, wanted[:, :half].reshape(-1, YEAR), rcond=None)
    told = (seen[:, half:] @ weights).argmax(axis=-1)
    right = told == month[SETTLED:, half:]
    worst = min(range(YEAR), key=lambda one: float(right[month[SETTLED:, half:] == one].mean()))
    return float(right.mean()), f"the hardest to tell is {_MONTHS[worst]}"


@dataclass(frozen=True, slots=True)
class _Shop:
    """What one shop sold, and what was expected of it: [months], from the state one shorter, from SETTLED on else."""

    sold: Series
    from_state: Series
    from_windows: Mapping[int, NDArray[Any]]


_MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
_STORY = (
    "A nursery sells its trees in December. A network is shown what was sold, month after month, and is asked for the "
    "next one. Nobody tells it the month, and every shop's series begins in another.",
    "A network without a memory is handed the last so many months. With half a year it has nothing to go by: eleven "
    "quiet months look alike. With a year, last December stands at the far end of its window. With two years, it "
    "sees two Decembers and how the shop grows.",
    "The LSTM is handed one month at a time. Whatever it knows of the year is in its state: where in the year it is, "
    "how large the shop, how it grows, averaged over all Decembers that it has seen.",
)
_FORECASTS_CAPTION = (
    "What one shop sold, grey, and what each network expected a month before: windows of half a year, a year and two "
    "years, and the state."
)
_STATE_CAPTION = (
    "What the LSTM remembers (c) while the same shop's months go by; the dashes are Decembers. Some units turn "
    "once a year."
)
_AHEAD_CAPTION = "Two years ahead: from the dashed line on, the network reads its own forecasts."


def _draw_forecasts(shop: _Shop) -> Figure:
    figure, axes = pictures.new_figure(len(WINDOWS) + 1, 1, width=10, height=8)
    places = np.arange(SETTLED, len(shop.sold))
    drawn = [(f"a window of {window} months", shop.from_windows[window]) for window in WINDOWS]
    drawn.append(("the state alone", shop.from_state[SETTLED - 1 :]))
    for place, (name, expected) in zip(axes, drawn, strict=True):
        place.bar(places, shop.sold[SETTLED:], color=pictures.GREY, alpha=0.5, label="sold")
        place.plot(places, expected, color=pictures.BLUE, marker=".", label="expected")
        place.set(title=name, ylabel="trees")
        place.set_ylim(bottom=min(0.0, float(expected.min()) - 5))
    axes[0].legend(loc="upper right")
    axes[-1].set_xlabel("month of the series")
    return figure


def _draw_state(sold: Series, memory: Series, month: NDArray[np.int64]) -> Figure:
    figure, axes = pictures.new_figure(2, 1, width=10, height=6)
    axes[0].bar(np.arange(len(sold)), sold, color=pictures.GREY)
    axes[0].set(title="sold", ylabel="trees")
    turns = np.abs(np.fft.rfft(memory - memory.mean(axis=0), axis=0))
    yearly = np.argsort(-turns[len(sold) // YEAR] / (turns.sum(axis=0) + 1e-9))[:4]
    for unit in yearly:
        axes[1].plot(memory[:, unit], label=f"unit {unit}")
    for december in np.flatnonzero(month == DECEMBER):
        axes[1].axvline(float(december), color=pictures.GREY, lw=0.8, ls="--")
    axes[1].set(title="c of the four units that turn most with the year", xlabel="month of the series")
    axes[1].legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    for place in axes:
        place.set_xlim(-1, len(sold))
    return figure


def _draw_ahead(network: SeriesNetwork, sold: Series) -> Figure:
    figure, axes = pictures.new_figure(width=10, height=3.6)
    known = len(sold) - _AHEAD
    forecast = network.forecast(torch.from_numpy(sold[:known, None, None]), _AHEAD).numpy()[:, 0, 0]
    axes[0].bar(np.arange(len(sold)), sold, color=pictures.GREY, alpha=0.5, label="sold")
    axes[0].plot(np.arange(known, len(sold)), forecast, color=pictures.BLUE, marker=".", label="forecast")
    repeated = np.concatenate([sold[known - YEAR : known]] * (_AHEAD // YEAR))
    axes[0].plot(np.arange(known, len(sold)), repeated, color=pictures.ORANGE, ls=":", label="the last year again")
    axes[0].axvline(known - 0.5, color=pictures.GREY, ls="--")
    axes[0].set(title="two years ahead", ylabel="trees", xlabel="month of the series")
    axes[0].legend(loc="upper left")
    return figure


EXPERIMENT = Experiment(
    name="season",
    title="A season: trees sell in December",
    question="Can a network know the time of the year by its state alone, and how long must a window be?",
    source="Winters (1960) for level, growth and season; Gers, Eck & Schmidhuber (2001) for windows against a state.",
    settings=Settings(),
    claims=(SHORT, EQUAL, LONGER, STATE, CALENDAR, AHEAD),
    run=run,
    serves=(
        Served(
            "season",
            (
                *(150.0, 6.0, 5.0, 7.0, 6.0, 5.0, 6.0, 7.0, 5.0, 6.0, 6.0, 7.0),
                *(180.0, 7.0, 6.0, 8.0, 7.0, 6.0, 7.0, 8.0, 6.0, 7.0, 7.0, 8.0),
                *(216.0, 8.0, 7.0, 9.0, 8.0, 7.0, 8.0, 9.0, 7.0, 8.0, 8.0, 9.0),
                *(259.0, 10.0),
            ),
            "of the twelve months to come the eleventh is a December, with more trees sold than ever",
        ),
    ),
)
