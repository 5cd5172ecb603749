"""Examples to batches through grain: shuffled by epoch, sharded by host, restartable at any step."""

from typing import Any, Protocol

import numpy as np


class Source(Protocol):
    """Random-access examples over columns in memory."""

    def __len__(self) -> int: ...

    def gather(self, which: np.ndarray, rng: np.random.Generator) -> Any:
        """The examples at positions `which` int64 [batch] as a NamedTuple of numpy arrays [batch, ...], the same shapes
        for every batch of that size; all that is random is drawn from `rng`."""
        ...


def make_batches(source: Source, batch_size_global: int, seed: int, *, process_index: int = 0, process_count: int = 1):
    """An endless grain iterator of this host's share of each global batch, with exact `get_state` and `set_state`.

    The global batch depends on the seed and the step alone, whatever the number of hosts: every host draws the same
    examples and gathers its own rows. Raises ValueError where the hosts do not divide the batch.
    """
    import grain

    if batch_size_global % process_count:
        raise ValueError(f"batch_size_global={batch_size_global} does not divide by {process_count} processes")
    share = batch_size_global // process_count
    mine = slice(process_index * share, (process_index + 1) * share)

    def gather(which: np.ndarray, rng: np.random.Generator) -> Any:
        whole = source.gather(np.asarray(which), rng)
        return type(whole)(*(column[mine] for column in whole))

    few = grain.ReadOptions(num_threads=2, prefetch_buffer_size=8)  # a read is a whole batch: megabytes
    examples = grain.MapDataset.range(len(source)).seed(seed).shuffle().repeat(None)
    return iter(examples.batch(batch_size_global).random_map(gather).to_iter_dataset(few))
