"""The command line: every command's name, in the order in which `--help` lists them.

Exit codes: 0 nothing unexpected; 1 something unexpected; 2 the call or a case file is wrong; 3 a target could not
start, or the run is incomplete; 5 nothing selected.
"""

import typer

from conformance.commands import answers, cases, checks, installation, measurements, models, running, runs

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Does this operator do the same thing there? Conformance tests for convolutional networks.",
)
app.command("run")(running.run)
app.command("train")(running.train)
app.command("list")(cases.list_)
app.command("explain")(answers.explain)
app.command("port")(answers.port)
app.command("report")(runs.report)
app.command("repro")(answers.repro)
app.command("accept")(runs.accept)
app.command("compare")(runs.compare)
app.command("badge")(runs.badge)
app.command("check-backend")(checks.check_backend)
app.command("mutate")(checks.mutate)
app.command("parity")(models.parity)
app.command("capture")(models.capture)
app.command("convert")(models.convert)
app.command("fuzz")(checks.fuzz)
app.command("selfcheck")(checks.selfcheck)
app.command("lint-cases")(cases.lint_cases)
app.command("schema")(cases.schema)
app.command("bench")(measurements.bench)
app.command("doctor")(installation.doctor)
app.command("mnist-download")(installation.mnist_download)
