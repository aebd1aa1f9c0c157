"""Hugging Face: the loss in Trainer and in TRL's SFT, and scores for ``sfumato judge``."""

from sfumato.extras import framework_imports as _framework_imports

with _framework_imports("sfumato.adapters.hf", "transformers"):
    from sfumato.adapters.hf.fused_head import FusedHead as FusedHead
    from sfumato.adapters.hf.fused_head import fuse_head as fuse_head
    from sfumato.adapters.hf.trainer import SaveScores as SaveScores
    from sfumato.adapters.hf.trainer import ScheduleSmoothing as ScheduleSmoothing
    from sfumato.adapters.hf.trainer import TrainerLoss as TrainerLoss
    from sfumato.adapters.hf.trainer import compute_loss as compute_loss
