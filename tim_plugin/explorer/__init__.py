"""The page on which a person chooses among answers; all but ``page`` needs no gradio."""
