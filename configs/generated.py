"""A generated catalog with planted tastes: the whole way without any download. One CPU, about a minute; see README."""

from dataclasses import replace

from jaxrec.data.examples import Examples
from jaxrec.data.sources.synthetic import Synthetic
from jaxrec.experiment import Experiment, Sizes, smaller
from jaxrec.models.profiles.autoencoder import Autoencoder
from jaxrec.models.profiles.identity import Identity
from jaxrec.models.towers import Content, ItemTower, UserTower
from jaxrec.models.two_tower import TwoTower
from jaxrec.tasks.retrieval import Retrieval
from jaxrec.text_encoder import BagOfWords
from jaxrec.train.loop import Train
from jaxrec.train.optimizers import AdamW
from jaxrec.train.trained import Trained

DIM = 64
SIZES = Sizes(items=400, text=256)


def get_config() -> Experiment:
    return Experiment(
        name="generated",
        source=Synthetic(),
        encoder=BagOfWords(dim=256),
        method=Trained(
            task=Retrieval(
                model=TwoTower(
                    item=ItemTower(dim=DIM, use_neighbours=True, content=Content(dim=DIM, head=Autoencoder(dim=DIM))),
                    history=ItemTower(dim=DIM, id_dropout=0.3, content=Content(dim=DIM, head=Identity(dim=DIM))),
                    user=UserTower(dim=DIM, head=Autoencoder(dim=DIM), dropout=0.2),
                ),
                l2=3e-4,
                examples=Examples(hidden=0.3, history_length=64, num_targets=32),
            ),
            optimizer=AdamW(peak_learning_rate=3e-3, warmup_steps=20, final_fraction=0.05, weight_decay=0.0),
            train=Train(num_steps=300, batch_size_global=64, evaluate_every=50, checkpoint_every=100, patience=4),
        ),
    )


def debug(experiment: Experiment) -> Experiment:
    source = replace(experiment.source, users=60, items=80, tastes=4, events_per_user=20)
    return smaller(replace(experiment, source=source))
