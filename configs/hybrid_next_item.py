"""MovieLens-1M, leave-last-out: a causal transformer over histories, blended with EASE and SLIM that look back briefly.

jaxrec train --config configs/hybrid_next_item.py --workdir runs/next

NDCG@10 .194 on the test. 39 minutes on two cores, most of them the transformer's: it is trained twice, once on what is
before the inner cut that the weights of the blend are learned from.
"""

from dataclasses import replace

from jaxrec.classic.ease import Ease
from jaxrec.classic.random_walk import RandomWalk
from jaxrec.classic.slim import Slim
from jaxrec.data.holdout import LeaveLastOut
from jaxrec.data.sources.movielens import MovieLens
from jaxrec.experiment import Experiment
from jaxrec.hybrid.hybrid import Hybrid
from jaxrec.models.sequence import SequenceModel
from jaxrec.tasks.next_item import NextItem, SampledSoftmax
from jaxrec.tasks.task import Sizes
from jaxrec.text_encoder import BagOfWords
from jaxrec.train.loop import Train
from jaxrec.train.optimizers import AdamW
from jaxrec.train.trained import Trained

SIZES = Sizes(items=3_706)


def get_config() -> Experiment:
    next_item = Trained(
        label="Next item",
        task=NextItem(model=SequenceModel(dim=64, heads=2, length=200), loss=SampledSoftmax(1_024)),
        optimizer=AdamW(peak_learning_rate=2e-3, warmup_steps=100),
        train=Train(num_steps=6_000, batch_size_global=32, checkpoint_every=1_000, keep=2),
    )
    around = (
        Ease(l2=800.0),
        Ease(l2=800.0, tau=2.0, base=0.02),
        Ease(l2=800.0, tau=8.0),
        Slim(tau=4.0, base=0.05),
        RandomWalk(tau=4.0, base=0.05),
    )
    return Experiment(
        name="hybrid-next-item",
        source=MovieLens("1m"),
        holdout=LeaveLastOut(refit=True),
        encoder=None,
        method=Hybrid(parts=(next_item, *around), folds=1),
    )


def debug(experiment: Experiment) -> Experiment:
    next_item, *around = experiment.method.parts
    model = SequenceModel(dim=16, length=20)
    train = Train(num_steps=5, batch_size_global=16)
    small = replace(next_item, task=NextItem(model=model), optimizer=AdamW(), train=train)
    method = replace(experiment.method, parts=(small, *around[:2]), users=100)
    return replace(experiment, encoder=BagOfWords(dim=64), method=method)
