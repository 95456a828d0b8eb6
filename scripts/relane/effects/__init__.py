"""What an edit did to the planned path: paired differences against the original arm, and what to make of them.

paths: one clip, one arm against the original. statistics: over clips. study: a run's files into rows and summaries.
plots: pictures of both. Nothing here needs a model or a GPU.
"""
