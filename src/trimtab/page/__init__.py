"""The page to play with: ask, teach, look inside and combine, in a browser, for who has never steered a model.

`trimtab play` opens it. What a tab does stands in a module of its own, without Gradio, and so does how it looks.
"""
