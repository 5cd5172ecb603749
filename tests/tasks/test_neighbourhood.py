"""How many text neighbours an item has in catalogs of all sizes."""

import pytest

from jaxrec.tasks.item_table import MAX_LINKS, Neighbourhood


@pytest.mark.parametrize(
    "items, count", [(10, 10), (1_682, 300), (6_000, 300), (20_000, 100), (100_000, 20), (10**7, 8)]
)
def test_a_large_catalog_keeps_fewer_each(items, count):
    assert Neighbourhood(count=300).count_for(items) == count
    assert count == 8 or items * count <= MAX_LINKS
    assert Neighbourhood(count=0).count_for(items) == 0
    assert Neighbourhood(count=5).count_for(items) == 5
