import re

import pytest

from sfumato.glossary import GLOSSARY
from sfumato.report.template import CONTENTS_HERE, GLOSSARY_HERE, finished, glossary, with_contents, with_links


def links(page):
    """The terms and the words that are linked, in their order."""
    return re.findall(r'<a class="term" href="#term-([\w-]+)">(.*?)</a>', with_links(page)[0], re.DOTALL)


def section(text):
    return f"<section>{text}</section>"


def test_the_first_occurrence_on_the_page_is_linked():
    page = section("<p>An arm and an arm.</p>") + section("<p>No other.</p><p>Two arms, one arm.</p>")
    linked, used = with_links(page)
    assert links(page) == [("arm", "arm")]
    assert 'An <a class="term" href="#term-arm">arm</a> and an arm.' in linked
    assert used == ["arm"]


def test_nothing_but_links_is_added():
    assert with_links("no tag, no arm")[0] == "no tag, no arm"
    page = section('<p title="an arm">1 &lt; 2 arms<br>and <b>log loss</b> (NLL) <img alt="ECE"></p>') + "<p>arm</p>"
    assert re.sub(r'<a class="term"[^>]*>|</a>', "", with_links(page)[0]) == page
    assert [term for term, _ in links(page)] == ["arm", "nll"]


@pytest.mark.parametrize("entry", GLOSSARY)
def test_each_word_of_each_term_is_found(entry):
    for word in GLOSSARY[entry].words:
        assert links(section(f"<p>({word})</p>")) == [(entry, word)]
        for other in (f"un{word}", f"un-{word}", f"{word}ness", f"{word}-ness"):
            assert (entry, word) not in links(section(f"<p>{other}</p>"))


def test_the_longest_of_several_terms_is_linked():
    assert links(section("<p>calibration error by chance, balanced accuracy, logit gap</p>")) == [
        ("ece_noise_floor", "calibration error by chance"),
        ("balanced_accuracy", "balanced accuracy"),
        ("logit_gap", "logit gap"),
    ]


def test_capitals_and_spaces_and_hyphens_that_do_not_break_are_read_as_usual_ones():
    page = section("<p>Log\N{NO-BREAK SPACE}loss, Calibration&nbsp;error, E\u2011AURC, one&#8209;hot, over\nall</p>")
    assert [term for term, _ in links(page)] == ["nll", "ece", "eaurc", "one-hot", "over"]
    assert links(section("<p>nll, ece, a NLLs</p>")) == []


@pytest.mark.parametrize(
    "left_alone",
    ["<h2>arm</h2>", "<pre><code>arm</code></pre>", '<a href="#x">arm</a>', "<svg><text>arm</text></svg>",
     "<style>arm</style>", "<script>arm > 1</script>", '<td translate="no">arm <b>arm</b></td>', "<!-- arm -->",
     '<div translate="no"><div>arm</div> arm</div>'],
)  # fmt: skip
def test_headings_code_figures_and_words_of_the_user_are_left_alone(left_alone):
    assert links(section(left_alone)) == []
    assert links(section(f"{left_alone}<p>arm</p>")) == [("arm", "arm")]


def test_the_glossary_explains_the_terms_of_the_page_and_no_other():
    page = finished(f"{section('<p>One arm, its ECE.</p>')}{GLOSSARY_HERE}")
    assert re.findall(r'<dt id="([\w-]+)">', page) == ["term-arm", "term-ece"]
    assert f"<dd>{GLOSSARY['arm'].text}</dd>" in page
    assert set(re.findall('href="#(.*?)"', page)) == {"term-arm", "term-ece"}


def test_a_page_without_terms_has_no_glossary():
    assert finished(f"{section('<p>Nothing.</p>')}{GLOSSARY_HERE}") == section("<p>Nothing.</p>")
    assert glossary([]) == ""


def test_the_contents_list_each_section_with_an_anchor_of_its_own():
    page = with_contents(f'{CONTENTS_HERE}<h2>Use it</h2><h2 id="run-1">Use &amp; it</h2><h2>Use it</h2><h2>∞</h2>')
    listed = re.findall(r'<li><a href="#(.*?)">(.*?)</a></li>', page)
    assert listed == [("use-it", "Use it"), ("run-1", "Use &amp; it"), ("use-it-more", "Use it"), ("section", "∞")]
    assert re.findall(r'<h2 id="(.*?)">(.*?)</h2>', page) == listed
    assert '<nav class="contents" aria-label="Contents">' in page
    assert re.findall(r'<option value="#(.+?)">(.*?)</option>', page) == listed


def test_no_anchor_is_one_that_another_element_has():
    page = with_contents(f'{CONTENTS_HERE}<section id="differences"><h2>Differences</h2></section><dl id="use"></dl>')
    assert re.findall(r'\bid="(.*?)"', page) == ["differences", "differences-more", "use"]
    assert '<li><a href="#differences-more">Differences</a></li>' in page


def test_names_in_headings_are_listed_as_text():
    page = with_contents(f'{CONTENTS_HERE}<h2>&lt;b&gt; <span class="quiet">two</span></h2>')
    assert '<li><a href="#b-two">&lt;b&gt; two</a></li>' in page


def test_terms_are_explained_for_soft_labels_on_a_page_that_speaks_of_agreement():
    page = finished(section("<p>confidence − agreement, ECE, agreement with the annotators</p>") + GLOSSARY_HERE)
    assert '<dt id="term-signed_gap">confidence − agreement</dt><dd>Mean confidence minus agreement;' in page
    assert "<dd>Mean distance between confidence and agreement over 15 bins" in page
    assert "accuracy" not in page


def test_terms_are_explained_for_hard_labels_elsewhere():
    page = finished(section("<p>confidence − accuracy, ECE</p>") + GLOSSARY_HERE)
    assert '<dt id="term-signed_gap">confidence − accuracy</dt><dd>Mean confidence minus accuracy;' in page
    assert "agreement" not in page
