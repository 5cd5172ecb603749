"""MovieLens-100K by time: the main job of `jaxrec demo`."""

from dataclasses import replace

from jaxrec.data.examples import Examples
from jaxrec.data.sources.movielens import MovieLens
from jaxrec.experiment import Experiment, smaller
from jaxrec.models.profiles.identity import Identity
from jaxrec.models.towers import Content, ItemTower, UserTower
from jaxrec.models.two_tower import TwoTower
from jaxrec.tasks.retrieval import Retrieval
from jaxrec.train.loop import Train
from jaxrec.train.optimizers import AdamW

DIM = 128


def get_config() -> Experiment:
    return Experiment(
        name="movielens-100k",
        source=MovieLens("100k"),
        task=Retrieval(
            model=TwoTower(
                item=ItemTower(dim=DIM, content=None, use_neighbours=True),
                history=ItemTower(dim=DIM, id_dropout=0.0, content=Content(dim=DIM, head=Identity(dim=DIM))),
                user=UserTower(dim=DIM, head=Identity(dim=DIM), dropout=0.2),
            ),
            l2=3e-4,
        ),
        examples=Examples(hidden=0.3, history_length=740, num_targets=256, half_life_days=14.0),
        optimizer=AdamW(peak_learning_rate=3e-3, warmup_steps=50, final_fraction=0.05, weight_decay=0.0),
        train=Train(num_steps=800, batch_size_global=128, evaluate_every=100, checkpoint_every=200, patience=4),
        show_user="42",
    )


def debug(experiment: Experiment) -> Experiment:
    return smaller(replace(experiment, examples=replace(experiment.examples, history_length=64, num_targets=16)))
