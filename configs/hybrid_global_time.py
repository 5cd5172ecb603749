"""MovieLens-1M, G (one cut in time, each user's last item is to be found): the default blend and a causal transformer.

jaxrec train --config configs/hybrid_global_time.py --workdir runs/global-time

Some 40 minutes on two cores, most of them the transformer's, trained three times: for the two inner cuts that the
weights of the blend are learned from, since few users have a last item after one, and at last. NDCG@10 .097 on the test
before SLIST was among the parts; with SLIST and without the transformer it is .100.
"""

from dataclasses import replace
from pathlib import Path

from jaxrec.config import load_config
from jaxrec.data.holdout import TimeLastOut
from jaxrec.data.sources.movielens import MovieLens
from jaxrec.experiment import Experiment
from jaxrec.hybrid.hybrid import PARTS, Hybrid
from jaxrec.tasks.task import Sizes

NEXT_ITEM = Path(__file__).with_name("next_item.py")
SIZES = Sizes(items=3_706, text=384)


def get_config() -> Experiment:
    return Experiment(
        name="hybrid-global-time",
        source=MovieLens("1m"),
        holdout=TimeLastOut(refit=True),
        method=Hybrid(parts=(load_config(NEXT_ITEM).method, *PARTS), folds=2),
    )


def debug(experiment: Experiment) -> Experiment:
    small = load_config(NEXT_ITEM, debug=True)
    method = replace(experiment.method, parts=(small.method, *PARTS[:2]), users=100)
    return replace(experiment, encoder=small.encoder, method=method)
