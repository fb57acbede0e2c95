"""The commands of ``qtkit``, one room each. Nothing heavy is imported before a command runs."""
