"""What talks to an exchange."""
