"""MovieLens-100K by time: popularity, neighbours and EASE, each tuned with 20 trials on validation. Not measured.

jaxrec compare --config configs/compare_movielens_100k.py --workdir runs/compare
"""

from dataclasses import replace

from jaxrec.classic.content import ContentNeighbours
from jaxrec.classic.ease import Ease
from jaxrec.classic.neighbours import ItemNeighbours
from jaxrec.classic.popularity import Popular, RecentPopular
from jaxrec.data.sources.synthetic import Synthetic
from jaxrec.study.study import Study
from jaxrec.text_encoder import BagOfWords


def get_config() -> Study:
    return Study(
        name="movielens-100k",
        methods=(Popular(), RecentPopular(), ItemNeighbours(), ContentNeighbours(), Ease()),
    )


def debug(study: Study) -> Study:
    return replace(study, source=Synthetic(users=80, items=100), encoder=BagOfWords(dim=64), trials=2, ks=(10,))
