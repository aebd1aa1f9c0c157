"""Tables, figures and pages: of a comparison, of several, of a judgement and of an audit.

Nothing here imports torch, or anything of the lab: a page is made from the folder that a run left.
"""
