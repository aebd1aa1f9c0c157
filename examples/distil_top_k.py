"""What does a student gain from the three largest probabilities of its teacher?

A teacher's probabilities for every class are too much to store where there are many
classes. Its few largest are not. Here a large forest, trained on 1,000 pictures,
teaches a small network that sees only 200 others. `sf.distil_top` makes the target
of the stored part, and `rest` says what happens to the probability that was not
stored. The table shows the mean over five students, on rows that neither has seen.

It needs scikit-learn. Where a teacher is a language model, the lists are (N, k)
too, and `sf.linear_cross_entropy` takes the same target without making any logits.
"""

import torch
from sklearn.datasets import load_digits
from sklearn.ensemble import ExtraTreesClassifier

import sfumato as sf

x, y = (torch.tensor(each) for each in load_digits(return_X_y=True))
x, rows = (
    x.float() / 16,
    torch.randperm(len(y), generator=torch.Generator().manual_seed(0)),
)
train, taught, test = rows[:200], rows[200:1200], rows[1200:]

teacher = ExtraTreesClassifier(300, random_state=0).fit(x[taught], y[taught])
probabilities = (
    torch.tensor(teacher.predict_proba(x[train])).float() ** 2
)  # a forest is less sure than it could be
stored = (probabilities / probabilities.sum(1, keepdim=True)).topk(3)


def student(target, seed):
    torch.manual_seed(seed)
    model = torch.nn.Sequential(
        torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 10)
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(300):
        optimizer.zero_grad()
        sf.cross_entropy(model(x[train]), target).backward()
        optimizer.step()
    with torch.no_grad():
        logits = model(x[test])
    right = (logits.argmax(1) == y[test]).float().mean()
    return torch.stack([sf.cross_entropy(logits, y[test]), right])


top = (
    y[train],
    stored.indices,
    stored.values,
    0.5,
)  # half of each target is the label, and half the teacher
targets = {
    "labels alone": sf.one_hot(y[train], 10),
    "top 3, rest even": sf.distil_top(*top, rest="uniform"),
    "top 3, renormalised": sf.distil_top(*top, rest="renormalise"),
    "top 3, rest dropped": sf.distil_top(*top, rest="drop"),
}
print("target               log loss  accuracy")
for name, target in targets.items():
    loss, accuracy = (
        torch.stack([student(target, seed) for seed in range(5)]).mean(0).tolist()
    )
    print(f"{name:19}  {loss:8.3f}  {accuracy:8.1%}")
