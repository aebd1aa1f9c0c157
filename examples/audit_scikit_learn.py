"""Can the probabilities of a random forest be believed?

A forest's probability is the share of its trees that vote for a class. Trees rarely
agree on everything, so the forest should be less sure than it could be. The audit
says whether it is, how much, and what to do. The figure shows how often the model
is right at each confidence, before and after.

It needs scikit-learn and matplotlib. For a model of yours, save its probabilities
and labels, and run `sfumato audit val.npz`.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import train_test_split

import sfumato as sf

x, y = load_digits(return_X_y=True)
split = train_test_split(x, y, test_size=0.5, stratify=y, random_state=0)
x_train, x_test, y_train, y_test = split
model = RandomForestClassifier(300, random_state=0).fit(x_train, y_train)
logits = np.log(
    np.clip(model.predict_proba(x_test), 1e-4, 1)
)  # no class is impossible

audit = sf.evaluate.audit(logits=logits, labels=y_test)
print(*audit.summary, sep="\n")
for finding in audit.findings:
    print(f"- {finding.text}\n  {finding.advice}")

figure, axes = plt.subplots(figsize=(4.5, 4), layout="constrained")
axes.plot([0, 1], [0, 1], color="black", linewidth=0.8)
temperature = audit.metrics["temperature"].value
for name, divisor, line in (
    ("as it is", 1.0, "o-"),
    (f"logits divided by {temperature:.2f}", temperature, "o--"),
):
    p = np.exp(logits / divisor)
    p /= p.sum(axis=1, keepdims=True)
    bins = sf.evaluate.reliability(p.max(axis=1), p.argmax(axis=1) == y_test)
    many = bins.count >= 10
    x, y = bins.confidence[many], bins.accuracy[many]
    axes.plot(x, y, line, color="#33566b", label=name)
axes.set(xlabel="confidence: the largest probability", xlim=(0, 1.02))
axes.set(ylabel="share of rows that are right", ylim=(0, 1.02))
axes.legend(frameon=False)
figure.savefig("reliability.svg")
