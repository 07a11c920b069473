"""The command as people meet it: what it prints, its line for every mistake, and what an interruption leaves."""

import os
import re
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import numpy as np
import pytest

import softgrad as sg
from softgrad import cli

COMMAND = [sys.executable, "-m", "softgrad.cli"]


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    """An empty folder to be in, and a terminal's width that is the same everywhere."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    for name in ("FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def softgrad(capsys):
    """The command within this process: its exit code, stdout and stderr."""

    def run(*arguments):
        code = cli.run([str(argument) for argument in arguments])
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def logits():
    """logits.npy, and what is in it."""
    x = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
    np.save("logits.npy", x)
    return x


def run_command(*arguments, **options):
    return subprocess.run(
        [*COMMAND, *arguments], check=False, capture_output=True, text=True, encoding="utf-8", timeout=60, **options
    )


def write_zeros(name, shape, dtype="<f8"):
    """A .npy file of zeros that takes no space on the disk."""
    with open(name, "wb") as file:
        header = {"descr": dtype, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        file.truncate(file.tell() + int(np.prod(shape)) * np.dtype(dtype).itemsize)


SHOWN = """\
   logit  probability
0      1    0.0900306  ███▋
1      2     0.244728  █████████▊
2      3     0.665241  ██████████████████████████▋
Entropy: 0.832396 nats = 1.20089 bits

Jacobian: d probability (row) / d logit (column)
        0       1       2
0  0.0819 -0.0220 -0.0599
1 -0.0220   0.185  -0.163
2 -0.0599  -0.163   0.223
"""


def stripped(text):
    return "".join(line.rstrip() + "\n" for line in text.splitlines())


def test_show_prints_plain_text_into_a_pipe():
    done = run_command("show", "1", "2", "3", "--jacobian", env={**os.environ, "PYTHONIOENCODING": "utf-8"})
    assert (done.returncode, done.stderr) == (0, "")
    assert stripped(done.stdout) == SHOWN


def test_show_keeps_to_ascii_where_the_output_does():
    done = run_command("show", "0", "0", env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.isascii()
    assert done.stdout.count("#" * 20) == 2


def test_show_colours_the_jacobian_by_sign(softgrad, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLORTERM", "truecolor")
    monkeypatch.setenv("TERM", "xterm-256color")
    _, out, _ = softgrad("show", "0", "0", "--jacobian")
    red, blue = "48;2;178;24;43m", "48;2;33;102;172m"
    assert f"{red}  0.250" in out
    assert f"{blue} -0.250" in out


@pytest.mark.parametrize("texts", [["-1", "2"], ["-inf", "0"], ["1e3", "-1e-3"], ["-.5", "-0.5"], ["7"]])
def test_show_takes_every_way_to_write_a_number(softgrad, texts):
    code, out, err = softgrad("show", *texts)
    assert (code, err) == (0, "")
    rows = [line.split() for line in out.splitlines()[1:-1]]
    assert [float(row[1]) for row in rows] == [float(text) for text in texts]
    expected = sg.softmax([float(text) for text in texts])
    np.testing.assert_allclose([float(row[2]) for row in rows], expected, rtol=1e-5)


def test_show_divides_by_the_temperature(softgrad):
    assert "0.731059" in softgrad("show", "0", "2", "--temperature", "2")[1]
    assert "Entropy: 0 nats = 0 bits" in softgrad("show", "0", "2", "--temperature", "0")[1]


@pytest.mark.parametrize(
    ("texts", "entropy"), [(["0"] * 8, "2.07944 nats = 3 bits"), (["nan", "1"], "nan nats = nan bits")]
)
def test_show_gives_the_entropy_in_both_units(softgrad, texts, entropy):
    assert f"Entropy: {entropy}\n" in softgrad("show", *texts)[1]


def test_show_keeps_small_probabilities_and_their_derivatives(softgrad):
    _, out, _ = softgrad("show", "20", "0", "0", "--jacobian")
    assert "2.06115e-09" in out
    assert "0  4.12e-09 -2.06e-09 -2.06e-09" in out


def test_show_cuts_a_wide_jacobian_and_says_so(softgrad):
    code, out, _ = softgrad("show", *range(64), "--jacobian")
    assert code == 0
    assert "There is room for the 7 largest of 64 probabilities" in out
    assert max(map(len, out.splitlines())) <= 80
    *_, last = out.splitlines()
    shown = [float(entry) for entry in last.split()[1:]]
    np.testing.assert_allclose(shown, sg.calculate_gradient(range(64))[-1, -7:], rtol=5e-3)


@pytest.mark.parametrize("n", [1, 3, 40])
def test_show_draws_a_figure(softgrad, n):
    from matplotlib.image import imread  # noqa: PLC0415  slow to load

    assert softgrad("show", *range(n), "--plot", "figure.png")[::2] == (0, "wrote figure.png\n")
    picture = imread("figure.png")
    height, width = picture.shape[:2]
    assert width > height > 400
    red, green, blue, _ = np.moveaxis(picture[:, int(0.55 * width) : int(0.905 * width)], -1, 0)  # the heatmap
    # The Jacobian of a single logit is 0; otherwise its diagonal is positive and the rest negative.
    assert (red > green + 0.3).any() == (n > 1)
    assert (blue > red + 0.3).any() == (n > 1)


@pytest.mark.parametrize("function", ["softmax", "log-softmax", "logsumexp"])
@pytest.mark.parametrize("axis", [0, 1])
def test_apply_gives_the_bits_of_the_function(softgrad, logits, function, axis):
    code, out, err = softgrad("apply", function, "logits.npy", "out.npy", "--axis", axis)
    assert (code, out) == (0, "")
    expected = getattr(sg, function.replace("-", "_"))(logits, axis=axis)
    assert np.load("out.npy").tobytes() == expected.tobytes()
    assert err.startswith(f"wrote out.npy: {' x '.join(map(str, expected.shape))} float32 in ")


def test_apply_takes_its_options(softgrad, logits):
    options = ["--axis", "-2", "--temperature", "0.5", "--dtype", "float64"]
    assert softgrad("apply", "softmax", "logits.npy", "out.npy", *options)[0] == 0
    expected = sg.softmax(logits, axis=0, temperature=0.5, dtype=np.float64)
    np.testing.assert_array_equal(np.load("out.npy"), expected, strict=True)


def test_apply_through_text(softgrad):
    with open("in.csv", "w") as file:
        file.write("a,b\n0,0\n-1000,1000\n")
    assert softgrad("apply", "softmax", "in.csv", "out.csv")[0] == 0
    with open("out.csv") as file:
        assert file.read() == "a,b\n0.5,0.5\n0.0,1.0\n"


def test_apply_replaces_its_own_input_by_force(softgrad, logits):
    assert softgrad("apply", "softmax", "logits.npy", "logits.npy", "--force")[0] == 0
    np.testing.assert_array_equal(np.load("logits.npy"), sg.softmax(logits))


def test_sample_draws_what_the_function_draws(softgrad, logits):
    assert softgrad("sample", "logits.npy", "drawn.npy", "--seed", 3)[0] == 0
    np.testing.assert_array_equal(np.load("drawn.npy"), sg.sample(logits, rng=3))
    filters = ("--temperature", 0.7, "--top-k", 3, "--top-p", 0.8, "--min-p", 0.1)
    assert softgrad("sample", "logits.npy", "several.csv", "--seed", 3, "--size", 5, *filters)[0] == 0
    where = sg.top_p_mask(logits, 0.8, temperature=0.7, where=sg.top_k_mask(logits, 3))
    where = sg.min_p_mask(logits, 0.1, temperature=0.7, where=where)
    expected = sg.sample(logits, 5, rng=3, temperature=0.7, where=where)
    np.testing.assert_array_equal(np.loadtxt("several.csv", delimiter=",", ndmin=2), expected)
    assert softgrad("sample", "logits.npy", "every.npy", "--seed", 1, "--size", 4, "--without-replacement")[0] == 0
    np.testing.assert_array_equal(np.load("every.npy"), sg.sample(logits, 4, rng=1, replace=False))
    code, _, said = softgrad("sample", "logits.npy", "drawn.npy", "--force")
    assert code == 0
    assert "wrote drawn.npy: 50 int64" in said


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ("show", "an argument is missing; expected softgrad show LOGIT..."),
        ("show 1 two", "a logit must be a number; got 'two'"),
        ("show 1e400", "the number is too large for float64; got '1e400'"),
        ("show 1 --temperature 1e400", "the number is too large for float64; got '1e400'"),
        ("show 1 --jacobain", "no such option '--jacobain'"),
        ("show 1 --temperature=-1", "temperature must be at least 0; got -1.0"),
        ("show 1 2 --temperature 0 --jacobian", "temperature must be positive: at 0 softmax is a step"),
        ("show 1 2 --plot figure.xyz", "Format 'xyz' is not supported"),
        ("show 1 2 --plot nowhere/figure.png", "nowhere/figure.png: No such file or directory"),
        ("nonsense", "No such command 'nonsense'"),
        ("--nonsense", "No such option: --nonsense"),
        ("apply softmax logits.npy", "an argument is missing; expected softgrad apply FUNCTION IN... OUT"),
        ("sample logits.npy", "an argument is missing; expected softgrad sample IN OUT"),
        ("evaluate logits.npy", "an argument is missing; expected softgrad evaluate LOGITS... LABELS"),
        ("apply softplus logits.npy out.npy", "Invalid value for 'FUNCTION'"),
        ("apply softmax logits.npy out.npy --axis 2", "axis 2 is out of bounds for array of dimension 2"),
        ("apply softmax logits.npy out.npy --axis last", "Invalid value for '--axis'"),
        ("apply softmax logits.npy out.npy --temperature -1", "temperature must be at least 0; got -1.0"),
        ("apply softmax logits.npy out.npy --temperature nan", "temperature must be at least 0; got nan"),
        ("apply logsumexp logits.npy out.npy --temperature 1", "--temperature is for softmax and log-softmax"),
        ("apply softmax logits.npy out.npy --dtype int8", "Invalid value for '--dtype'"),
        ("apply softmax logits.npy logits.npy", "logits.npy: the file exists; --force replaces it"),
        ("apply softmax logits.npy nowhere/out.npy", "nowhere: No such directory"),
        ("apply softmax logits.npy folder.npy --force", "folder.npy: Is a directory"),
        (
            "apply softmax logits.npy out.txt",
            "out.txt: the suffix must be .arrow, .csv, .feather, .npy, .npz, .parquet, .safetensors, ",
        ),
        ("sample logits.npy out.npy --size 9 --without-replacement", "size must be at least 0 and at most 4"),
        ("sample logits.npy out.npy --top-p 2", "p must lie in [0, 1]; got 2.0"),
        ("sample logits.npy out.npy --top-k 0", "k must be at least 1; got 0"),
        ("sample logits.npy out.npy --size 2 --axis 0", "size is for slices along the last axis of a file"),
        ("sample logits.npy out.npy --seed -1", "rng must be a numpy.random.Generator, a seed or None; got -1"),
        ("apply softmax missing.npy out.npy", "missing.npy: No such file or directory"),
        ("apply softmax missing.csv out.npy", "missing.csv: No such file or directory"),
        ("apply softmax folder.npy out.npy", "folder.npy: Is a directory"),
        ("apply softmax . out.npy", ".: Is a directory"),
        ("apply softmax text.npy out.npy", "text.npy: not a NumPy array file"),
        ("apply softmax text.csv out.npy", "text.csv, line 2, column 1: expected a number; got 'x'"),
        ("apply softmax ragged.csv out.npy", "ragged.csv, line 2: expected 2 columns, as in the first row; got 1"),
        ("apply softmax empty.csv out.npy", "empty.csv: the file is empty"),
        (
            "apply softmax scalar.npy out.npy",
            "a single number is a slice with axis=None only: axis -1 is out of bounds",
        ),
        ("apply softmax objects.npy out.npy", "objects.npy: the array must hold real numbers; got dtype object"),
        ("apply softmax short.npy out.npy", "short.npy: truncated"),
    ],
)
@pytest.mark.usefixtures("logits")
def test_a_mistake_is_one_line_and_exit_code_2(softgrad, arguments, line):
    np.save("scalar.npy", 3.0)
    np.save("objects.npy", np.array([None]))
    os.mkdir("folder.npy")
    contents = {"text.npy": "no array", "text.csv": "1,2\nx,3\n", "ragged.csv": "1,2\n3\n", "empty.csv": ""}
    for name, text in contents.items():
        with open(name, "w") as file:
            file.write(text)
    with open("logits.npy", "rb") as whole, open("short.npy", "wb") as short:
        short.write(whole.read()[:-1])
    before = sorted(os.listdir())
    code, out, err = softgrad(*arguments.split())
    assert (code, out) == (2, "") or arguments.startswith("show 1 2 --plot")  # whose table is right
    assert code == 2
    assert err.startswith(f"softgrad: {line}")
    assert err.count("\n") == 1
    assert sorted(os.listdir()) == before


def test_the_process_itself_exits_with_2_and_no_traceback():
    done = run_command("apply", "softmax", "missing.npy", "out.npy")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "softgrad: missing.npy: No such file or directory\n"


def run_script(*arguments, **environment):
    """The command by its entry point, as the script that an installation makes."""
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    module, function = project["scripts"]["softgrad"].split(":")
    program = f"import sys; from {module} import {function}; sys.exit({function}())"
    command = [sys.executable, "-c", program, *arguments]
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8", **environment}
    return subprocess.run(
        command, check=False, capture_output=True, text=True, encoding="utf-8", timeout=60, env=environment
    )


def test_the_script_runs_the_command():
    done = run_script("show", "1", "2", "3", "--jacobian")
    assert (done.returncode, done.stderr, stripped(done.stdout)) == (0, "", SHOWN)


def test_an_unknown_instruction_set_is_one_line():
    done = run_script("show", "1", SOFTGRAD_ISA="avx2")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("softgrad: SOFTGRAD_ISA must be one of ")
    assert done.stderr.endswith("; got 'avx2'\n")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("absent", "arguments", "line"),
    [
        ("typer", ["show", "1"], 'the command needs typer and rich: pip install "softgrad[cli]"'),
        ("rich", ["show", "1"], 'the command needs typer and rich: pip install "softgrad[cli]"'),
        ("matplotlib", ["show", "1", "--plot", "f.png"], '--plot needs matplotlib: pip install "softgrad[plot]"'),
    ],
)
def test_an_absent_library_is_named_with_its_extra(absent, arguments, line):
    program = f"import sys; sys.modules[{absent!r}] = None; from softgrad.cli import main; main({arguments})"
    done = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (2, f"softgrad: {line}\n")


def test_importing_softgrad_does_not_import_the_command():
    program = "import sys, softgrad; print([m for m in ('softgrad.cli', 'typer', 'rich') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "[]\n"


def test_version_and_help_fit_80_columns(softgrad):
    assert softgrad("--version")[1].startswith(f"softgrad {sg.__version__} ")
    for arguments in ([], ["--help"], ["show", "--help"], ["apply", "--help"]):
        code, out, err = softgrad(*arguments)
        assert (code, err) == (0, "")
        assert "Usage: softgrad" in out
        assert "completion" not in out
        assert max(map(len, out.splitlines())) <= 80


@pytest.mark.skipif(os.name != "posix", reason="signals and terminals of POSIX")
class TestRunningProcess:
    """What only a process of its own shows."""

    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("number", "code", "line"),
        [(signal.SIGINT, 130, "softgrad: interrupted\n"), (signal.SIGTERM, 143, "softgrad: terminated\n")],
    )
    def test_an_interrupted_run_leaves_nothing_behind(self, number, code, line):
        write_zeros("in.npy", (2_000_000, 1000))  # 16 GB: it cannot be through before the signal
        with open("out.npy", "wb") as file:
            file.write(b"precious")
        before = signal.signal(number, signal.SIG_DFL)  # a job in the background inherits that SIGINT is ignored
        process = subprocess.Popen(
            [*COMMAND, "apply", "softmax", "in.npy", "out.npy", "--force"], stderr=subprocess.PIPE, text=True
        )
        signal.signal(number, before)
        try:
            deadline = time.monotonic() + 30
            while not any(part.stat().st_size > 2**24 for part in Path().glob(".out.npy.*.part")):
                assert time.monotonic() < deadline
                time.sleep(0.01)
            assert process.poll() is None
            process.send_signal(number)
            _, err = process.communicate(timeout=30)
        finally:
            process.kill()
            process.wait()
        assert (process.returncode, err) == (code, line)
        assert sorted(os.listdir()) == ["in.npy", "out.npy"]
        with open("out.npy", "rb") as file:
            assert file.read() == b"precious"

    def test_a_full_disk_is_an_error_like_others(self):
        # The limit is set by a process of its own: code between fork and exec would run while threads of JAX do.
        write_zeros("in.npy", (10_000, 1000))
        limited = (
            "import resource\nfrom softgrad.cli import main\n"
            "resource.setrlimit(resource.RLIMIT_FSIZE, (2**24, 2**24))\nmain()"
        )
        arguments = [sys.executable, "-c", limited, "apply", "softmax", "in.npy", "out.npy"]
        done = subprocess.run(arguments, check=False, capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stderr) == (2, "softgrad: File too large\n")
        assert os.listdir() == ["in.npy"]

    @pytest.mark.slow
    @pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="the most memory is read from /proc")
    @pytest.mark.parametrize("axis", ["0", "1"])
    def test_memory_stays_bounded(self, axis):
        program = (
            "import re\nfrom softgrad.cli import main\ntry:\n    main()\nfinally:\n"
            "    print(re.search(r'VmHWM:\\s+(\\d+) kB', open('/proc/self/status').read())[1])"
        )

        def most_memory(name):
            arguments = ["apply", "softmax", name, "out.npy", "--axis", axis, "--force"]
            done = subprocess.run(
                [sys.executable, "-c", program, *arguments], check=False, capture_output=True, text=True, timeout=60
            )
            assert done.returncode == 0, done.stderr
            return int(done.stdout) * 1024

        write_zeros("small.npy", (10, 10))
        write_zeros("large.npy", (30_000, 1000))
        bound = 160 * 2**20
        assert os.path.getsize("large.npy") > 1.4 * bound
        assert most_memory("large.npy") - most_memory("small.npy") < bound

    def test_progress_is_drawn_on_the_terminal_that_stderr_is(self, logits):
        import pty  # noqa: PLC0415  POSIX only

        write_zeros("in.npy", (20_000, 1000))
        terminal, end = pty.openpty()
        process = subprocess.Popen(
            [*COMMAND, "apply", "softmax", "in.npy", "out.npy"],
            stdout=subprocess.PIPE, stderr=end, env={**os.environ, "TERM": "xterm-256color"},
        )  # fmt: skip
        os.close(end)
        drawn = b""
        try:
            while chunk := os.read(terminal, 65536):
                drawn += chunk
        except OSError:  # how Linux says that the other end is closed
            pass
        os.close(terminal)
        out, _ = process.communicate(timeout=60)
        assert (process.returncode, out) == (0, b"")
        assert re.search(rb"\d [MG]B/s", drawn)
        assert b"left" in drawn
        assert b"\x1b[?25h" in drawn  # the cursor is shown again
        assert drawn.endswith(b"s\r\n")

    def test_a_reader_that_goes_away_is_no_traceback(self):
        process = subprocess.Popen(
            [*COMMAND, "show", *map(str, range(3000))], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        process.stdout.close()
        err = process.stderr.read()
        process.stderr.close()
        process.wait(timeout=60)
        assert "Traceback" not in err
