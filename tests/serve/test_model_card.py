import pytest
import yaml

from jaxrec.serve.artifact import read_manifest
from jaxrec.serve.model_card import Card, model_card


def parts(text: str) -> tuple[dict, str]:
    _, front, body = text.split("---\n", 2)
    return yaml.safe_load(front), body


def test_the_card_of_an_artifact(artifact):
    front, body = parts((artifact / "README.md").read_text())
    assert front["library_name"] == "jaxrec" and front["datasets"] == ["planted"] and front["license"] == "other"
    result = front["model-index"][0]["results"][0]
    assert {"type": "ndcg@10", "name": "Two-tower ndcg@10", "value": 0.31} in result["metrics"]
    for said in (
        "nobody is held out",
        "| Two-tower | 0.31 |",
        "Limits",
        "24 items, 40 users",
        "cpu, cuda, tpu",
    ):
        assert said in body


def test_hugging_face_reads_it(artifact):
    hub = pytest.importorskip("huggingface_hub")
    card = hub.ModelCard.load(artifact / "README.md")
    assert card.data.library_name == "jaxrec" and card.data.model_name == "planted"
    assert {r.metric_type: r.metric_value for r in card.data.eval_results}["recall@10"] == 0.2


def test_untrusted_words_stay_words(artifact):
    card = Card(dataset='x"\nlicense: mit', protocol="a | <script>\n# b", description="---")
    front, body = parts(model_card(card, read_manifest(artifact), {}, events=3))
    assert front["license"] == "other" and front["datasets"] == ['x"\nlicense: mit']
    assert "<script>" not in body and "\n# b" not in body and "Not measured." in body
