"""The page on which a person chooses among answers: ``tree``, ``choice`` and ``session`` need no gradio, ``page`` does."""
