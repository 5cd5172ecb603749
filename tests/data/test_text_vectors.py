"""What training and serving read of a text."""

import numpy as np

from jaxrec.data.text_vectors import unit_text_vectors


def test_rows_have_length_one_and_silence_is_zero():
    vectors = np.array([[3.0, 4.0], [5.0, 0.0], [1.0, 1.0], [0.0, 0.0], [2.0, 2.0]], np.float32)
    units = unit_text_vectors(vectors, ["said", "", "  ", "no known word", None])
    np.testing.assert_allclose(units, [[0.6, 0.8], [0, 0], [0, 0], [0, 0], [0, 0]])
    assert units.dtype == np.float32
    np.testing.assert_allclose(unit_text_vectors(vectors)[1:3], [[1, 0], [0.5**0.5, 0.5**0.5]], rtol=1e-6)
    assert unit_text_vectors(np.zeros((2, 0)), ["a", ""]).shape == (2, 0)
    assert unit_text_vectors(np.zeros((0, 3)), []).shape == (0, 3)
