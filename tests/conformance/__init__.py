"""What other projects ask of their losses, asked of one function; see ``aim``."""
