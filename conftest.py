"""What every test needs before it imports, the examples in the package's docstrings among them."""

import importlib.util
import os

os.environ.setdefault("KERAS_BACKEND", "torch")  # of itself Keras asks for TensorFlow

# Where Triton is not installed, its module cannot be imported for its examples.
collect_ignore = [] if importlib.util.find_spec("triton") else ["sfumato/loss/_triton_rows.py"]
