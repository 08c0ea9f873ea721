class TrainingStopped(Exception):
    """A training cannot or should not go on. The message is all there is to say; the tools print no traceback."""
