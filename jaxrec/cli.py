"""The `jaxrec` command: one function per verb, no logic of its own. Heavy imports wait until a verb needs them."""

import json
import shlex
import sys
import warnings
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated, Literal

import typer

from jaxrec.errors import JaxrecError, UserError


class Verb(typer.core.TyperCommand):
    """A command that says which option was probably meant."""

    def parse_args(self, ctx, args):
        try:
            return super().parse_args(ctx, args)
        except Exception as error:
            near = getattr(error, "possibilities", None)
            if near:
                error.message = f"{error.message.rstrip('.')}. Did you mean {near[0]}?"
                error.possibilities = None
            raise


class Verbs(typer.Typer):
    """A group of such commands."""

    def command(self, name: str | None = None):
        return super().command(name, cls=Verb)


def keeps_programs(verb: Callable) -> Callable:
    """The verb, which finds on the disk what an earlier one has compiled: not `compare`, whose table has timings."""

    @wraps(verb)
    def keeping(*args, **options):
        from jaxrec.programs import keep_programs

        keep_programs()
        return verb(*args, **options)

    return keeping


app = Verbs(
    help="Text-aware recommenders in JAX: from an interaction log to one exported scoring function.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
data = Verbs(help="Data sets and weights that jaxrec can fetch.", no_args_is_help=True)
app.add_typer(data, name="data")

Workdir = Annotated[Path, typer.Option(help="Where checkpoints, metrics, artifact and report go.")]
Artifact = Annotated[Path, typer.Option(help="The artifact directory.")]
Set = Annotated[list[str], typer.Option("--set", metavar="A.B=VALUE", help="Override one option of the config.")]
Map = Annotated[list[str], typer.Option("--map", metavar="OURS=THEIRS", help="Your name of a column: item_id=movieId.")]


@app.command()
@keeps_programs
def demo(
    workdir: Workdir = Path("runs/demo"),
    offline: Annotated[bool, typer.Option(help="Generated data, no download.")] = False,
    debug: Annotated[bool, typer.Option(help="The same in seconds, to see that it runs.")] = False,
    set_: Set = [],  # noqa: B006 (typer reads it)
):
    """The main job: MovieLens-100K to a served recommendation."""
    from jaxrec.demo import run_demo

    run_demo(workdir, offline=offline, debug=debug, overrides=set_)


@app.command()
def train(
    config: Annotated[Path, typer.Option(help="A Python file with get_config().")],
    workdir: Workdir,
    set_: Set = [],  # noqa: B006
    map_: Map = [],  # noqa: B006
    debug: Annotated[bool, typer.Option(help="The config's debug version: seconds on a CPU.")] = False,
    coordinator: Annotated[str | None, typer.Option(help="host:port of process 0, with several processes.")] = None,
    num_processes: Annotated[int | None, typer.Option(help="How many processes take part.")] = None,
    process_id: Annotated[int | None, typer.Option(help="Which of them this is, from 0.")] = None,
):
    """Train a config: data, training, evaluation, artifact and report. Start it again to resume."""
    from jaxrec.parallel.mesh import start_distributed

    several = start_distributed(coordinator, num_processes, process_id)
    from jaxrec.config import load_config, override
    from jaxrec.job import run_job
    from jaxrec.programs import keep_programs

    if not several:
        keep_programs()
    experiment = override(load_config(config, debug=debug), _overrides(map_, set_))
    run_job(experiment, workdir, command=" ".join(["jaxrec", *sys.argv[1:]]))


@app.command()
@keeps_programs
def evaluate(
    workdir: Workdir,
    part: Annotated[Literal["test", "valid"], typer.Option(help="Which part of the holdout.")] = "test",
    out: Annotated[Path | None, typer.Option(help="Also write everything as JSON.")] = None,
):
    """Judge a trained workdir again, over the full catalog."""
    from jaxrec.files import write_atomically
    from jaxrec.job import evaluate_job
    from jaxrec.summary import print_table, table_rows

    prepared, results = evaluate_job(workdir, part)
    print_table(table_rows(results), f"protocol {prepared.holdout.name}")
    if out:
        text = json.dumps({name: result.to_json() for name, result in results.items()}, indent=1)
        write_atomically(out, lambda file: file.write(text.encode()))


@app.command()
def compare(
    workdir: Annotated[Path, typer.Option(help="Where trials, tests, tables and pages go.")],
    config: Annotated[Path | None, typer.Option(help="A Python file whose get_config() gives a Study.")] = None,
    suite: Annotated[str | None, typer.Option(help="A suite of the checkout instead, such as movielens.")] = None,
    methods: Annotated[str | None, typer.Option(help="Only these, by name: Ease,Popular.")] = None,
    studies: Annotated[str | None, typer.Option(help="Of a suite only these, by name: ml-1m-R,ml-1m-C.")] = None,
    trials: Annotated[int | None, typer.Option(help="Settings that each method may try on validation.")] = None,
    workers: Annotated[int, typer.Option(help="Processes that work on methods at once.")] = 1,
    set_: Set = [],  # noqa: B006
    map_: Map = [],  # noqa: B006
    debug: Annotated[bool, typer.Option(help="The config's debug version: seconds on a CPU.")] = False,
):
    """Compare methods: equal tuning on validation, one test, one table. Start it again to resume."""
    from jaxrec.study.command import compare_config

    compare_config(
        config,
        suite,
        workdir,
        overrides=_overrides(map_, set_),
        methods=_names(methods),
        studies=_names(studies),
        trials=trials,
        workers=workers,
        debug=debug,
        command=shlex.join(["jaxrec", *sys.argv[1:]]),
    )


@app.command()
@keeps_programs
def export(
    workdir: Workdir,
    out: Annotated[Path | None, typer.Option(help="Where to; the workdir's artifact if not given.")] = None,
    k_max: Annotated[int | None, typer.Option(help="The longest list that may be asked for.")] = None,
    users: Annotated[bool, typer.Option(help="Keep the users' histories, so that they can be asked for.")] = True,
):
    """Write the artifact of a trained workdir again."""
    from jaxrec.job import export_job

    typer.echo(f"artifact: {export_job(workdir, out or workdir / 'artifact', k_max=k_max, keep_users=users)}")


@app.command()
@keeps_programs
def recommend(
    artifact: Artifact,
    user: Annotated[str | None, typer.Option(help="A user of the artifact.")] = None,
    history: Annotated[str | None, typer.Option(help="Item ids, oldest first, as one line of CSV.")] = None,
    text: Annotated[str | None, typer.Option(help="What the asker wants, in words.")] = None,
    context: Annotated[list[str], typer.Option(help="Where they ask from, such as device=tv.")] = [],  # noqa: B006
    histories: Annotated[Path | None, typer.Option(help="Many askers: a file of user_id and item_id.")] = None,
    k: Annotated[int, typer.Option(help="How many items.")] = 10,
    candidates: Annotated[Path | None, typer.Option(help="Rank only these: one item id a line.")] = None,
    new_items: Annotated[Path | None, typer.Option(help="Items that training never saw, to be ranked too.")] = None,
    out: Annotated[Path | None, typer.Option(help="With --histories: the .parquet or .csv to write.")] = None,
    map_: Map = [],  # noqa: B006
    encoding: Annotated[str, typer.Option(help="Of --histories and --new-items, where they are text.")] = "utf-8",
    json_: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
):
    """Ask an artifact: for a user, a history, a sentence, or in bulk."""
    from jaxrec.ask import Files, ask, ask_many

    files = Files(candidates, new_items, _pairs(map_), encoding)
    if histories is not None:
        if json_:
            raise UserError("--json prints the answer of one asker; --histories writes its answers to --out")
        if user or history or text or context or out is None:
            raise UserError(
                "--histories asks in bulk: give --out with it, and no --user, --history, --text or --context"
            )
        ask_many(artifact, histories, out, files, k=k)
    else:
        if out is not None:
            raise UserError("--out is the file of --histories; for one asker add --json and redirect what is printed")
        where = dict(_pairs(context, "--context", "column=value, such as device=tv"))
        ask(artifact, user, history, text, where, files, k=k, as_json=json_)


@app.command()
@keeps_programs
def update(
    workdir: Workdir,
    events: Annotated[Path | None, typer.Option(help="A service's event log; events.sqlite of the workdir.")] = None,
    out: Annotated[Path | None, typer.Option(help="Where to; the workdir's artifact if not given.")] = None,
    reload: Annotated[str | None, typer.Option(help="A service that is to load it: http://127.0.0.1:8000")] = None,
):
    """Fold new events and items into a workdir's artifact; a running service goes on meanwhile."""
    from jaxrec.update import reload_service, update_job

    update_job(workdir, events or workdir / "events.sqlite", out)
    if reload:
        typer.echo(f"serving: {reload_service(reload)}")


@app.command()
@keeps_programs
def serve(
    artifact: Artifact,
    host: Annotated[str, typer.Option(help="Beyond this machine only with a token, JAXREC_TOKEN.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Of the page and the API.")] = 8000,
    events: Annotated[Path | None, typer.Option(help="The event log; events.sqlite beside the artifact.")] = None,
    language_model: Annotated[str | None, typer.Option(help="smollm2, or a path: writes, reranks, chats.")] = None,
    other: Annotated[Path | None, typer.Option(help="A second artifact, to compare with on the page.")] = None,
    batching: Annotated[bool, typer.Option(help="Answer requests that wait together.")] = True,
):
    """Serve an artifact: an HTTP API and a page, with events that change the next answer."""
    from jaxrec.serve.service.run import serve as run

    run(artifact, host=host, port=port, events=events, language_model=language_model, other=other, batching=batching)


@app.command()
@keeps_programs
def profile(
    artifact: Artifact,
    user: Annotated[str | None, typer.Option(help="A user of the artifact.")] = None,
    item: Annotated[str | None, typer.Option(help="An item of the catalog.")] = None,
    history: Annotated[str | None, typer.Option(help="Item ids, oldest first, as one line of CSV.")] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON, with the profile vector.")] = False,
):
    """A user's or an item's profile: weighted tags with evidence."""
    from jaxrec.ask import show_profile

    show_profile(artifact, user, item, history, as_json=json_)


@app.command()
@keeps_programs
def embed(
    encoder: Annotated[str, typer.Option(help="A Hugging Face BERT directory, or a name such as minilm.")],
    texts: Annotated[Path, typer.Option(help="UTF-8, one text a line.")],
    out: Annotated[Path, typer.Option(help="The .npy file to write: float32 [lines, dim].")],
    pool: Annotated[Literal["mean", "cls", "max"], typer.Option(help="How tokens become one vector.")] = "mean",
    normalize: Annotated[bool, typer.Option(help="Scale each vector to length one.")] = False,
    max_length: Annotated[int, typer.Option(help="Tokens; longer texts are cut.")] = 256,
    hidden_states: Annotated[Path | None, typer.Option(help="A .npz file for all layers.")] = None,
    dtype: Annotated[Literal["float32", "bfloat16"], typer.Option(help="Of the matrix products.")] = "float32",
):
    """Texts to vectors with the encoder alone."""
    from jaxrec.embed import embed_file, progress_bar

    with progress_bar("encoding") as progress:
        done = embed_file(
            encoder,
            texts,
            out,
            pool=pool,
            normalize=normalize,
            max_length=max_length,
            hidden_states=hidden_states,
            dtype=dtype,
            progress=progress,
        )
    typer.echo(f"{done.texts:,} texts, {done.dim} numbers each: {done.out}")
    if done.hidden_states:
        typer.echo(f"hidden states of all layers: {done.hidden_states}")


@data.command("get")
def data_get(name: Annotated[str, typer.Argument(help="ml-100k, ml-1m, minilm or smollm2.")]):
    """Fetch a data set or weights into the cache."""
    from jaxrec.data.fetch import fetch

    typer.echo(fetch(name, typer.echo))


@data.command("check")
def data_check(
    config: Annotated[Path | None, typer.Option(help="Check the data of this config: what cleaning would do.")] = None,
    set_: Set = [],  # noqa: B006
    map_: Map = [],  # noqa: B006
):
    """Check what the cache holds, or with --config the data of a job, without training."""
    from jaxrec.doctor import check_cache, check_data

    if config:
        check_data(config, _overrides(map_, set_))
    else:
        check_cache()


@app.command()
def doctor():
    """What this machine has: versions, devices, caches; and what is wrong with it."""
    from jaxrec.doctor import examine

    examine()


@app.command()
def shapes(
    config: Annotated[Path, typer.Option(help="A config with get_config() and SIZES.")],
    set_: Set = [],  # noqa: B006
):
    """Check a config at real size, by shapes alone: parameters, bytes per device, partition rules."""
    from jaxrec.doctor import check_config_shapes

    check_config_shapes(config, set_)


def _names(listed: str | None) -> list[str]:
    return [name.strip() for name in (listed or "").split(",") if name.strip()]


def _overrides(maps: list[str], assignments: list[str]) -> list[str]:
    """--map as an assignment, and ready splits as the holdout that reads them."""
    names = [assignment.partition("=")[0].strip() for assignment in assignments]
    given = "holdout" not in names and {"holdout.valid", "holdout.test"} & set(names)
    return [
        *([f"source.columns={json.dumps(_pairs(maps))}"] if maps else []),
        *(["holdout=jaxrec.data.given:Given"] if given else []),
        *assignments,
    ]


def _pairs(
    maps: list[str], option: str = "--map", like: str = "ours=theirs, such as item_id=movieId"
) -> list[tuple[str, str]]:
    pairs = [entry.partition("=") for entry in maps]
    bad = next((entry for entry, (ours, sign, theirs) in zip(maps, pairs, strict=True) if not (ours and theirs)), None)
    if bad is not None:
        raise UserError(f"{option} {bad!r}: write it as {like}")
    return [(ours.strip(), theirs.strip()) for ours, _, theirs in pairs]


def _warn(message, category, *_) -> None:
    """A warning as one line, without the place in our code that it came from."""
    typer.echo(f"warning: {message}", err=True)


def main(arguments: list[str] | None = None) -> None:
    """Run the command; errors that a person can act on are one line on stderr and an exit code of their own."""
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _warn
            app(arguments, prog_name="jaxrec", standalone_mode=True)
    except JaxrecError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
    except OSError as error:  # such as a full disk, or a folder that may not be read
        said = f"{error.filename}: {error.strerror}" if error.filename and error.strerror else str(error)
        typer.echo(f"error: {said}", err=True)
        sys.exit(UserError.exit_code)


if __name__ == "__main__":
    main()
