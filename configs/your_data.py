"""Your own log and catalog: many rankers and recency, blended. Not measured: what it scores depends on your data.

jaxrec train --config configs/your_data.py --set source.interactions=log.csv --set source.catalog=items.csv \
    --workdir runs/mine

Column names: --map item_id=movieId. No timestamps: --set holdout=RandomPerUser. Ready splits:
--set holdout.valid=valid.csv --set holdout.test=test.csv. The weights of the blend are learned on cuts of the training
part like the holdout's, so it follows the recent where that helps.

Meant for up to 20,000 items on a laptop: EASE, SLIM and the content ridge hold items x items numbers, and are left out
with a line where the catalog is too large for them. configs/your_data_two_tower.py trains by gradient steps instead, on
any number of items.
"""

from dataclasses import replace

from jaxrec.data.sources.tabular import Tabular
from jaxrec.experiment import Experiment
from jaxrec.hybrid.hybrid import Hybrid
from jaxrec.tasks.task import Sizes
from jaxrec.text_encoder import BagOfWords

SIZES = Sizes(items=20_000, text=384, item_features=50, user_features=20)


def get_config() -> Experiment:
    return Experiment(name="your-data", source=Tabular(), method=Hybrid())


def debug(experiment: Experiment) -> Experiment:
    method = replace(experiment.method, folds=1, users=100)
    return replace(experiment, encoder=BagOfWords(dim=64), method=method)
