"""MovieLens-100K by time, many rankers and recency blended, refitted: the main job of `jaxrec demo`. A CPU; see README.

Under `--set holdout=RandomPerUser`, `LeaveLastOut`, `TimePerUser` or `ColdItems`, each with `--set holdout.refit=true`,
it learns other weights for the same parts.
"""

from dataclasses import replace

from jaxrec.data.holdout import TimeCutoff
from jaxrec.data.sources.movielens import MovieLens
from jaxrec.experiment import Experiment
from jaxrec.hybrid.hybrid import Hybrid
from jaxrec.tasks.task import Sizes
from jaxrec.text_encoder import BagOfWords

SIZES = Sizes(items=1_682, text=384, item_features=20, user_features=24)


def get_config() -> Experiment:
    return Experiment(
        name="hybrid-movielens-100k",
        source=MovieLens("100k"),
        holdout=TimeCutoff(refit=True),
        method=Hybrid(),
        show_user="42",
    )


def debug(experiment: Experiment) -> Experiment:
    method = replace(experiment.method, parts=experiment.method.parts[:2], folds=1, users=100)
    return replace(experiment, encoder=BagOfWords(dim=64), method=method)
