"""Your own log and catalog, a two-tower model alone. Not measured: what it scores depends on your data.

jaxrec train --config configs/your_data_two_tower.py --set source.interactions=log.csv --set source.catalog=items.csv \
    --workdir runs/mine

Column names: --map item_id=movieId. No timestamps: --set holdout=RandomPerUser. Ready splits:
--set holdout.valid=valid.csv --set holdout.test=test.csv. Where taste goes out of date quickly, as with news:
--set method.task.examples.half_life_days=14.

The numbers are upper bounds: histories, neighbours and lists are never longer than the data allows, and a baseline
that the catalog is too large for is left out. Meant for 1,000 to 100,000 items and up to some millions of events, on a
laptop or one GPU; for more items take --set method.task.loss=InBatchSoftmax.
"""

from dataclasses import replace

from jaxrec.config import override
from jaxrec.data.examples import Examples
from jaxrec.data.sources.tabular import Tabular
from jaxrec.experiment import Experiment, Sizes, smaller
from jaxrec.models.profiles.identity import Identity
from jaxrec.models.towers import Content, ItemTower, UserTower
from jaxrec.models.two_tower import TwoTower
from jaxrec.tasks.retrieval import Retrieval
from jaxrec.text_encoder import BagOfWords
from jaxrec.train.loop import Train
from jaxrec.train.optimizers import AdamW
from jaxrec.train.trained import Trained

DIM = 64
SIZES = Sizes(items=100_000, text=384, item_features=50, user_features=20)
SHORT = ("method.task.examples.history_length=32", "method.task.examples.num_targets=8")


def get_config() -> Experiment:
    content = Content(dim=DIM, head=Identity(dim=DIM))
    return Experiment(
        name="your-data-two-tower",
        source=Tabular(),
        method=Trained(
            task=Retrieval(
                model=TwoTower(
                    item=ItemTower(
                        dim=DIM, id_dropout=0.2, content=content.clone(text_dropout=0.5), use_neighbours=True
                    ),
                    history=ItemTower(dim=DIM, id_dropout=0.3, content=content),
                    user=UserTower(dim=DIM, head=Identity(dim=DIM), dropout=0.5),
                ),
                l2=5e-5,
                examples=Examples(hidden=0.3, history_length=256, num_targets=64),
            ),
            optimizer=AdamW(peak_learning_rate=3e-3, warmup_steps=50, final_fraction=0.05, weight_decay=0.0),
            train=Train(num_steps=2_000, batch_size_global=128, evaluate_every=100, checkpoint_every=200, patience=5),
        ),
    )


def debug(experiment: Experiment) -> Experiment:
    return override(smaller(replace(experiment, encoder=BagOfWords(dim=64))), SHORT)
