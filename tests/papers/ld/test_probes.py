"""What z holds, of the restyled recordings."""

import numpy as np
import pandas as pd

from lib.papers.ld.probes import items_of, scale_of, shared_by_styles, some


def test_variance_splits_into_what_styles_share_and_what_they_change(prepared):
    items = some(items_of(prepared, "test"), prepared.corpus.styles)
    table = pd.DataFrame(shared_by_styles(items, scale_of(items)))
    shares = table.pivot_table("value", "utterance", "variant")
    assert np.allclose(shares["text_and_time"] + shares["style_given_text"], 1.0)
