"""Label smoothing and softened training targets: decide, train and check.

Names are resolved on first use, so that ``import sfumato`` costs nothing and ``sfumato --help`` never loads torch.
"""
