"""MovieLens-1M, leave-last-out: a causal transformer over histories, blended with EASE and SLIM that look back briefly.

jaxrec train --config configs/hybrid_next_item.py --workdir runs/next

NDCG@10 .194 on the test. 39 minutes on two cores, most of them the transformer's: it is trained twice, once on what is
before the inner cut that the weights of the blend are learned from.
"""

from dataclasses import replace
from pathlib import Path

from jaxrec.classic.ease import Ease
from jaxrec.classic.random_walk import RandomWalk
from jaxrec.classic.slim import Slim
from jaxrec.config import load_config
from jaxrec.experiment import Experiment
from jaxrec.hybrid.hybrid import Hybrid
from jaxrec.tasks.task import Sizes

NEXT_ITEM = Path(__file__).with_name("next_item.py")
SIZES = Sizes(items=3_706)


def get_config() -> Experiment:
    alone = load_config(NEXT_ITEM)
    around = (
        Ease(l2=800.0),
        Ease(l2=800.0, tau=2.0, base=0.02),
        Ease(l2=800.0, tau=8.0),
        Slim(tau=4.0, base=0.05),
        RandomWalk(tau=4.0, base=0.05),
    )
    return replace(alone, name="hybrid-next-item", method=Hybrid(parts=(alone.method, *around), folds=1))


def debug(experiment: Experiment) -> Experiment:
    small = load_config(NEXT_ITEM, debug=True)
    method = replace(experiment.method, parts=(small.method, *experiment.method.parts[1:3]), users=100)
    return replace(experiment, encoder=small.encoder, method=method)
