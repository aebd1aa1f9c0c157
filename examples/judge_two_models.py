"""Is my new model better than the old one?

Two kinds of models are trained, by anything and anywhere. `sf.judge` asks only what
they said about the same test rows. Its answer has three parts: are the right
classes found more often, do the probabilities fit better, and do the mistakes come
last when rows are ordered by confidence? Each difference has an interval over rows
and over trainings, so three forests are trained and not one.

It needs scikit-learn. For models of yours, save their scores with `sf.save_scores`,
or name the files on the command line: `sfumato judge old='old_*.npz'
new='new_*.npz'`.
"""

from sklearn.datasets import load_digits
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import sfumato as sf

x, y = load_digits(return_X_y=True)
x_train, x_test, y_train, y_test = train_test_split(
    x, y, test_size=0.5, stratify=y, random_state=0
)


def scores(model):
    p = model.fit(x_train, y_train).predict_proba(x_test)
    return {"probs": p, "labels": y_test}


old = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
found = sf.judge(
    {
        "logistic regression": [scores(old)],
        "forest": [
            scores(ExtraTreesClassifier(300, random_state=seed))
            for seed in range(3)
        ],
    },
    against="logistic regression",
)
print(found)
