"""Which wines are five classifiers unsure of? Logits with labels, from pandas to xarray and back.

    pip install "softgrad[examples]" pandas xarray
    python examples/tables.py

Each classifier has seen another sample of half of the wines. Where each by itself is unsure, a wine lies between the
classes; where they contradict each other, it needs more data, as the mutual information of answer and classifier
shows.
"""

from __future__ import annotations

import sys

import numpy as np

try:
    import pandas as pd
    import xarray as xr
    from rich.console import Console
    from sklearn.datasets import load_wine
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
except ModuleNotFoundError as error:
    sys.exit(f'this example needs {error.name}: pip install "softgrad[examples]" pandas xarray')

import softgrad as sg

console = Console(soft_wrap=True)

MODELS = 5


def scores(wines: pd.DataFrame, labels: pd.Series[int], classes: list[str], seed: int) -> pd.DataFrame:
    """The logits of all wines by a classifier that has seen half of them, a column for each class."""
    some = wines.sample(frac=0.5, random_state=seed).index
    model = make_pipeline(StandardScaler(), LogisticRegression(C=10)).fit(wines.loc[some], labels[some])
    return pd.DataFrame(model.decision_function(wines), index=wines.index, columns=classes)


def main() -> int:
    """Print what the classifiers doubt; 0 if no part of it is negative."""
    data = load_wine(as_frame=True)
    wines, labels, classes = data.data, data.target, list(data.target_names)
    wines.index = labels.index = pd.Index([f"wine {i}" for i in range(len(wines))], name="wine")
    tables = {seed: scores(wines, labels, classes, seed) for seed in range(MODELS)}

    # A DataFrame and a Series meet by their index, and what comes back is a Series: pandas goes on from there.
    loss = sg.cross_entropy(tables[0], labels)
    by_class = loss.groupby(labels.map(dict(enumerate(classes)))).agg(["mean", "max"]).round(3)
    console.print(
        "cross-entropy of the first classifier (nats):", by_class.rename_axis(None), sep="\n", highlight=False
    )

    # In an array of three dimensions `axis` is a name, and what comes back has the names that are left.
    stack = [xr.DataArray(table, dims=("wine", "class")) for table in tables.values()]
    logits = xr.concat(stack, pd.Index(tables, name="model"))
    p = sg.softmax(logits, axis="class").mean("model")
    total = sg.entropy(np.log(p), axis="class")
    each = sg.entropy(logits, axis="class").mean("model")
    doubt = xr.Dataset({"total": total, "of each": each, "between them": total - each}).to_dataframe()
    doubt["answer"] = p.idxmax("class").to_series()
    console.print("\nthe doubt of all classifiers together, and its parts (nats):", highlight=False)
    console.print(doubt.nlargest(6, "total").rename_axis(None).round(3), highlight=False)

    return 0 if bool((doubt["between them"] >= -1e-12).all()) else 1


if __name__ == "__main__":
    sys.exit(main())
