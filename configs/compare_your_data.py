"""Your own log and catalog, every method of the shelf tuned alike. Not measured: what it scores depends on your data.

jaxrec compare --config configs/compare_your_data.py --set source.interactions=log.csv --set source.catalog=items.csv \
    --workdir runs/compare

Column names: --map item_id=movieId. No timestamps: --set holdout=RandomPerUser. Ready splits:
--set holdout.valid=valid.csv --set holdout.test=test.csv. A method that the data does not suit (no text, too many
items) is left out and named.
"""

from dataclasses import replace

from jaxrec.classic.content import ContentNeighbours
from jaxrec.classic.ease import Ease
from jaxrec.classic.neighbours import ItemNeighbours
from jaxrec.classic.popularity import Popular, RecentPopular
from jaxrec.data.sources.tabular import Tabular
from jaxrec.study.study import Study
from jaxrec.text_encoder import BagOfWords


def get_config() -> Study:
    return Study(
        name="your-data",
        source=Tabular(),
        methods=(Popular(), RecentPopular(), ItemNeighbours(), ContentNeighbours(), Ease()),
    )


def debug(study: Study) -> Study:
    return replace(study, encoder=BagOfWords(dim=64), trials=2, ks=(10,))
