"""Text to vectors, cached by content: what a run calls, and the function behind `jaxrec embed`."""

import hashlib
import json
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np

from jaxrec.data.fetch import cache_dir
from jaxrec.data.tokens import length_batches
from jaxrec.errors import DataError, UserError
from jaxrec.files import write_atomically
from jaxrec.text_encoder import BagOfWords, LoadedEncoder, TextEncoder

Progress = Callable[[int, int], None]  # (texts done, texts in all)

_FORMAT = 1  # of the cache: raise it when the same key would mean other vectors
_DIGEST = 32  # bytes of a SHA-256
_HIDDEN_LIMIT = 8 * 2**30


def embed_texts(
    texts: Sequence[str],
    encoder: TextEncoder | BagOfWords | LoadedEncoder,
    *,
    cache: bool = True,
    progress: Progress | None = None,
) -> np.ndarray:
    """Vectors float32 [texts, dim], in the order of the texts; each distinct text is encoded once.

    With `cache`, vectors of the same texts by the same encoder are read from the cache directory; a damaged file
    there is made anew.
    """
    distinct = list(dict.fromkeys(texts))
    position = {text: row for row, text in enumerate(distinct)}
    rows = np.array([position[text] for text in texts], np.int64)
    path = None
    if cache:
        digest = encoder.digest if isinstance(encoder, LoadedEncoder) else encoder.digest()
        path = cache_dir() / "embeddings" / f"{_key(digest, distinct)}.npy"
        vectors = _cached(path, len(distinct))
        if vectors is not None:
            if progress:
                progress(len(texts), len(texts))
            return vectors[rows]
    loaded = encoder if isinstance(encoder, LoadedEncoder) else encoder.load()
    vectors = _encode(distinct, loaded, progress)
    if path:
        write_atomically(path, partial(_store, vectors))
    return vectors[rows]


def _encode(texts: Sequence[str], loaded: LoadedEncoder, progress: Progress | None) -> np.ndarray:
    import jax

    table = loaded.tokenizer.tokenize(texts)
    encode, params = jax.jit(loaded.encode), jax.device_put(loaded.params)
    vectors = np.zeros((len(texts), loaded.dim), np.float32)
    running: deque = deque()
    done = 0

    def collect():
        nonlocal done
        rows, result = running.popleft()
        vectors[rows] = np.asarray(result)[: len(rows)]
        done += len(rows)
        if progress:
            progress(done, len(texts))

    batches = length_batches(
        table.lengths, tokens_per_batch=loaded.tokens_per_batch, max_length=max(loaded.max_length, table.ids.shape[1])
    )
    for batch in batches:
        running.append((batch.rows, encode(params, *jax.device_put(batch.of(table)))))
        if len(running) > 2:  # the device works on the next batch while this one is read
            collect()
    while running:
        collect()
    return vectors


class HiddenStates(NamedTuple):
    """What every layer says of every token.

    hidden_states: float32 [layers + 1, texts, tokens, hidden], the embeddings first, padded positions included.
    token_ids: int32 [texts, tokens]; mask: bool [texts, tokens]; tokens is the length of the longest text.
    """

    hidden_states: np.ndarray
    token_ids: np.ndarray
    mask: np.ndarray


def hidden_states(texts: Sequence[str], encoder: TextEncoder | LoadedEncoder) -> HiddenStates:
    """Hidden states of all layers, as transformers gives them for one batch padded to its longest text.

    Raises UserError for an encoder without layers, or for more than 8 GiB of result.
    """
    import jax

    loaded = encoder if isinstance(encoder, LoadedEncoder) else encoder.load()
    if loaded.hidden is None:
        raise UserError("this encoder has no layers; hidden states come from a BERT")
    table = loaded.tokenizer.tokenize(texts)
    mask, tokens = table.mask(), table.ids.shape[1]
    batch = max(1, min(len(table), loaded.tokens_per_batch // tokens))
    shapes = jax.eval_shape(loaded.hidden, loaded.params, table.ids[:batch], mask[:batch])
    size = 4 * len(shapes) * len(table) * tokens * loaded.dim
    if size > _HIDDEN_LIMIT:
        raise UserError(
            f"hidden states of {len(table)} texts of up to {tokens} tokens take {size / 2**30:.0f} GiB; "
            "give fewer texts or a smaller max_length"
        )
    hidden = np.zeros((len(shapes), len(table), tokens, loaded.dim), np.float32)
    run, params = jax.jit(loaded.hidden), jax.device_put(loaded.params)
    for start in range(0, len(table), batch):
        start = min(start, len(table) - batch)  # the last batch reaches back, so that there is one shape
        part = slice(start, start + batch)
        for layer, states in enumerate(run(params, table.ids[part], mask[part])):
            hidden[layer, part] = np.asarray(states, np.float32)
    return HiddenStates(hidden, table.ids, mask)


class Embedded(NamedTuple):
    """What `embed_file` wrote."""

    texts: int
    dim: int
    out: Path
    hidden_states: Path | None


def embed_file(
    encoder: str,
    texts_path: str | Path,
    out: str | Path,
    *,
    pool: str = "mean",
    normalize: bool = False,
    max_length: int = 256,
    hidden_states: str | Path | None = None,
    dtype: str = "float32",
    progress: Progress | None = None,
) -> Embedded:
    """Embed a UTF-8 file of one text a line into `out`, a .npy file of float32 [lines, dim].

    An empty line is an empty text. `hidden_states`: a .npz file to fill with the fields of `HiddenStates`.
    Raises UserError and DataError before anything is written.
    """
    out, all_layers = Path(out), Path(hidden_states) if hidden_states else None
    for path, ending in ((out, ".npy"), (all_layers, ".npz")):
        if path and path.suffix != ending:
            raise UserError(f"{path}: the file to write must end in {ending}")
    config = TextEncoder(encoder, pool, normalize, max_length, dtype)
    texts = read_texts(texts_path)
    loaded = config.load() if all_layers else config
    layers = _hidden_states(texts, loaded) if all_layers else None
    vectors = embed_texts(texts, loaded, progress=progress)
    write_atomically(out, partial(np.save, arr=vectors, allow_pickle=False))
    if layers:
        write_atomically(all_layers, partial(np.savez, **layers._asdict()))
    return Embedded(len(texts), vectors.shape[1], out, all_layers)


_hidden_states = hidden_states  # embed_file has an argument of that name


def read_texts(path: str | Path) -> list[str]:
    """The lines of a UTF-8 file, without BOM and line ends.

    Raises UserError where it is missing, DataError where it is empty or not UTF-8.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    content = path.read_bytes()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise DataError(f"{path}, line {line}: not UTF-8 ({error.reason}); save the file as UTF-8") from None
    if not text:
        raise DataError(f"{path}: empty; one text a line is expected")
    return [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")]


@contextmanager
def progress_bar(what: str) -> Iterator[Progress]:
    """A bar on stderr while texts are encoded: `with progress_bar("Encoding") as progress: embed_texts(...)`."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Bar(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _store(vectors: np.ndarray, file: IO[bytes]) -> None:
    """A .npy file, and behind the array the SHA-256 of all before."""
    np.save(file, vectors, allow_pickle=False)
    file.seek(0)
    digest = hashlib.file_digest(file, "sha256").digest()
    file.seek(0, os.SEEK_END)
    file.write(digest)


def _cached(path: Path, rows: int) -> np.ndarray | None:
    """What `_store` wrote; None where there is nothing, or any bit of it has changed."""
    try:
        content = np.memmap(path, np.uint8, "r")
        if hashlib.sha256(content[:-_DIGEST]).digest() != content[-_DIGEST:].tobytes():
            return None
        vectors = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    sound = vectors.ndim == 2 and len(vectors) == rows and vectors.dtype == np.float32
    return vectors if sound else None


def _key(digest: str, texts: Sequence[str]) -> str:
    key = hashlib.sha256(json.dumps([_FORMAT, digest]).encode())
    for text in texts:
        content = text.encode("utf-8", "surrogatepass")
        key.update(len(content).to_bytes(8, "little") + content)
    return key.hexdigest()
