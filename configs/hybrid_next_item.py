"""MovieLens-1M, leave-last-out: the default blend and a causal transformer over histories.

jaxrec train --config configs/hybrid_next_item.py --workdir runs/next

NDCG@10 .202 on the test, the blend without the transformer .180. 26 to 50 minutes on two cores, most of them the
transformer's: it is trained once for the inner cut that the weights of the blend are learned from, and once on
everything. With `--set holdout=TimeLastOut --set holdout.refit=true` the same under G, with two inner cuts, since few
users have a last item after one.
"""

from dataclasses import replace
from pathlib import Path

from jaxrec.config import load_config
from jaxrec.experiment import Experiment
from jaxrec.hybrid.hybrid import PARTS, Hybrid
from jaxrec.tasks.task import Sizes
from jaxrec.text_encoder import TextEncoder

NEXT_ITEM = Path(__file__).with_name("next_item.py")
SIZES = Sizes(items=3_706, text=384)


def get_config() -> Experiment:
    alone = load_config(NEXT_ITEM)
    method = Hybrid(parts=(alone.method, *PARTS), folds=2)
    return replace(alone, name="hybrid-next-item", encoder=TextEncoder(), method=method)


def debug(experiment: Experiment) -> Experiment:
    small = load_config(NEXT_ITEM, debug=True)
    method = replace(experiment.method, parts=(small.method, *PARTS[:2]), users=100)
    return replace(experiment, encoder=small.encoder, method=method)
