"""The report: figures shown, hostile text kept text, nothing loaded from outside; and the map of items."""

import base64
import dataclasses
import hashlib
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser

import numpy as np
import pytest

from jaxrec.evaluate.item_map import item_map
from jaxrec.evaluate.report import (
    Card,
    Dial,
    MapItem,
    Pick,
    Point,
    Profile,
    Report,
    Row,
    Segment,
    Spread,
    Tag,
    metric_label,
    to_html,
    verdict,
    write_report,
)
from jaxrec.ranker import Share

HOSTILE = (
    "</script></title><script>document.title='taken'</script><img src=x onerror='document.title=1'> & \u2028 夏 🎬"
)
QUOTES = """" onmouseover="alert(1)" x='{{ 7 * 7 }}' <!-- <script>"""


def metrics(mean, low=None, high=None):
    return {"ndcg@10": (mean, low, high), "coverage@10": (0.5, None, None)}


def example(text: str = "Toy Story (1995)", **changes) -> Report:
    report = Report(
        title=f"A run {text}",
        summary=(f"Trained on {text}.", "A second paragraph."),
        notice=f"Generated data. {text}",
        facts=(("Command", f"jaxrec train {text}"), ("Users", "943")),
        cleaning=(f"3 duplicates dropped {text}",),
        comparison=(
            Row(f"Two-tower {text}", metrics(0.2591, 0.2, 0.318), ours=True),
            Row("EASE", metrics(0.165, 0.11, 0.22)),
            Row("Popular", {"ndcg@10": (0.129, None, None)}),
        ),
        curves=tuple(Point(step, loss=9.0 - step, metric=step / 10 if step % 2 else None) for step in range(6)),
        segments=(Segment(f"new users {text}", 1234, metrics(0.11, 0.05, 0.17)),),
        shares=(
            Share(f"a {text}", 0.2, -0.0012, 1.26),
            Share("EASE", 0.31, 0.0345, 0.0),
            Share("signals", None, 0.0, 0.0),
        ),
        spread=(Spread("EASE", 0.224, 0.331, miscalibration=0.777), Spread("Popular", 0.0, 0.5)),
        dials=(Dial("as ranked", 0.2741, 0.3, 0.5, None, 0.1), Dial(f"diversity {text}", 0.2702, 0.3, 0.61, 0.6, 0.1)),
        items=tuple(MapItem(x / 50, -x / 50, f"{text} {x}", f"{text} genre {x % 11}") for x in range(50)),
        cards=(Card(text, (text, "Fargo"), (Pick(1, text, (text,), f"because of {text}", 3.14159), Pick(2, "B"))),),
        profiles=(Profile(text, (Tag(text, 0.75, (text,)), Tag("War", -0.25), Tag("star trek", 0.1, kind="word"))),),
    )
    return dataclasses.replace(report, **changes)


class Page(HTMLParser):
    """The elements of a page, its visible text, and its scripts."""

    def __init__(self, html: str):
        super().__init__(convert_charrefs=True)
        self.elements, self.open, self.text, self.scripts = [], [], "", []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in ("meta", "link", "img", "br", "input"):
            self.open.append(tag)
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data):
        if self.open and self.open[-1] == "script":
            self.scripts[-1] += data
        elif not self.open or self.open[-1] != "style":
            self.text += data


@pytest.fixture(scope="module")
def page():
    return Page(to_html(example()))


def test_every_element_is_closed_and_the_figures_are_shown(page):
    assert page.open == []
    text = re.sub(r"\s+", " ", page.text)
    for shown in ("0.259", "0.200 to 0.318", "0.165", "NDCG@10", "Coverage@10", "1,234", "22.4 %", "33.1 %"):
        assert shown in text
    for shown in ("3.142", "3 duplicates dropped", "because of Toy Story (1995)", "Generated data", "0.750", "943"):
        assert shown in text


def test_words_stand_in_quotes_and_tags_do_not():
    html = to_html(example())
    assert "“star trek”" in html and "<bdi>War</bdi>" in html


def test_tables_have_captions_and_headings_and_charts_have_words(page):
    tags = [tag for tag, _ in page.elements]
    assert tags.count("caption") == tags.count("table") == 6
    assert all("scope" in attributes for tag, attributes in page.elements if tag == "th")
    pictures = [attributes for _, attributes in page.elements if attributes.get("role") == "img"]
    assert len(pictures) == 5 and all(attributes["aria-label"] for attributes in pictures)
    assert ("html", {"lang": "en"}) in page.elements


@pytest.mark.parametrize("text", [HOSTILE, QUOTES], ids=["elements", "quotes"])
def test_hostile_text_stays_text(text, page):
    hostile = Page(to_html(example(text)))
    assert hostile.open == []
    assert [tag for tag, _ in hostile.elements] == [tag for tag, _ in page.elements]
    assert hostile.text.count(text) >= 15
    assert not any(name.startswith("on") for _, attributes in hostile.elements for name in attributes)
    drawn = json.loads(hostile.scripts[0])
    titles = [row["item"] for rows in datasets(drawn["items"]) for row in rows]
    assert titles == [f"{text} {x}" for x in range(50)]
    assert "<" not in hostile.scripts[0]


def datasets(spec):
    return [spec["data"]["values"]] if "values" in spec["data"] else list(spec["datasets"].values())


def test_nothing_is_loaded_from_outside():
    html = to_html(example("https://example.com/x.png"))
    page = Page(html)
    for tag, attributes in page.elements:
        assert tag not in ("link", "img", "iframe", "object", "embed", "base", "form")
        assert "src" not in attributes and "srcset" not in attributes
        assert attributes.get("href", "#").startswith("#")
    style = re.search(r"<style>(.*?)</style>", html, re.DOTALL)[1]
    assert "url(" not in style and "@import" not in style
    policy = next(a["content"] for _, a in page.elements if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'; ") and "http" not in policy and "unsafe-eval" not in policy
    digests = {base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in page.scripts[1:]}
    assert set(re.findall(r"'sha256-(.*?)'", policy)) == digests and len(digests) == 2


def test_parts_that_are_empty_are_left_out():
    page = Page(to_html(Report("Only a title")))
    assert "Only a title" in page.text and page.scripts == []
    assert not {"section", "table", "figure"} & {tag for tag, _ in page.elements}


def test_plain_data_there_and_back_and_one_file(tmp_path):
    report = example()
    assert json.loads(report.to_json())["comparison"][0]["metrics"]["ndcg@10"] == [0.2591, 0.2, 0.318]
    path = write_report(tmp_path / "new folder" / "report.html", report)
    assert [p.name for p in path.parent.iterdir()] == ["report.html"]
    assert path.read_text(encoding="utf-8") == to_html(report)


def test_the_parts_of_a_blend_stand_in_order_of_what_they_add():
    page = Page(to_html(example("b")))
    part = page.text[page.text.index("The parts of the blend") :]
    assert part.index("EASE") < part.index("signals") < part.index("a b")
    assert "Miscalibration is how far" in page.text and "0.777" in page.text
    assert "+0.0345" in part and "-0.0012" in part and "0.310" in part


def test_figures_that_are_not_finite_do_not_break_the_page():
    curves = (Point(0, float("nan"), None), Point(1, 2.0, float("inf")), Point(2, 1.0, 0.1))
    page = Page(to_html(example(curves=curves, spread=(Spread("A", float("nan"), 0.1),))))
    assert page.open == [] and "nan" not in page.text.lower()


def test_the_verdict_compares_with_the_best_simple_method():
    ours, ease = Row("Ours", {"ndcg@10": (0.30, 0.28, 0.32)}, ours=True), Row("EASE", {"ndcg@10": (0.25, 0.23, 0.27)})
    popular = Row("Popular", {"ndcg@10": (0.1, None, None)})
    assert verdict(Report("", comparison=(ours, popular, ease))) == (
        "Ours reaches NDCG@10 0.300 (95 % interval 0.280 to 0.320). "
        "That is above EASE, the best of the simple methods on the same split, with 0.250."
    )
    close = dataclasses.replace(ease, metrics={"ndcg@10": (0.31, 0.29, 0.33)}, behind=(-0.01, -0.024, 0.003))
    assert verdict(Report("", comparison=(ours, close))).endswith(
        "That is below EASE, the best of the simple methods on the same split, with 0.310: -0.010 on the same users "
        "(-0.024 to +0.003)."
    )
    assert verdict(Report("", comparison=(ease,))) == "" and verdict(Report("")) == ""
    assert [metric_label(m) for m in ("ndcg@10", "hit_rate@20", "mrr")] == ["NDCG@10", "Hit rate@20", "MRR"]


@pytest.mark.skipif(not shutil.which("chromium"), reason="needs a browser")
def test_a_browser_draws_the_charts_and_runs_nothing_else(tmp_path):
    path = write_report(tmp_path / "report.html", example(HOSTILE))
    options = "--headless=new --no-sandbox --disable-gpu --virtual-time-budget=8000 --enable-logging=stderr --dump-dom"
    result = subprocess.run(
        ["chromium", *options.split(), f"--user-data-dir={tmp_path}", path.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
    )
    if "report of a run" not in result.stdout:
        pytest.skip("this browser opens no file here")  # as one that is confined to its own folders
    assert "CONSOLE" not in result.stderr, "an error of the page, or something the policy held back"
    assert result.stdout.count('class="marks"') == 5
    assert "<title>taken" not in result.stdout


# --- the map of items --------------------------------------------------------------------------------------------


def test_points_in_a_plane_keep_their_proportions():
    """Vectors that lie in a plane of a larger space: all distances are kept up to one factor."""
    rng = np.random.default_rng(0)
    flat = rng.normal(size=(30, 2)) * [3, 1]
    basis = np.linalg.qr(rng.normal(size=(8, 2)))[0]
    placed = item_map(flat @ basis.T + 5)
    distances = [np.linalg.norm(p[:, None] - p[None], axis=-1) for p in (flat, placed)]
    ratio = distances[1][~np.eye(30, dtype=bool)] / distances[0][~np.eye(30, dtype=bool)]
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-4)
    assert np.abs(placed).max() == pytest.approx(1) and placed.var(axis=0)[0] > placed.var(axis=0)[1]


def test_the_map_does_not_depend_on_order_place_size_or_sign():
    vectors = np.random.default_rng(1).normal(size=(20, 5))
    placed = item_map(vectors)
    order = np.random.default_rng(2).permutation(20)
    np.testing.assert_allclose(item_map(vectors[order]), placed[order], atol=1e-5)
    np.testing.assert_allclose(item_map(100 * vectors + 7), placed, atol=1e-5)
    assert placed.max(axis=0).tolist() == np.abs(placed).max(axis=0).tolist()


@pytest.mark.parametrize("vectors", [np.zeros((0, 4)), np.ones((1, 4)), np.ones((5, 4)), np.ones((3, 0))])
def test_where_there_is_no_direction_all_stand_in_the_middle(vectors):
    assert item_map(vectors).tolist() == [[0.0, 0.0]] * len(vectors)


def test_one_dimension_and_unknown_vectors():
    placed = item_map(np.array([[1.0], [2.0], [np.nan], [4.0]]))
    np.testing.assert_allclose(placed[[0, 1, 3], 0], np.array([-4, -1, 5]) / 5, atol=1e-6)
    assert placed[2].tolist() == [0.0, 0.0] and not placed[:, 1].any()
