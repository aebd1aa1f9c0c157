"""What can go wrong in a comparison. Bad data raise ``sfumato.lab.data.DataError``."""


class OptionError(ValueError):
    """An option with a value that cannot be used; the message names both and the way out."""


class ArmError(RuntimeError):
    """An arm was not trained towards its own target: its result must not be shown."""


class TrainingError(RuntimeError):
    """Training had to stop: the loss was no longer a finite number."""


class WorkerError(RuntimeError):
    """A worker process died, or ran out of memory."""


class TrackingError(RuntimeError):
    """A tracker that was asked for does not start."""


class Stopped(KeyboardInterrupt):
    """Interrupted by the user, with work to go on with."""


def first_line(error: BaseException) -> str:
    r"""The first line of somebody else's error, or its kind where it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
