"""What a verb raises when a rule says no."""


class DomainError(Exception):
    """A rule refused; the message is for the person who asked, already translated."""
