import pytest

from sfumato.report.template import held


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ('<b> & "x" --drop', '&lt;b&gt; &amp; &#34;x&#34; <code class="option">--drop</code>'),
        ("(--rows train)", '(<code class="option">--rows</code> train)'),
        ("drop it, or leave --batch-size.", 'drop it, or leave <code class="option">--batch-size</code>.'),
        ("a--b, a ---b, -- and --1", "a--b, a ---b, -- and --1"),
        ("E-AURC × 1000 is 5 %", "E\u2011AURC\u00a0×\u00a01000 is 5\u00a0%"),
    ],
)
def test_a_sentence_is_escaped_and_keeps_together_what_belongs_together(text, shown):
    assert str(held(text)) == shown
