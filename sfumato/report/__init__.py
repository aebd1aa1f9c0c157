"""Tables, figures and pages: of a comparison, of several, of a judgement and of an audit."""
