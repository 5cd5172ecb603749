"""The page in a real browser: search, history, sentence, like, dials, and titles that stay text."""

import pytest
from browser import changed, needed, opened, served, titles

pytestmark = needed


@pytest.fixture(scope="module")
def address(artifact, tmp_path_factory):
    with served(artifact, tmp_path_factory.mktemp("page") / "events.sqlite") as address:
        yield address


@pytest.fixture
def page(address):
    with opened(address) as page:
        yield page


def test_a_person_steers_the_list_by_keyboard(page):
    assert "popular" in page.inner_text("#basis") or "most people" in page.inner_text("#basis")
    page.fill("#find", "sad film 1")
    page.wait_for_selector("#found li")

    def take():
        page.press("#find", "ArrowDown")
        page.press("#find", "Enter")

    found = changed(page, take)
    assert "Sad film" in page.inner_text("#history") and all("Sad" in title for title in found[:5])
    found = changed(page, lambda: page.fill("#sentence", "a comedy, no drama"))
    assert all("Funny" in title for title in found) and "Comedy; no Drama" in page.inner_text("#understood")
    first = found[0]
    found = changed(page, lambda: page.locator("#cards button >> text=Not interested").first.click())
    assert first.split(". ")[1] not in " ".join(found)


def test_a_conversation_steers_the_list_and_can_be_left(page):
    before = titles(page)
    page.click("#talk summary")

    def say(words):
        page.fill("#turn", words)
        page.press("#turn", "Enter")

    found = changed(page, lambda: say("a sad film"))
    assert all("Sad" in title for title in found)
    assert found[0].split(". ")[1] in page.locator("#turns li").nth(1).inner_text()
    found = changed(page, lambda: say("no, a funny one, no drama"))
    assert all("Funny" in title for title in found) and page.locator("#turns li").count() == 4
    assert changed(page, lambda: page.click("#over")) == before and not page.locator("#turns li").count()


def test_a_card_shows_what_its_score_comes_from(page):
    changed(page, lambda: page.fill("#user", "u4"))
    first = page.locator("#cards .card").first
    assert first.locator(".sources span").count() == 2 and "behaviour" in first.inner_text()


def test_likes_of_a_user_are_events(page):
    found = changed(page, lambda: page.fill("#user", "u4"))
    after = changed(page, lambda: page.locator("#cards button >> text=Like").first.click())
    assert found[0].split(". ")[1] not in [title.split(". ")[1] for title in after]


def test_hostile_titles_stay_text(page):
    assert page.locator("#cards h3 b").count() == 0
    assert all("<b>" in title for title in titles(page))


def test_the_plain_list_stands_beside_and_the_page_fits_a_phone(page):
    page.check("#compare")
    page.wait_for_selector("#plain .card")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.locator("#map").bounding_box()["width"] <= 390
