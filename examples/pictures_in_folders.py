"""Which ε is right for pictures in folders?

The folder `pictures` has one folder of files for each class, as many data sets
come. `sf.compare` trains one-hot and at three strengths, all from the same weights
and on the same batches. The validation rows choose among the strengths, and the
test rows say whether the chosen one is better than one-hot. The command does the
same: `sfumato compare pictures --ladder 0,0.05,0.1,0.2`.

It needs scikit-learn, whose handwritten digits are the pictures. Put a folder of
your own in their place. The page of the comparison is in the folder `runs`.
"""

from pathlib import Path

from PIL import Image
from sklearn.datasets import load_digits

import sfumato as sf

digits = load_digits()
for row, (picture, label) in enumerate(
    zip(digits.images, digits.target, strict=True)
):
    folder = Path("pictures") / str(label)
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray((picture * 15).astype("uint8")).save(folder / f"{row}.png")

found = sf.compare("pictures", ladder=[0, 0.05, 0.1, 0.2], seeds=3, epochs=15)
print(found)
