"""`softgrad evaluate`: the numbers of softgrad.evaluate as a table or JSON, a picture, one line for a mistake."""

import json

import numpy as np
import pytest

import softgrad as sg
from softgrad import cli


@pytest.fixture(autouse=True)
def files(tmp_path, monkeypatch):
    """logits.npy and labels.csv in an empty folder, and what is in them."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(3000, 4))
    labels = (logits + rng.gumbel(size=logits.shape)).argmax(axis=1)
    np.save("logits.npy", 2 * logits)
    (tmp_path / "labels.csv").write_text("label\n" + "\n".join(map(str, labels)) + "\n", encoding="utf-8")
    return 2 * logits, labels


@pytest.fixture
def softgrad(capsys):
    """The command within this process: its exit code, stdout and stderr."""

    def run(*arguments):
        code = cli.run([str(argument) for argument in arguments])
        return code, *capsys.readouterr()

    return run


def test_it_prints_the_table(softgrad, files):
    code, out, err = softgrad("evaluate", "logits.npy", "labels.csv")
    assert (code, err) == (0, "")
    assert out == f"{sg.evaluate(*files)}\n"


def test_shards_are_one_file(softgrad, files):
    logits, labels = files
    for name, part in zip(("a.npy", "b.npy"), np.split(logits, [1000]), strict=True):
        np.save(name, part)
    code, out, err = softgrad("evaluate", "a.npy", "b.npy", "labels.csv")
    assert (code, err) == (0, "")
    assert out == f"{sg.evaluate(logits, labels)}\n"


def test_arrays_of_one_file_are_found_by_their_names(softgrad, files):
    np.savez("both.npz", logits=files[0], labels=files[1])
    assert softgrad("evaluate", "both.npz", "both.npz") == (0, f"{sg.evaluate(*files)}\n", "")


def test_json_has_the_attributes(softgrad, files):
    np.save("weights.npy", np.arange(3000.0))
    code, out, _ = softgrad(
        "evaluate", "logits.npy", "labels.csv", "--json", "--per-class", "--top-k", "1,2", "--bins", "5",
        "--n-bytes", "9000", "--ignore-index", "3", "--sample-weight", "weights.npy", "--temperature", "2",
    )  # fmt: skip
    assert code == 0
    expected = sg.evaluate(
        *files, per_class=True, top_k=(1, 2), bins=5, n_bytes=9000, ignore_index=3, sample_weight=np.arange(3000.0),
        temperature=2,
    ).to_dict()  # fmt: skip
    found = json.loads(out)
    assert found.keys() == expected.keys()
    assert found["nll"] == pytest.approx(expected["nll"], rel=1e-14)
    assert found["top_k_accuracy"] == expected["top_k_accuracy"]
    assert found["bins"]["count"] == expected["bins"]["count"]
    assert None in found["bins"]["accuracy"]  # of an empty bin


def test_fit_temperature_compares_before_and_after(softgrad, files):
    code, out, err = softgrad("evaluate", "logits.npy", "labels.csv", "--fit-temperature", "--plot", "r.png")
    fit = sg.fit_temperature(*files)
    assert code == 0
    assert out.splitlines()[0].split() == ["T", "=", "1", "T", "=", f"{fit.temperature:.5g}"]
    assert err == "wrote r.png\n"
    with open("r.png", "rb") as file:
        assert len(file.read()) > 10_000
    _, out, _ = softgrad("evaluate", "logits.npy", "labels.csv", "--fit-temperature", "--json")
    found = json.loads(out)["fit_temperature"]
    assert found["temperature"] == pytest.approx(fit.temperature, rel=1e-12)
    assert found["evaluation"]["nll"] == pytest.approx(fit.loss, rel=1e-12)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("logits.npy", "none.npy"), "none.npy: No such file or directory"),
        (
            ("logits.npy", "logits.npy"),
            "logits.npy: labels must have shape (3000,), as logits.npy has it; got (3000, 4)",
        ),
        (("logits.npy", "bad.csv"), "bad.csv: labels must lie in [0, 4); labels[2017] is 4"),
        (("logits.npy", "half.csv"), "half.csv: labels must be integers; labels[2017] is 0.5"),
        (("logits.npy", "text.csv"), "text.csv"),
        (("logits.npy", "labels.csv", "--top-k", "x"), "must be an integer; got 'x'"),
        (("logits.npy", "labels.csv", "--bins", "0"), "bins must be an integer of at least 1; got 0"),
        (("logits.npy", "labels.csv", "--plot", "r.jpg"), "r.jpg must end in .png, .pdf or .svg"),
        (("nan.npy", "labels.csv"), "nan.npy, slice [7]: the logits must not hold NaN or +inf, nor −inf alone"),
        (("logits.npy", "nan.npy", "twice.npy"), "nan.npy, slice [7]: the logits must not hold"),
        (("others.npz", "labels.csv"), "others.npz: --tensor must name one of 'a', 'b'"),
        (("logits.npy", "others.npz"), "others.npz: no array is called 'labels'; there is 'a', 'b'"),
        (("logits.npy", "none.npy", "twice.npy"), "none.npy: No such file or directory"),
        (
            ("logits.npy", "logits.npy", "labels.csv"),
            "labels.csv: labels must have shape (6000,), as logits.npy and its",
        ),
        (("sure.npy", "labels.csv", "--fit-temperature"), "the label of every row has the largest logit"),
        (("logits.npy", "labels.csv", "--fit-temperature", "--temperature", "2"), "leave --temperature out"),
    ],
)
def test_a_mistake_is_one_line(softgrad, files, arguments, line):
    logits, labels = files
    wrong = labels.astype(object)
    for name, value in (("bad.csv", 4), ("half.csv", 0.5), ("text.csv", "cat")):
        wrong[2017] = value
        with open(name, "w", encoding="utf-8") as file:
            file.write("\n".join(map(str, wrong)))
    logits[7, 1] = np.nan
    np.save("nan.npy", logits)
    np.savez("others.npz", a=logits, b=labels)
    np.save("twice.npy", np.tile(labels, 2))
    np.save("sure.npy", 9.0 * np.eye(4)[labels])
    code, out, err = softgrad("evaluate", *arguments)
    assert (code, out) == (2, "")
    assert err.startswith("softgrad: ")
    assert line in err
    assert err.count("\n") == 1


def test_help_fits_80_columns(softgrad):
    code, out, _ = softgrad("evaluate", "--help")
    assert code == 0
    assert "--fit-temperature" in out
    for text in out.splitlines():
        assert len(text) <= 80, text
