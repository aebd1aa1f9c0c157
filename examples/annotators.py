"""How should one train where annotators disagree?

Three people look at each picture, and they do not always name the same class. The
usual way is to keep the class that most of them named. The counts say more. Three
answers are few, though, and a network that trains for long learns each picture's
own three by heart: `sf.from_counts` draws them towards the shares of the classes
among all answers. `sf.fit_concentration` says how far, from how often two
annotators of one picture agree. The test is how well a model foretells what ten
other annotators say of pictures that it has not seen. The counts win in either
case. Drawing them to the prior pays in the long training, and costs in the short
one.

It needs scikit-learn. The annotators are simulated: each sees the digit blurred to
four grey squares, and names the class of one of the twenty pictures that then look
most like it. Put counts of your own, (N, K), in their place.
"""

import torch
from sklearn.datasets import load_digits

import sfumato as sf

x, y = (torch.tensor(each) for each in load_digits(return_X_y=True))
x = x.float() / 16
blurred = torch.nn.functional.avg_pool2d(x.view(-1, 1, 8, 8), 4).flatten(1)
alike = torch.cdist(blurred, blurred).topk(20, largest=False).indices
random = torch.Generator().manual_seed(0)


def answers(rows, how_many):
    """How many annotators named each class."""
    chosen = alike[rows].gather(
        1, torch.randint(0, 20, (len(rows), how_many), generator=random)
    )
    return torch.nn.functional.one_hot(y[chosen], 10).sum(1)


rows = torch.randperm(len(y), generator=random)
train, test = rows[:900], rows[900:]
counts, said = answers(train, 3), sf.from_counts(answers(test, 10), 0.0)
shares = counts.sum(0) / counts.sum()
kappa = sf.fit_concentration(counts)
print(f"The prior counts for {kappa:.1f} answers beside the 3 of each picture.")

targets = {
    "the class most named": sf.one_hot(counts.argmax(1), 10),
    "the same, smoothed 0.1 over all": sf.smooth(
        counts.argmax(1), 10, 0.1, over="all"
    ),
    "the shares of 3 answers": sf.from_counts(counts, 0.0),
    "the shares, drawn to the prior": sf.from_counts(counts, kappa, prior=shares),
}
print("log loss of the other annotators' answers, after 200 and 600 steps")
for name, target in targets.items():
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 10)
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    found = []
    for step in range(1, 601):
        optimizer.zero_grad()
        sf.cross_entropy(model(x[train]), target).backward()
        optimizer.step()
        if step in (200, 600):
            with torch.no_grad():
                found.append(sf.cross_entropy(model(x[test]), said))
    print(f"  {name:31}  {found[0]:.2f}  {found[1]:.2f}")
print(f"  no model can get below           {said.entropy().mean():.2f}")
