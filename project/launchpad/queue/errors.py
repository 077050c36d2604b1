"""What the manager raises where something cannot be done; the message is a sentence for a person."""


class JobNotFound(LookupError):
    """There is no such job: it never was, was deleted, or its time was over."""


class WrongState(Exception):
    """The job is in a state in which this cannot be done; the message says which."""


class QueueFull(Exception):
    """There are as many jobs in the queue as the settings allow."""
