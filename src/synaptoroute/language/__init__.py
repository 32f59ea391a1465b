"""What is said beside the words themselves: in which language."""
