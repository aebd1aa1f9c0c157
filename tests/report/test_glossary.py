from sfumato.evaluate.metrics.registry import FEATURE_LABELS, METRICS
from sfumato.glossary import GLOSSARY


def test_every_metric_has_an_entry_under_the_name_that_the_tables_give_it():
    plain = [name for name in METRICS if not name.endswith("_after_temperature") and "_at_" not in name]
    assert set(plain) <= set(GLOSSARY)
    assert [GLOSSARY[name].title for name in plain] == [METRICS[name].heading for name in plain]
    assert [GLOSSARY[name].title for name in FEATURE_LABELS] == list(FEATURE_LABELS.values())


def test_no_word_stands_for_two_terms():
    words = [word for entry in GLOSSARY.values() for word in entry.words]
    assert len(words) == len(set(words))


def test_an_entry_is_one_paragraph_of_plain_text():
    for entry in GLOSSARY.values():
        assert entry.words
        assert entry.text.endswith((".", ")"))
        assert not set("<>&\n") & set(entry.title + entry.text)
