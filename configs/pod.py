"""A pod of 256 chips: BERT-base trained along with the towers, 10 million items. Checked by shapes alone, not measured:
2.67 billion parameters; 4.3 GB on a chip with gradients, the moments of Adam and the item table, before activations.

jaxrec shapes --config configs/pod.py
jaxrec train --config configs/pod.py --set source.interactions=log.parquet --set source.catalog=items.parquet \
    --workdir /shared/runs/pod (on every host, with --coordinator, --num-processes and --process-id)

Rows of the two id tables and of the token table lie split over mesh.model, a batch over mesh.data: 512 askers and 512
item texts of 64 tokens on each chip and step. Matrix products are bfloat16, parameters float32; each BERT layer is
recomputed in the backward pass.
"""

from dataclasses import replace

from jaxrec.classic.popularity import Popular, RecentPopular
from jaxrec.data.examples import Examples
from jaxrec.data.sources.synthetic import Synthetic
from jaxrec.data.sources.tabular import Tabular
from jaxrec.experiment import Experiment, Sizes, smaller
from jaxrec.models.encoders.bert import Bert
from jaxrec.models.encoders.tuned import TunedBert
from jaxrec.models.profiles.identity import Identity
from jaxrec.models.scorers.dot import Dot
from jaxrec.models.towers import Content, ItemTower, UserTower
from jaxrec.models.two_tower import TwoTower
from jaxrec.parallel.mesh import MeshShape
from jaxrec.tasks.item_table import Neighbourhood
from jaxrec.tasks.retrieval import FineTune, InBatchSoftmax, Retrieval
from jaxrec.text_encoder import TextEncoder
from jaxrec.train.loop import Train
from jaxrec.train.optimizers import AdamW
from jaxrec.train.trained import Trained

DIM, TOKENS, DTYPE = 128, 64, "bfloat16"
SIZES = Sizes(items=10_000_000, text=0, item_features=64, user_features=32, tokens=TOKENS)


def get_config() -> Experiment:
    bert = TunedBert(bert=Bert(dtype=DTYPE, remat=True))
    return Experiment(
        name="pod",
        source=Tabular(),
        encoder=TextEncoder("bert-base-uncased", max_length=TOKENS, dtype=DTYPE),
        method=Trained(
            task=Retrieval(
                model=TwoTower(
                    item=ItemTower(
                        dim=DIM, content=Content(dim=DIM, head=Identity(dim=DIM), encoder=bert, dtype=DTYPE)
                    ),
                    history=ItemTower(dim=DIM, id_dropout=0.0, content=None),
                    user=UserTower(dim=DIM, head=Identity(dim=DIM), dropout=0.1, dtype=DTYPE),
                    scorer=Dot(dtype=DTYPE),
                ),
                loss=InBatchSoftmax(),
                fine_tune=FineTune(max_tokens=TOKENS),
                examples=Examples(cut="time", history_length=128, num_targets=1),
                neighbourhood=Neighbourhood(count=0),
            ),
            optimizer=AdamW(
                peak_learning_rate=1e-3, warmup_steps=2_000, final_fraction=0.05, rates=((r"content/encoder/", 0.02),)
            ),
            train=Train(num_steps=200_000, batch_size_global=8_192, evaluate_every=10_000, checkpoint_every=2_000),
        ),
        mesh=MeshShape(data=16, model=16),
        baselines=(Popular(), RecentPopular()),
    )


def debug(experiment: Experiment) -> Experiment:
    """The same job with MiniLM and generated data, on the devices that are here."""
    method = experiment.method
    task, model = method.task, method.task.model
    item = model.item.clone(content=model.item.content.clone(encoder=None))
    small = replace(
        experiment,
        source=Synthetic(users=40, items=60, tastes=4, events_per_user=12),
        encoder=replace(experiment.encoder, encoder="minilm"),
        method=replace(
            method,
            task=replace(task, model=model.clone(item=item), examples=replace(task.examples, history_length=16)),
        ),
        mesh=MeshShape(),
    )
    return smaller(small, num_steps=6, batch_size_global=16, evaluate_every=3, checkpoint_every=3, log_every=2)
