"""The figures of the report pages: each function draws one and returns its axis, its numbers, and the figure in words.

An arm has one colour and one marker, is dashed with its temperature, and theory is in ink. Pages of a comparison, of
several, of a judgement and of an audit draw the same figures.
"""
