"""The closed forms, in numpy alone: of a smoothed cross entropy, of penalties and rival losses, and of wrong labels."""

from sfumato.theory.noise import backward_rows as backward_rows
from sfumato.theory.noise import noise_transition as noise_transition
from sfumato.theory.penalties import Optimum as Optimum
from sfumato.theory.penalties import confidence_optimum as confidence_optimum
from sfumato.theory.penalties import focal_optimum as focal_optimum
from sfumato.theory.penalties import l2_optimum as l2_optimum
from sfumato.theory.penalties import margin_optimum as margin_optimum
from sfumato.theory.penalties import maxsup_optimum as maxsup_optimum
from sfumato.theory.penalties import negative_optimum as negative_optimum
from sfumato.theory.penalties import relaxation_optimum as relaxation_optimum
from sfumato.theory.smoothing import Over as Over
from sfumato.theory.smoothing import PairKind as PairKind
from sfumato.theory.smoothing import convert_eps as convert_eps
from sfumato.theory.smoothing import eps_for_gap as eps_for_gap
from sfumato.theory.smoothing import gap_after_time as gap_after_time
from sfumato.theory.smoothing import loss_floor as loss_floor
from sfumato.theory.smoothing import optimal_gap as optimal_gap
from sfumato.theory.smoothing import optimal_logits as optimal_logits
from sfumato.theory.smoothing import optimal_margin as optimal_margin
from sfumato.theory.smoothing import pair_floor as pair_floor
from sfumato.theory.smoothing import time_to_gap as time_to_gap
