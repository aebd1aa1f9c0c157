"""What a verdict says where labels were made wrong on purpose."""

from sfumato.runs.schema import NoiseDescription

CAUTION = (
    "Temperatures were fitted on validation rows with such labels, which leaves every model less sure than is right on "
    "the test rows. Numbers after temperature say which model fits wrong labels; for right ones look at the accuracy, "
    "the ranking, and the log loss as trained."
)
"""What a reader of the verdict has to know, since its log loss is the one after temperature."""


def noise_sentences(noise: NoiseDescription | None) -> list[str]:
    """What was done to the labels, and :data:`CAUTION`; nothing where labels are as they were."""
    if noise is None:
        return []
    if noise["rate"] is not None:
        how = f"each was replaced with probability {noise['rate']:g} by another class, each other class as likely"
    else:
        how = f"each was drawn from the row of its class in {noise['given']}"
    done = f"Labels of training and validation rows were made wrong on purpose: {how}. Test labels are as they were."
    return [done, CAUTION]
