"""Median times of calls that take turns, so that whatever else the machine does falls on all of them alike."""

from __future__ import annotations

import gc
import math
import random
import time
from collections.abc import Callable
from statistics import quantiles
from typing import Any, NamedTuple

SAMPLE = 500e-6
"""Seconds that a sample lasts at least: shorter calls are repeated within it."""
MOST_ROUNDS = 41


class Timed(NamedTuple):
    """A call, and what has to happen, untimed, before its turn."""

    call: Callable[[], Any]
    before: Callable[[], None] = lambda: None


class Time(NamedTuple):
    """Seconds per call, or whatever they were scaled to: the median over the rounds and the quartiles."""

    median: float
    low: float
    high: float
    rounds: int

    def scaled(self, factor: float) -> Time:
        """The same in other units."""
        return Time(self.median * factor, self.low * factor, self.high * factor, self.rounds)


def interleaved(calls: dict[str, Timed], seconds: float, least_rounds: int = 3) -> dict[str, Time]:
    """The times of `calls`, in rounds of one sample of each in random order, for about `seconds` altogether."""
    repeats = {name: _repeats(timed) for name, timed in calls.items()}
    samples: dict[str, list[float]] = {name: [] for name in calls}
    order = list(calls)
    shuffle = random.Random(0).shuffle
    collecting = gc.isenabled()
    gc.disable()
    try:
        start = time.perf_counter()
        for done in range(MOST_ROUNDS):
            if done >= least_rounds and time.perf_counter() - start > seconds:
                break
            shuffle(order)
            for name in order:
                samples[name].append(_sample(calls[name], repeats[name]))
    finally:
        if collecting:
            gc.enable()
    return {name: _summary(seen) for name, seen in samples.items()}


def _repeats(timed: Timed) -> int:
    seconds = _sample(timed, 1)
    if seconds < 1:  # may have been compiling
        seconds = _sample(timed, 1)
    return max(1, math.ceil(SAMPLE / seconds))


def _sample(timed: Timed, repeats: int) -> float:
    call = timed.call
    timed.before()
    if repeats > 1:
        call()  # into the cache, after another library's turn
    start = time.perf_counter()
    for _ in range(repeats):
        call()
    return (time.perf_counter() - start) / repeats


def _summary(samples: list[float]) -> Time:
    low, median, high = quantiles(samples, n=4, method="inclusive")
    return Time(median, low, high, len(samples))
