"""What every test needs before it imports, the examples in the package's docstrings among them."""

import os

os.environ.setdefault("KERAS_BACKEND", "torch")  # of itself Keras asks for TensorFlow
